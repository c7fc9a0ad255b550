"""Where a run's results go: its folder, Weights & Biases and the console; training and sweeps use it."""

"""What this machine does best: precision, compiled and recorded steps; for train.py and benchmarks/."""

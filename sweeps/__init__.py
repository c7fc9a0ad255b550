"""Many runs: what a sweep is, who shares its runs out, and its summary; for start_sweep.py, attach_sweep.py, reproduce.py."""

"""Many runs: what a sweep is, who shares its runs out, its summary; for start_sweep, attach_sweep, reproduce, docs."""

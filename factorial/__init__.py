"""Clusterings of pixels whose centres add up: where a led training starts, and what tune.py tries first."""

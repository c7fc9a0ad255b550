"""A trained model looked at: predictions of a split, scores, figures; for train.py, the eval scripts and sweeps."""

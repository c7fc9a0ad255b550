"""The search for settings without labels; for tune.py and its benchmark."""

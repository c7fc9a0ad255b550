"""How tune.py searches for settings without labels."""

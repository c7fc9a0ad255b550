"""What the settings have to know about the data sets; all other facts are in datasets.py."""

from __future__ import annotations

OWN_IMAGES = ("folder", "npz", "npy", "hdf5")
"""Data sets that only their files know."""

MAX_MEGAPIXELS = 179
"""Of one picture, unless a setting raises it: Pillow's own limit."""

FACTOR_SIZES = {"floor_hue": 10, "wall_hue": 10, "object_hue": 10, "scale": 8, "shape": 4, "orientation": 15}
"""The factors of 3dshapes.h5 in the order of its label columns, with the number of values of each."""

"""The rooms of the demo: 400 pictures of 3DShapes, drawn in memory, so that nothing has to be downloaded."""

from __future__ import annotations

import itertools

import numpy as np

from config import Config
from readers.arrays import ImageArrays
from readers.threedshapes import FACTOR_VALUES, halve
from rendering.scene import colour, render_view, trace_room

SCALES, ORIENTATIONS = (6, 7), (5, 6, 7, 8, 9)
"""Large objects, seen from near the front; indices of FACTOR_VALUES."""
N_SHAPES, N_HUES = 4, 10
WALL_HUE, OBJECT_HUE = 5, 6


def read_rooms(config: Config) -> ImageArrays:
    """Draw every shape on a floor of every hue, at two sizes and five turns, at 32 x 32 pixels.

    The labels are shape and floor_hue; the settings make no difference.
    """
    images, labels = [], []
    for orientation in ORIENTATIONS:
        room = trace_room(FACTOR_VALUES["orientation"][orientation])
        for scale, shape in itertools.product(SCALES, range(N_SHAPES)):
            floors, walls, objects = render_view(room, shape, FACTOR_VALUES["scale"][scale])  # (10, 64, 64, 3) each
            images.append(halve(colour(floors, walls[WALL_HUE], objects[OBJECT_HUE])))
            labels += [(shape, hue) for hue in range(N_HUES)]
    pixels = np.concatenate(images).transpose(0, 3, 1, 2)  # (N, 32, 32, 3) -> (N, 3, 32, 32)
    return ImageArrays(pixels, np.array(labels), "rooms of 3DShapes, rendered")

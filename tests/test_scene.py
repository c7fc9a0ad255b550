"""The ray caster against hand-worked rays and the known geometry of 3DShapes."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest

from readers.threedshapes import FACTOR_VALUES
from rendering.scene import (
    CAPSULE,
    CAPSULE_HEIGHT,
    CAPSULE_RADIUS,
    CHANNEL_LEVELS,
    CUBE,
    CYLINDER,
    CYLINDER_HEIGHT,
    CYLINDER_RADIUS,
    FLOOR,
    HUE_LEVELS,
    OBJECT,
    RAYS_PER_SIDE,
    SIDE_PIXELS,
    SIDE_WALL,
    SKY,
    SKY_COLOUR,
    SPHERE,
    SPHERE_RADIUS,
    hit_object,
    light,
    render,
    trace_object,
    trace_room,
)


def centre_parts(orientation: int, shape: int = CUBE, scale: float = 1.0) -> np.ndarray:
    """The part of the picture at every pixel's centre, (64, 64)."""
    room = trace_room(FACTOR_VALUES["orientation"][orientation])
    return trace_object(room, shape, scale).part.reshape(-1, SIDE_PIXELS, SIDE_PIXELS)[RAYS_PER_SIDE**2 // 2]


# ------------------------------------------------------------------------------------------------ rays


@pytest.mark.parametrize(
    ("shape", "origin", "direction", "distance", "normal"),
    [
        (SPHERE, (0, -5, SPHERE_RADIUS), (0, 1, 0), 5 - SPHERE_RADIUS, (0, -1, 0)),
        (SPHERE, (0, 0, 9), (0, 0, -1), 9 - 2 * SPHERE_RADIUS, (0, 0, 1)),
        (CUBE, (0.5, -5, 1.5), (0, 1, 0), 4, (0, -1, 0)),
        (CUBE, (5, 0.2, 0.3), (-1, 0, 0), 4, (1, 0, 0)),
        (CUBE, (0.5, 0.5, 9), (0, 0, -1), 7, (0, 0, 1)),
        (CUBE, (0, -2.5, 4), (0, 2**-0.5, -(2**-0.5)), 8**0.5, (0, 0, 1)),
        (CYLINDER, (-5, 0, 1), (1, 0, 0), 5 - CYLINDER_RADIUS, (-1, 0, 0)),
        (CYLINDER, (0.5, 0, 9), (0, 0, -1), 9 - CYLINDER_HEIGHT, (0, 0, 1)),
        (CAPSULE, (0, -5, 2), (0, 1, 0), 5 - CAPSULE_RADIUS, (0, -1, 0)),
        (CAPSULE, (0, 0, 9), (0, 0, -1), 9 - CAPSULE_HEIGHT, (0, 0, 1)),
    ],
)
def test_hand_worked_rays(shape, origin, direction, distance, normal):
    for origins in (np.array(origin, dtype=float), np.array([origin], dtype=float)):
        found, found_normal = hit_object(shape, 1.0, origins, np.array([direction], dtype=float))
        np.testing.assert_allclose(found, [distance], atol=1e-9)
        np.testing.assert_allclose(found_normal, [normal], atol=1e-9)


@pytest.mark.parametrize("shape", range(4))
def test_rays_beside_or_behind_miss(shape):
    directions = np.array([[0.0, 1, 0], [0, -1, 0], [0, 0, 1]])
    origins = np.array([[2.0, -5, 1], [0, -5, 1], [0, 0, 5]])  # passes beside; runs away; starts above and goes up
    assert np.isinf(hit_object(shape, 1.0, origins, directions)[0]).all()


@pytest.mark.parametrize("shape", range(4))
def test_objects_stand_on_the_floor_and_grow_with_scale(shape):
    areas = [(centre_parts(7, shape, scale) == OBJECT).sum() for scale in FACTOR_VALUES["scale"]]
    assert (np.diff(areas) > 0).all()
    bottoms = [np.flatnonzero((centre_parts(7, shape, s) == OBJECT).any(1)).max() for s in FACTOR_VALUES["scale"]]
    assert 50 <= min(bottoms) <= max(bottoms) <= 60  # in front of the wall's foot, in row 40, and inside the picture


@pytest.mark.parametrize("shape", range(4))
def test_normals_are_unit_vectors_towards_the_camera(shape):
    view = trace_object(trace_room(-30.0), shape, 1.25)
    np.testing.assert_allclose(np.linalg.norm(view.normal, axis=1), 1, atol=1e-9)
    assert ((view.normal * view.direction).sum(1) <= 1e-9).all()


# ------------------------------------------------------------------------------------------------ known geometry


def test_front_view_has_sky_to_row_16_wall_to_39_and_floor_below():
    column = centre_parts(7)[:, 3]
    sky, floor = (column == SKY).sum(), (column == FLOOR).sum()
    assert abs(sky - 17) <= 1
    assert abs(SIDE_PIXELS - floor - 40) <= 1


def test_object_is_in_the_middle_of_the_front_view():
    for shape in range(4):
        columns = np.flatnonzero((centre_parts(7, shape) == OBJECT).any(0))
        assert columns.mean() == 31.5


@pytest.mark.parametrize(
    ("orientation", "column"),
    [(0, 43), (1, 47), (2, 50), (3, 54), (4, 58), (10, 4), (11, 8), (12, 12), (13, 15), (14, 19)],
)
def test_room_corner_is_where_the_real_one_is(orientation, column):
    is_side = centre_parts(orientation)[25] == SIDE_WALL  # a row that only walls cross, above the cube
    edge = np.flatnonzero(is_side).min() if orientation < 7 else np.flatnonzero(is_side).max() + 1
    assert abs(edge - column) <= 1.5


@pytest.mark.parametrize("orientation", range(5, 10))
def test_no_corner_is_seen_in_views_from_the_front(orientation):
    assert not (centre_parts(orientation) == SIDE_WALL)[:, 2:-2].any()


# ------------------------------------------------------------------------------------------------ colour


def test_hue_levels_are_the_colours_of_hsv():
    for hue in range(10):
        np.testing.assert_allclose(CHANNEL_LEVELS[HUE_LEVELS[hue]], colorsys.hsv_to_rgb(hue / 10, 1, 1), atol=1e-9)


def test_tables_sum_to_the_light_times_the_colour():
    """A pixel inside one part is the mean over its rays of clip(colour x light + sheen): worked out here directly."""
    factors, colours = (3, 6, 8, 4, SPHERE, 2), [np.array(colorsys.hsv_to_rgb(h / 10, 1, 1)) for h in (3, 6, 8)]
    view = trace_object(trace_room(FACTOR_VALUES["orientation"][2]), SPHERE, FACTOR_VALUES["scale"][4])
    diffuse, sheen = light(view, SPHERE, FACTOR_VALUES["scale"][4])
    palette = np.stack([np.zeros(3), colours[0], colours[1], colours[1], colours[2]])  # by part
    rays = np.minimum(palette[view.part] * diffuse[:, None] + sheen[:, None], 1)
    rays[view.part == SKY] = SKY_COLOUR
    expected = 255 * rays.reshape(-1, SIDE_PIXELS, SIDE_PIXELS, 3).mean(0)
    assert np.abs(render(factors) - expected).max() <= 0.52  # rounding once here, and by 1/256 of a step in the tables


def test_sky_is_the_known_colour():
    assert render((0, 0, 0, 0, 0, 7))[0, 0].tolist() == [153, 226, 249]


def test_shadow_lies_to_the_lower_right():
    image = render((0, 5, 6, 7, SPHERE, 14)).astype(int)[..., 0]  # a red floor
    left, right = image[58, :32], image[58, 32:]
    assert right.min() < 120 < left[:8].min()

"""The scene of 3DShapes, drawn by a small ray caster.

World: x to the right, y away from the camera at orientation 0, z up; the object stands on the floor at the origin.
Geometry and light depend only on scale, shape and orientation: these are the views. Each view is traced once into
tables of what floor, walls and object add to every pixel at each of the ten hues; an image is the sum of three table
rows. Shapes: R rays, 64 x 64 pixels x RAYS_PER_SIDE^2. Directions are unit vectors, lengths world units, light 1 = full
colour.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from readers.threedshapes import FACTOR_VALUES

SIDE_PIXELS = 64
RAYS_PER_SIDE = 3  # of a pixel; odd, so that one ray goes through its centre
CUBE, CYLINDER, SPHERE, CAPSULE = range(4)

# Fitted to real frames (20 labelled, 50 whose scale, shape and orientation were found by search) by Gauss-Newton steps
# on a robust loss of all pixels, then rounded. docs/render_3dshapes.md says where they differ from the known facts.
FOCAL_PIXELS, DISTANCE, EYE_HEIGHT, PITCH_DEGREES = 68.0, 7.03, 2.2, 0.41
HALF_ROOM, WALL_HEIGHT = 10.0, 5.7
CUBE_HALF, SPHERE_RADIUS = 1.0, 1.216  # these six times the scale
CYLINDER_RADIUS, CYLINDER_HEIGHT, CAPSULE_RADIUS, CAPSULE_HEIGHT = 1.03, 2.17, 0.915, 3.71
# A lamp that hangs still in the room and points straight down, and one on the camera that lights from far behind it.
LAMP, LAMP_LIGHT, LAMP_FOCUS = np.array([-4.25, 0.95, 21.3]), 0.95, 10.3
AMBIENT_LIGHT, CAMERA_LIGHT, SHEEN_LIGHT = 0.356, 0.587, 0.12
SKY_COLOUR = np.array([153, 226, 249]) / 255

SKY, FLOOR, BACK_WALL, SIDE_WALL, OBJECT = range(5)
"""The parts of a picture."""
FULL_CHANNEL = 255 * 256
"""A channel's full value in the tables: 256 of their steps are one of the image's."""
CHANNEL_LEVELS = np.arange(6) / 5
"""Every channel of a colour HSV(k / 10, 1, 1) is one of these."""
HUE_LEVELS = np.rint([5 * np.array(colorsys.hsv_to_rgb(k / 10, 1, 1)) for k in range(10)]).astype(int)
"""(10, 3): which of CHANNEL_LEVELS the three channels of each hue are."""

Hit = tuple[np.ndarray, np.ndarray]
"""Distance (R,), infinite where the ray misses; unit normal (R, 3)."""


# --- geometry


@dataclass(frozen=True)
class View:
    """The rays of one image and what each meets first."""

    origin: np.ndarray
    """(3,): the camera."""
    forward: np.ndarray
    """(3,): where it looks."""
    direction: np.ndarray
    """(R, 3)"""
    point: np.ndarray
    """(R, 3)"""
    normal: np.ndarray
    """(R, 3)"""
    distance: np.ndarray
    """(R,)"""
    part: np.ndarray
    """(R,): SKY, FLOOR, BACK_WALL, SIDE_WALL or OBJECT."""


def camera(orientation: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Place the camera at an orientation in degrees.

    Returns its origin (3,), where it looks (3,), and the directions of its rays (R, 3): samples slowest, then rows.
    """
    turn, pitch = np.radians([orientation, -PITCH_DEGREES])
    ahead, right = np.array([-np.sin(turn), np.cos(turn), 0]), np.array([np.cos(turn), np.sin(turn), 0])
    forward = np.cos(pitch) * ahead + np.sin(pitch) * np.array([0, 0, 1])
    grid = (np.arange(SIDE_PIXELS * RAYS_PER_SIDE) + 0.5).reshape(SIDE_PIXELS, RAYS_PER_SIDE).T / RAYS_PER_SIDE
    grid -= SIDE_PIXELS / 2  # pixels off the centre
    down, across = grid[:, None, :, None, None], grid[None, :, None, :, None]  # 3 x 3 rays of 64 x 64 pixels together
    directions = (FOCAL_PIXELS * forward + across * right - down * np.cross(right, forward)).reshape(-1, 3)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return np.array([0, 0, EYE_HEIGHT]) - DISTANCE * ahead, forward, directions


def nearest(*hits: Hit) -> Hit:
    """Choose the first of several surfaces along each ray."""
    distance, normal = hits[0]
    for other_distance, other_normal in hits[1:]:
        closer = other_distance < distance
        distance, normal = np.where(closer, other_distance, distance), np.where(closer[:, None], other_normal, normal)
    return distance, normal


def along(origin: np.ndarray, direction: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Go a distance (R,) along each ray: points (R, 3); rays that miss stay at their origin."""
    return origin + np.where(np.isfinite(distance), distance, 0)[:, None] * direction


def hit_sphere(origin: np.ndarray, direction: np.ndarray, height: float, radius: float) -> Hit:
    """Meet a sphere around c = (0, 0, height): |o + t d - c|^2 = r^2."""
    offset = origin - np.array([0, 0, height])
    half_b = (offset * direction).sum(-1)
    discriminant = half_b**2 - (offset**2).sum(-1) + radius**2
    distance = -half_b - np.sqrt(np.maximum(discriminant, 0))
    distance = np.where((discriminant > 0) & (distance > 0), distance, np.inf)
    return distance, (along(origin, direction, distance) - np.array([0, 0, height])) / radius


def hit_tube(origin: np.ndarray, direction: np.ndarray, radius: float, bottom: float, top: float) -> Hit:
    """Meet the side of an upright cylinder around the z axis: the sphere's equation in x and y alone."""
    flat_origin, flat_direction = origin[..., :2], direction[..., :2]
    a, half_b = (flat_direction**2).sum(-1), (flat_origin * flat_direction).sum(-1)
    discriminant = half_b**2 - a * ((flat_origin**2).sum(-1) - radius**2)
    distance = (-half_b - np.sqrt(np.maximum(discriminant, 0))) / np.maximum(a, 1e-12)
    height = origin[..., 2] + distance * direction[:, 2]
    is_hit = (discriminant > 0) & (distance > 0) & (height >= bottom) & (height <= top)
    distance = np.where(is_hit, distance, np.inf)
    return distance, along(origin, direction, distance) * np.array([1, 1, 0]) / radius


def hit_disc(origin: np.ndarray, direction: np.ndarray, radius: float, height: float) -> Hit:
    """Meet a level disc around the z axis, from above or below."""
    slope = np.where(direction[:, 2] == 0, 1e-12, direction[:, 2])
    distance = (height - origin[..., 2]) / slope
    is_hit = (distance > 0) & ((along(origin, direction, distance)[:, :2] ** 2).sum(-1) <= radius**2)
    return np.where(is_hit, distance, np.inf), np.broadcast_to([0.0, 0, 1], direction.shape)


def hit_cube(origin: np.ndarray, direction: np.ndarray, half: float) -> Hit:
    """Meet a cube on the floor by slabs: entered at the last of the three near planes, if before the first far one."""
    slope = np.where(direction == 0, 1e-12, direction)
    planes = [(corner - origin) / slope for corner in (np.array([-half, -half, 0]), np.array([half, half, 2 * half]))]
    near, far = np.minimum(*planes), np.maximum(*planes)  # (R, 3)
    entry = near.max(-1)
    distance = np.where((entry > 0) & (entry <= far.min(-1)), entry, np.inf)
    return distance, -np.sign(direction) * np.eye(3)[near.argmax(-1)]


def hit_object(shape: int, scale: float, origin: np.ndarray, direction: np.ndarray) -> Hit:
    """Meet the object, of one of the four shapes. origin: (3,) or (R, 3); direction: (R, 3)."""
    if shape == CUBE:
        return hit_cube(origin, direction, CUBE_HALF * scale)
    if shape == CYLINDER:
        radius, height = CYLINDER_RADIUS * scale, CYLINDER_HEIGHT * scale
        return nearest(hit_tube(origin, direction, radius, 0, height), hit_disc(origin, direction, radius, height))
    if shape == SPHERE:
        return hit_sphere(origin, direction, SPHERE_RADIUS * scale, SPHERE_RADIUS * scale)
    radius, height = CAPSULE_RADIUS * scale, CAPSULE_HEIGHT * scale
    ends = [hit_sphere(origin, direction, z, radius) for z in (radius, height - radius)]
    return nearest(hit_tube(origin, direction, radius, radius, height - radius), *ends)


def trace_room(orientation: float) -> View:
    """Trace the empty room as it is seen at an orientation in degrees."""
    origin, forward, direction = camera(orientation)
    # The camera is inside the convex room, so a ray leaves it through the nearest of the planes that it runs towards.
    bounds = np.where(direction > 0, [HALF_ROOM, HALF_ROOM, np.inf], [-HALF_ROOM, -HALF_ROOM, 0])
    distances = (bounds - origin) / np.where(direction == 0, 1e-12, direction)  # (R, 3): to the x, y and z plane
    axis, distance = distances.argmin(-1), distances.min(-1)
    part = np.array([SIDE_WALL, BACK_WALL, FLOOR])[axis]
    point = along(origin, direction, distance)
    part[point[:, 2] > WALL_HEIGHT] = SKY  # there is no ceiling
    return View(origin, forward, direction, point, -np.sign(direction) * np.eye(3)[axis], distance, part)


def trace_object(room: View, shape: int, scale: float) -> View:
    """Trace the room with the object in it."""
    distance, normal = hit_object(shape, scale, room.origin, room.direction)
    distance, normal = nearest((room.distance, room.normal), (distance, normal))
    part = np.where(distance < room.distance, OBJECT, room.part)
    point = along(room.origin, room.direction, distance)
    return replace(room, point=point, normal=normal, distance=distance, part=part)


# --- light and colour


def light(view: View, shape: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Light every point of a view.

    Returns the light (R,), which multiplies a surface's colour, and the lamp's white reflection off the object (R,).
    """
    to_lamp = LAMP - view.point
    to_lamp /= np.linalg.norm(to_lamp, axis=1, keepdims=True)
    facing = np.maximum(0, (view.normal * to_lamp).sum(-1))
    lamp = np.where(facing > 0, to_lamp[:, 2] ** LAMP_FOCUS, 0)  # cos(angle off the lamp's axis)^focus
    floor = np.flatnonzero(view.part == FLOOR)
    lamp[floor[np.isfinite(hit_object(shape, scale, view.point[floor], to_lamp[floor])[0])]] = 0  # the shadow
    half_way = to_lamp - view.direction
    half_way /= np.linalg.norm(half_way, axis=1, keepdims=True)
    from_camera = np.maximum(0, -(view.normal @ view.forward))
    diffuse = AMBIENT_LIGHT + CAMERA_LIGHT * from_camera + LAMP_LIGHT * lamp * facing
    sheen = SHEEN_LIGHT * lamp * np.maximum(0, (view.normal * half_way).sum(-1)) * (view.part == OBJECT)
    return diffuse, sheen


def pixel_means(values: np.ndarray) -> np.ndarray:
    """Average rays (..., R) over each pixel's samples: (..., 64, 64)."""
    return values.reshape(*values.shape[:-1], RAYS_PER_SIDE**2, SIDE_PIXELS, SIDE_PIXELS).mean(-3)


def render_view(room: View, shape: int, scale: float) -> np.ndarray:
    """Draw what floor with sky, walls and object add to the pixels at each hue: (3, 10, 64, 64, 3) uint16.

    A channel's full value is FULL_CHANNEL. Light is clipped ray by ray and then averaged, as a camera does; so the sum
    over the three parts is exact.
    """
    view = trace_object(room, shape, scale)
    diffuse, sheen = light(view, shape, scale)
    seen = np.minimum(CHANNEL_LEVELS[:, None] * diffuse + sheen, 1)  # (6, R)
    parts = [view.part == FLOOR, (view.part == BACK_WALL) | (view.part == SIDE_WALL), view.part == OBJECT]
    pixels = np.stack([pixel_means(seen * part) for part in parts])  # (3, 6, 64, 64)
    tables = np.rint(pixels * FULL_CHANNEL).astype(np.uint16)[:, HUE_LEVELS]  # (3, 10, 3, 64, 64)
    sky = SKY_COLOUR[:, None, None] * pixel_means(view.part == SKY)  # (3, 64, 64)
    tables[0] += np.rint(sky * FULL_CHANNEL).astype(np.uint16)
    return np.moveaxis(tables, 2, -1)


def colour(floor: np.ndarray, wall: np.ndarray, thing: np.ndarray) -> np.ndarray:
    """Add three table rows (..., 64, 64, 3) uint16 to images uint8.

    The sum is at most 65,280 + 128 before the shift: it does not overflow.
    """
    return ((floor + wall + thing + np.uint16(128)) >> 8).astype(np.uint8)


def render(factors: Sequence[int]) -> np.ndarray:
    """Draw one image (64, 64, 3) uint8 from its six value indices, in the order of the label columns."""
    floor, wall, thing, scale, shape, orientation = factors
    room = trace_room(FACTOR_VALUES["orientation"][orientation])
    tables = render_view(room, shape, FACTOR_VALUES["scale"][scale])
    return colour(tables[0, floor], tables[1, wall], tables[2, thing])

"""Writes a synthetic 3dshapes.h5 in the original's format, by a small ray caster.

    python render_3dshapes.py                                            # all 480,000 images
    python render_3dshapes.py --config_args_path configs/3dshapes_1.yml  # only the 4,800 of a configuration
    python render_3dshapes.py --compare_with reference.npz               # errors against real frames, and a figure

World: x to the right, y away from the camera at orientation 0, z up; the object stands on the floor at the origin.
Geometry and light depend only on scale, shape and orientation (480 views). Each view is traced once into tables of what
floor, walls and object add to every pixel at each of the ten hues; an image is the sum of three table rows.
Shapes: R rays, 64 x 64 pixels x SAMPLES^2. Directions are unit vectors, lengths world units, light 1 = full colour.
"""

from __future__ import annotations

import argparse
import colorsys
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

from config import FACTOR_SIZES, load_config
from datasets import FACTOR_VALUES
from flags import FlagParser
from interrupts import run_script
from readers.image_files import npz_arrays, read_npz_array
from utils import UserError, make_folder, one_line

SIZE, SAMPLES = 64, 3  # pixels a side; rays per pixel a side, odd so that one goes through the pixel's centre
SIZES = tuple(len(values) for values in FACTOR_VALUES.values())
N_IMAGES = int(np.prod(SIZES))
CUBE, CYLINDER, SPHERE, CAPSULE = range(4)
CHUNK = SIZES[4] * SIZES[5]  # rows of one HDF5 chunk: all shapes and orientations of (floor, wall, object, scale)

# Fitted to real frames (20 labelled, 50 whose scale, shape and orientation were found by search) by Gauss-Newton steps
# on a robust loss of all pixels, then rounded. docs/render_3dshapes.md says where they differ from the known facts.
FOCAL_PIXELS, DISTANCE, EYE_HEIGHT, PITCH_DEGREES = 68.0, 7.03, 2.2, 0.41
HALF_ROOM, WALL_HEIGHT = 10.0, 5.7
CUBE_HALF, SPHERE_RADIUS = 1.0, 1.216  # these six times the scale
CYLINDER_RADIUS, CYLINDER_HEIGHT, CAPSULE_RADIUS, CAPSULE_HEIGHT = 1.03, 2.17, 0.915, 3.71
# A lamp that hangs still in the room and points straight down, and one on the camera that lights from far behind it.
LAMP, LAMP_LIGHT, LAMP_FOCUS = np.array([-4.25, 0.95, 21.3]), 0.95, 10.3
AMBIENT_LIGHT, CAMERA_LIGHT, SHEEN = 0.356, 0.587, 0.12
SKY = np.array([153, 226, 249]) / 255

SKY_PART, FLOOR, BACK_WALL, SIDE_WALL, OBJECT = range(5)
FULL = 255 * 256  # a channel's full value in the tables: 256 of their steps are one of the image's
LEVELS = np.arange(6) / 5  # every channel of a colour HSV(k / 10, 1, 1) is one of these; HUE_LEVELS (10, 3): which
HUE_LEVELS = np.rint([5 * np.array(colorsys.hsv_to_rgb(k / 10, 1, 1)) for k in range(10)]).astype(int)

Hit = tuple[np.ndarray, np.ndarray]  # distance (R,), infinite where the ray misses; unit normal (R, 3)


# ------------------------------------------------------------------------------------------------ geometry


@dataclass(frozen=True)
class View:
    """The rays of one image and what each meets first."""

    origin: np.ndarray  # (3,): the camera
    forward: np.ndarray  # (3,): where it looks
    direction: np.ndarray  # (R, 3)
    point: np.ndarray  # (R, 3)
    normal: np.ndarray  # (R, 3)
    distance: np.ndarray  # (R,)
    part: np.ndarray  # (R,): SKY_PART, FLOOR, BACK_WALL, SIDE_WALL or OBJECT


def camera(orientation: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Orientation in degrees -> origin (3,), forward (3,), directions (R, 3): samples slowest, then row by row."""
    turn, pitch = np.radians([orientation, -PITCH_DEGREES])
    ahead, right = np.array([-np.sin(turn), np.cos(turn), 0]), np.array([np.cos(turn), np.sin(turn), 0])
    forward = np.cos(pitch) * ahead + np.sin(pitch) * np.array([0, 0, 1])
    grid = (np.arange(SIZE * SAMPLES) + 0.5).reshape(SIZE, SAMPLES).T / SAMPLES - SIZE / 2  # pixels off the centre
    down, across = grid[:, None, :, None, None], grid[None, :, None, :, None]  # (SAMPLES, SAMPLES, 64, 64, 1) together
    directions = (FOCAL_PIXELS * forward + across * right - down * np.cross(right, forward)).reshape(-1, 3)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return np.array([0, 0, EYE_HEIGHT]) - DISTANCE * ahead, forward, directions


def nearest(*hits: Hit) -> Hit:
    """The first of several surfaces along each ray."""
    distance, normal = hits[0]
    for other_distance, other_normal in hits[1:]:
        closer = other_distance < distance
        distance, normal = np.where(closer, other_distance, distance), np.where(closer[:, None], other_normal, normal)
    return distance, normal


def along(origin: np.ndarray, direction: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """The points (R, 3) at a distance (R,); rays that miss stay at their origin."""
    return origin + np.where(np.isfinite(distance), distance, 0)[:, None] * direction


def hit_sphere(origin: np.ndarray, direction: np.ndarray, height: float, radius: float) -> Hit:
    """A sphere around (0, 0, height): |o + t d - c|^2 = r^2."""
    offset = origin - np.array([0, 0, height])
    half_b = (offset * direction).sum(-1)
    discriminant = half_b**2 - (offset**2).sum(-1) + radius**2
    distance = -half_b - np.sqrt(np.maximum(discriminant, 0))
    distance = np.where((discriminant > 0) & (distance > 0), distance, np.inf)
    return distance, (along(origin, direction, distance) - np.array([0, 0, height])) / radius


def hit_tube(origin: np.ndarray, direction: np.ndarray, radius: float, bottom: float, top: float) -> Hit:
    """The side of an upright cylinder around the z axis: the sphere's equation in x and y alone."""
    flat_origin, flat_direction = origin[..., :2], direction[..., :2]
    a, half_b = (flat_direction**2).sum(-1), (flat_origin * flat_direction).sum(-1)
    discriminant = half_b**2 - a * ((flat_origin**2).sum(-1) - radius**2)
    distance = (-half_b - np.sqrt(np.maximum(discriminant, 0))) / np.maximum(a, 1e-12)
    height = origin[..., 2] + distance * direction[:, 2]
    is_hit = (discriminant > 0) & (distance > 0) & (height >= bottom) & (height <= top)
    distance = np.where(is_hit, distance, np.inf)
    return distance, along(origin, direction, distance) * np.array([1, 1, 0]) / radius


def hit_disc(origin: np.ndarray, direction: np.ndarray, radius: float, height: float) -> Hit:
    """A level disc around the z axis, seen from above or below."""
    slope = np.where(direction[:, 2] == 0, 1e-12, direction[:, 2])
    distance = (height - origin[..., 2]) / slope
    is_hit = (distance > 0) & ((along(origin, direction, distance)[:, :2] ** 2).sum(-1) <= radius**2)
    return np.where(is_hit, distance, np.inf), np.broadcast_to([0.0, 0, 1], direction.shape)


def hit_cube(origin: np.ndarray, direction: np.ndarray, half: float) -> Hit:
    """A cube on the floor by slabs: entered at the last of the three near planes, if before the first far one."""
    slope = np.where(direction == 0, 1e-12, direction)
    planes = [(corner - origin) / slope for corner in (np.array([-half, -half, 0]), np.array([half, half, 2 * half]))]
    near, far = np.minimum(*planes), np.maximum(*planes)  # (R, 3)
    entry = near.max(-1)
    distance = np.where((entry > 0) & (entry <= far.min(-1)), entry, np.inf)
    return distance, -np.sign(direction) * np.eye(3)[near.argmax(-1)]


def hit_object(shape: int, scale: float, origin: np.ndarray, direction: np.ndarray) -> Hit:
    """The object of one of the four shapes. origin: (3,) or (R, 3); direction: (R, 3)."""
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
    """The empty room as seen at an orientation (degrees)."""
    origin, forward, direction = camera(orientation)
    # The camera is inside the convex room, so a ray leaves it through the nearest of the planes that it runs towards.
    bounds = np.where(direction > 0, [HALF_ROOM, HALF_ROOM, np.inf], [-HALF_ROOM, -HALF_ROOM, 0])
    distances = (bounds - origin) / np.where(direction == 0, 1e-12, direction)  # (R, 3): to the x, y and z plane
    axis, distance = distances.argmin(-1), distances.min(-1)
    part = np.array([SIDE_WALL, BACK_WALL, FLOOR])[axis]
    point = along(origin, direction, distance)
    part[point[:, 2] > WALL_HEIGHT] = SKY_PART  # there is no ceiling
    return View(origin, forward, direction, point, -np.sign(direction) * np.eye(3)[axis], distance, part)


def trace_object(room: View, shape: int, scale: float) -> View:
    """The room with the object in it."""
    distance, normal = hit_object(shape, scale, room.origin, room.direction)
    distance, normal = nearest((room.distance, room.normal), (distance, normal))
    part = np.where(distance < room.distance, OBJECT, room.part)
    point = along(room.origin, room.direction, distance)
    return replace(room, point=point, normal=normal, distance=distance, part=part)


# ------------------------------------------------------------------------------------------------ light and colour


def light(view: View, shape: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Light (R,), which multiplies a surface's colour, and sheen (R,), the lamp's white reflection off the object."""
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
    return diffuse, SHEEN * lamp * np.maximum(0, (view.normal * half_way).sum(-1)) * (view.part == OBJECT)


def pixel_means(values: np.ndarray) -> np.ndarray:
    """(..., R) of rays -> (..., 64, 64), the mean over each pixel's samples."""
    return values.reshape(*values.shape[:-1], SAMPLES**2, SIZE, SIZE).mean(-3)


def render_view(room: View, shape: int, scale: float) -> np.ndarray:
    """What floor with sky, walls and object add to the pixels at each hue: (3, 10, 64, 64, 3) uint16, of FULL.

    Light is clipped ray by ray and then averaged, as a camera does; so the sum over the three parts is exact.
    """
    view = trace_object(room, shape, scale)
    diffuse, sheen = light(view, shape, scale)
    seen = np.minimum(LEVELS[:, None] * diffuse + sheen, 1)  # (6, R)
    parts = [view.part == FLOOR, (view.part == BACK_WALL) | (view.part == SIDE_WALL), view.part == OBJECT]
    pixels = np.stack([pixel_means(seen * part) for part in parts])  # (3, 6, 64, 64)
    tables = np.rint(pixels * FULL).astype(np.uint16)[:, HUE_LEVELS]  # (3, 10, 3, 64, 64)
    tables[0] += np.rint(SKY[:, None, None] * pixel_means(view.part == SKY_PART) * FULL).astype(np.uint16)
    return np.moveaxis(tables, 2, -1)


def colour(floor: np.ndarray, wall: np.ndarray, thing: np.ndarray) -> np.ndarray:
    """Three table rows (..., 64, 64, 3) uint16 -> images uint8. At most 65,280 + 128 before the shift: no overflow."""
    return ((floor + wall + thing + np.uint16(128)) >> 8).astype(np.uint8)


def render(factors: Sequence[int]) -> np.ndarray:
    """One image (64, 64, 3) uint8 from its six value indices, in the order of the label columns."""
    floor, wall, thing, scale, shape, orientation = factors
    room = trace_room(FACTOR_VALUES["orientation"][orientation])
    tables = render_view(room, shape, FACTOR_VALUES["scale"][scale])
    return colour(tables[0, floor], tables[1, wall], tables[2, thing])


# ------------------------------------------------------------------------------------------------ the file


def all_labels() -> np.ndarray:
    """The label values of every row, (480000, 6) float64: floor hue slowest, orientation fastest."""
    return np.stack(np.meshgrid(*FACTOR_VALUES.values(), indexing="ij"), axis=-1).reshape(N_IMAGES, len(SIZES))


def wanted_rows(variation: Mapping[str, Sequence[int]]) -> np.ndarray:
    """The rows (480000,) bool that the allowed value indices per factor choose; a factor that is left out takes all."""
    for factor, indices in variation.items():
        if factor not in FACTOR_SIZES:
            raise UserError(f"unknown factor {factor!r} of 3DShapes; choose from {', '.join(FACTOR_SIZES)}")
        if not indices or not set(indices) <= set(range(FACTOR_SIZES[factor])):
            raise UserError(f"{factor}: {list(indices)} must be indices from 0 to {FACTOR_SIZES[factor] - 1}")
    wanted = np.zeros(SIZES, dtype=bool)
    wanted[np.ix_(*(sorted(set(variation.get(factor, range(size)))) for factor, size in FACTOR_SIZES.items()))] = True
    return wanted.reshape(-1)


def present_rows(path: Path) -> np.ndarray:
    """The rows (480000,) bool whose images a finished file holds; only a file of some of them has the marker.

    Raises:
        UserError: it cannot be read, or holds something else. What may be of value is not said to be replaceable.
    """
    try:
        with h5py.File(path, "r") as file:
            is_marked = "rendered" in file
            is_whole = has_shape(file.get("images"), (N_IMAGES, SIZE, SIZE, 3))
            if not is_whole or (is_marked and not has_shape(file.get("rendered"), (N_IMAGES,))):
                raise UserError(
                    f"{path} is an HDF5 file, but not one of 3DShapes; move it away or choose another --output"
                )
            return file["rendered"][:].astype(bool) if is_marked else np.ones(N_IMAGES, dtype=bool)
    except BlockingIOError:
        raise UserError(in_use(path)) from None
    except OSError as error:
        if os.access(path, os.R_OK) and not h5py.is_hdf5(path):
            raise UserError(f"{path} exists and is not an HDF5 file; --overwrite replaces it") from None
        reason = os.strerror(error.errno) if error.errno else one_line(error)
        raise UserError(f"{path} exists and cannot be read ({reason}); mend that or choose another --output") from None


def has_shape(found: object, shape: tuple[int, ...]) -> bool:
    """Whether it is a dataset of that shape."""
    return isinstance(found, h5py.Dataset) and found.shape == shape


def in_use(path: Path) -> str:
    return f"{path} is being written by another process; wait for it or choose another --output"


def all_tables(wanted: np.ndarray) -> np.ndarray:
    """render_view of every view that is wanted: (8, 60, 3, 10, 64, 64, 3) uint16, 350 MB; the other views stay zero."""
    tables = np.zeros((SIZES[3], CHUNK, 3, 10, SIZE, SIZE, 3), dtype=np.uint16)
    used = wanted.reshape(-1, *SIZES[3:]).any(0)  # (8, 4, 15)
    for orientation in tqdm(np.flatnonzero(used.any((0, 1))), desc="tracing views", unit="angle"):
        room = trace_room(FACTOR_VALUES["orientation"][orientation])
        for scale, shape in np.argwhere(used[:, :, orientation]):
            view = render_view(room, shape, FACTOR_VALUES["scale"][scale])
            tables[scale, shape * SIZES[5] + orientation] = view
    return tables


def chunk_images(tables: np.ndarray, chunk: int, inside: np.ndarray) -> np.ndarray:
    """The images (60, 64, 64, 3) uint8 of a chunk of rows; those outside the mask `inside` (60,) are black."""
    floor, wall, thing, scale = np.unravel_index(chunk, SIZES[:4])
    views = np.flatnonzero(inside)
    images = np.zeros((CHUNK, SIZE, SIZE, 3), dtype=np.uint8)
    rows = (tables[scale, views, part, hue] for part, hue in enumerate((floor, wall, thing)))
    images[views] = colour(*rows)
    return images


def open_part(part: Path) -> h5py.File:
    """The unfinished file: continued where it can be read, else begun, with names, shapes and types of the original."""
    shape = (N_IMAGES, SIZE, SIZE, 3)
    try:
        file = h5py.File(part, "r+")
        if "synthetic" in file.attrs:  # set last, when all else was there
            return file
        file.close()
    except BlockingIOError:
        raise UserError(in_use(part)) from None
    except OSError:
        pass  # absent, or damaged when it was cut off
    file = h5py.File(part, "w")
    file.create_dataset("images", shape, "uint8", chunks=(CHUNK, *shape[1:]), compression="gzip", compression_opts=4)
    file.create_dataset("labels", data=all_labels(), chunks=(N_IMAGES // 100, len(SIZES)), compression="gzip")
    file.attrs["source"] = "rendered by render_3dshapes.py of MFCVAE in the original's format; not the original images"
    file.attrs["synthetic"] = True
    file.flush()
    return file


def write_images(file: h5py.File, wanted: np.ndarray) -> None:
    """Write the wanted rows, chunk by chunk; a chunk that holds exactly these pixels already is left: it resumes."""
    tables = all_tables(wanted)
    by_chunk = wanted.reshape(-1, CHUNK)
    for done, chunk in enumerate(tqdm(np.flatnonzero(by_chunk.any(1)), desc="writing", unit="chunk")):
        images = chunk_images(tables, chunk, by_chunk[chunk])
        rows = slice(chunk * CHUNK, (chunk + 1) * CHUNK)
        try:
            is_written = np.array_equal(file["images"][rows], images)
        except OSError:  # the chunk was cut off while it was written
            is_written = False
        if not is_written:
            file["images"][rows] = images
        if done % 200 == 199:
            file.flush()
    if "rendered" in file:
        del file["rendered"]
    if not wanted.all():
        file.create_dataset("rendered", data=wanted.astype(np.uint8), chunks=(CHUNK * 100,), compression="gzip")


def write_file(output: Path, variation: Mapping[str, Sequence[int]], overwrite: bool = False) -> int:
    """Write 3dshapes.h5 under a temporary name and rename it when whole; rows of an earlier part file stay in it.

    variation: allowed value indices per factor, {} for all. Returns the number of images that the file then holds.
    """
    wanted = wanted_rows(variation)
    if output.is_dir():
        raise UserError(f"--output {output}: a folder; name the file in it, as in {output / '3dshapes.h5'}")
    if output.exists() and not overwrite:
        present = present_rows(output)
        if not (wanted & ~present).any():
            print(f"{output} already holds these images")
            return int(present.sum())
        wanted |= present
    part = make_folder(output.parent) / f"{output.name}.part"
    try:
        with open_part(part) as file:
            write_images(file, wanted)
        part.replace(output)
    except (OSError, RuntimeError) as error:  # HDF5 reports a full disk as either
        reason = getattr(error, "strerror", None) or one_line(error)
        raise UserError(f"cannot write {output}: {reason}; the same command goes on where it stopped") from error
    return int(wanted.sum())


# ------------------------------------------------------------------------------------------------ real frames


def edge_name(part: int, other: int) -> str:
    """What the edge between two different parts of the picture is called."""
    if OBJECT in (part, other):
        return "silhouette"
    if SKY_PART in (part, other):
        return "wall top"
    return "horizon" if FLOOR in (part, other) else "wall corner"


def line_edges(real: np.ndarray, rendered: np.ndarray, parts: np.ndarray) -> Iterator[tuple[str, float]]:
    """Name of each edge on a line of pixels, and how many pixels further along it lies in the real frame.

    real, rendered: (64, 3) in 0 to 255; parts: (64,), the part at each pixel's centre. Where two parts meet with four
    pixels of each around it, those eight are unmixed into the two rendered colours; the first one's share is the place.
    """
    for at in np.flatnonzero(np.diff(parts)) + 1:
        window = slice(at - 4, at + 4)
        alone = 4 < at < SIZE - 4 and (parts[window] == np.repeat(parts[[at - 1, at]], 4)).all()
        if not alone:
            continue
        contrast = rendered[at - 4] - rendered[at + 3]
        if np.linalg.norm(contrast) > 60:  # else the two are too alike to be told apart under the dither
            share = (real[window] - rendered[window]) @ contrast / (contrast @ contrast)
            yield edge_name(parts[at - 1], parts[at]), float(share.sum())


def edge_offsets(real: np.ndarray, rendered: np.ndarray, factors: Sequence[int]) -> dict[str, list[float]]:
    """Offsets of all edges of one frame, in pixels, by name. real, rendered: (64, 64, 3)."""
    room = trace_room(FACTOR_VALUES["orientation"][factors[5]])
    view = trace_object(room, factors[4], FACTOR_VALUES["scale"][factors[3]])
    parts = view.part.reshape(-1, SIZE, SIZE)[SAMPLES**2 // 2]  # (64, 64)
    rows = [real.astype(float), rendered.astype(float), parts]
    columns = [np.swapaxes(picture, 0, 1) for picture in rows]
    offsets: dict[str, list[float]] = {}
    for lines, names in ((rows, ("wall corner", "silhouette")), (columns, ("wall top", "horizon", "silhouette"))):
        for name, offset in (edge for line in zip(*lines, strict=True) for edge in line_edges(*line)):
            if name in names:  # a level edge is measured along columns only, an upright one along rows
                offsets.setdefault(name, []).append(offset)
    return offsets


def read_reference(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Labelled real frames of an .npz: images (N, 64, 64, 3) uint8 and factors (N, 6) value indices.

    Raises:
        UserError: it cannot be read, or an array is not what it should be.
    """
    if missing := {"images", "factors"} - set(npz_arrays(path)):
        raise UserError(f"{path}: holds no array {' and no '.join(sorted(missing))}; it must have images and factors")
    images, factors = read_npz_array(path, "images"), read_npz_array(path, "factors")
    n = len(images) if images.ndim else 0
    are_images = n and images.shape == (n, SIZE, SIZE, 3) and images.dtype == np.uint8
    if not are_images or factors.shape != (n, len(SIZES)) or factors.dtype.kind not in "iu":
        raise UserError(
            f"{path}: images {images.shape} {images.dtype} must be (N, 64, 64, 3) uint8, and factors {factors.shape} "
            f"{factors.dtype} (N, 6) whole numbers"
        )
    for name, size, column in zip(FACTOR_SIZES, SIZES, factors.T, strict=True):
        if len(wrong := column[(column < 0) | (column >= size)]):
            raise UserError(f"{path}: factors: {name} of a frame is {wrong[0]}, must be an index from 0 to {size - 1}")
    return images, factors


def compare(path: Path, figure_path: Path) -> None:
    """Print the errors of every labelled real frame and of the edges, and save some frames side by side."""
    real, factors = read_reference(path)
    rendered = np.stack([render(row) for row in factors])
    errors = np.abs(rendered.astype(float) - real).mean((1, 2, 3))  # (N,), of 255
    print(f"frame  {' '.join(FACTOR_SIZES)}  mean absolute error (of 255)")
    for index, (row, error) in enumerate(zip(factors, errors, strict=True)):
        print(f"{index:5d}  {' '.join(f'{value:2d}' for value in row)}  {error:5.2f}")
    print(f"all {len(errors)} frames: mean {errors.mean():.2f}, largest {errors.max():.2f} (frame {errors.argmax()})")
    by_frame = [edge_offsets(*frame) for frame in zip(real, rendered, factors, strict=True)]
    for name in ("wall top", "horizon", "wall corner", "silhouette"):
        frames = [np.array(offsets[name]) for offsets in by_frame if name in offsets]
        if not frames:
            continue
        points, means = np.abs(np.concatenate(frames)), [np.abs(frame).mean() for frame in frames]
        print(
            f"{name}: off by {points.mean():.2f} pixels, {max(means):.2f} in the worst of {len(frames)} frames; "
            f"{100 * (points <= 1.5).mean():.1f} % of {len(points)} places within 1.5, the worst {points.max():.2f}"
        )
    make_folder(figure_path.parent)
    comparison_figure(real, rendered, errors).savefig(figure_path)
    print(f"figure: {figure_path}")


def comparison_figure(real: np.ndarray, rendered: np.ndarray, errors: np.ndarray, n_shown: int = 12) -> Figure:
    """Evenly chosen frames in triples: real, rendered, difference (grey is none). real, rendered: (N, 64, 64, 3)."""
    shown = np.linspace(0, len(real) - 1, min(n_shown, len(real))).astype(int)
    difference = np.clip(128 + 2 * (real[shown].astype(int) - rendered[shown]), 0, 255).astype(np.uint8)
    triples = np.concatenate([real[shown], rendered[shown], difference], axis=2)  # (n, 64, 192, 3)
    n_columns = 3
    n_rows = -(-len(shown) // n_columns)
    figure = Figure(figsize=(11, 1.36 * n_rows + 0.35), dpi=120, layout="constrained")
    figure.suptitle("real | rendered | difference, doubled", fontsize=10)
    grid = figure.subplots(n_rows, n_columns, squeeze=False)
    for axes, index, picture in zip(grid.flat, shown, triples, strict=False):
        axes.imshow(picture, interpolation="nearest")
        axes.set_title(f"frame {index}: error {errors[index]:.1f} of 255", fontsize=8)
    for axes in figure.axes:
        axes.set_axis_off()
    return figure


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = FlagParser("Write a synthetic 3dshapes.h5 in the original's format.")
    parser.add_argument("--output", type=Path, default=Path("data/Fast_3DShapes/raw/3dshapes.h5"), help="file to write")
    parser.add_argument("--config_args_path", help="render only the images that this configuration uses")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    parser.add_argument("--compare_with", type=Path, help="measure against this .npz of real frames; writes no images")
    figure = Path("graphics/3dshapes_real_vs_rendered.png")
    parser.add_argument("--figure", type=Path, default=figure, help="where --compare_with draws")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse_arguments(argv)
    if arguments.compare_with:
        compare(arguments.compare_with, arguments.figure)
        return
    variation: Mapping[str, Sequence[int]] = {}
    if arguments.config_args_path:
        config = load_config(["--config_args_path", arguments.config_args_path])
        if config.dataset != "fast_3dshapes":
            raise UserError(f"{arguments.config_args_path} is for {config.dataset}; give one for fast_3dshapes")
        variation = config.factors_variation_dict
    n_images = write_file(arguments.output, variation, arguments.overwrite)
    print(f"{arguments.output} holds {n_images:,} of {N_IMAGES:,} images")


if __name__ == "__main__":
    run_script(main)

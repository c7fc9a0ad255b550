"""The file that is rendered: its rows, its resuming, and what is in the way."""

from __future__ import annotations

from interrupts import run_script

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest

import rendering.hdf5_file
from readers.threedshapes import N_IMAGES, N_VALUES
from render_3dshapes import main
from rendering.hdf5_file import CHUNK_ROWS, all_labels, wanted_rows, write_file
from rendering.scene import (
    SIDE_PIXELS,
    render,
)
from utils import UserError

FEW = {"floor_hue": [0, 3], "wall_hue": [5], "object_hue": [6], "scale": [2], "shape": [1, 2], "orientation": [7, 14]}
FEW_ROWS = [np.ravel_multi_index((f, 5, 6, 2, s, o), N_VALUES) for f in (0, 3) for s in (1, 2) for o in (7, 14)]


# ------------------------------------------------------------------------------------------------ the file


def test_labels_round_to_the_right_indices_in_every_row():
    labels = all_labels()
    assert labels.shape == (N_IMAGES, 6)
    assert labels.dtype == np.float64
    scaled = [labels[:, 0] * 10, labels[:, 1] * 10, labels[:, 2] * 10, (labels[:, 3] - 0.75) * 14, labels[:, 4],
              (labels[:, 5] + 30) * 14 / 60]  # fmt: skip
    expected = np.unravel_index(np.arange(N_IMAGES), (10, 10, 10, 8, 4, 15))  # floor hue slowest, orientation fastest
    for values, indices in zip(scaled, expected, strict=True):
        np.testing.assert_array_equal(np.rint(values), indices)
        np.testing.assert_allclose(values, indices, atol=1e-9)


def test_wanted_rows_of_a_published_configuration():
    wanted = wanted_rows({"floor_hue": list(range(10)), "wall_hue": [5], "object_hue": [6]})
    assert wanted.sum() == 4800
    assert wanted[5 * 4800 + 6 * 480]
    assert wanted_rows({}).all()


def test_file_of_some_rows(tmp_path):
    output = tmp_path / "raw" / "3dshapes.h5"
    assert write_file(output, FEW) == 8
    with h5py.File(output) as file:
        assert file.attrs["synthetic"]
        assert "not the original" in file.attrs["source"]
        assert set(file) == {"images", "labels", "rendered"}
        assert (file["images"].shape, file["images"].dtype) == ((480000, 64, 64, 3), np.uint8)
        assert (file["labels"].shape, file["labels"].dtype) == ((480000, 6), np.float64)
        assert np.flatnonzero(file["rendered"][:]).tolist() == FEW_ROWS
        for row in FEW_ROWS:
            np.testing.assert_array_equal(file["images"][row], render(np.unravel_index(row, N_VALUES)))
        assert not file["images"][FEW_ROWS[0] + 1].any()
    assert output.stat().st_size < 4e6  # chunks that hold no wanted row take no space
    assert [path.name for path in output.parent.iterdir()] == ["3dshapes.h5"]


def test_a_second_configuration_is_added_to_the_file(tmp_path, capsys):
    output = tmp_path / "3dshapes.h5"
    write_file(output, FEW)
    before = output.read_bytes()
    assert write_file(output, FEW) == 8
    assert "already holds these images" in capsys.readouterr().out and output.read_bytes() == before
    assert write_file(output, FEW | {"floor_hue": [0, 4]}) == 12
    with h5py.File(output) as file:
        rows = np.flatnonzero(file["rendered"][:])
        assert set(FEW_ROWS) < set(rows.tolist())
        assert file["images"][rows].any((1, 2, 3)).all()
    assert write_file(output, FEW, overwrite=True) == 8


def test_file_without_marker_counts_as_complete(tmp_path):
    output = tmp_path / "3dshapes.h5"
    with h5py.File(output, "w") as file:
        file.create_dataset("images", (N_IMAGES, SIDE_PIXELS, SIDE_PIXELS, 3), "uint8")
    before = output.read_bytes()
    assert write_file(output, FEW) == N_IMAGES
    assert output.read_bytes() == before


def test_interrupted_writing_resumes(tmp_path, monkeypatch):
    output, part = tmp_path / "3dshapes.h5", tmp_path / "3dshapes.h5.part"
    original, calls = rendering.hdf5_file.chunk_images, []

    def stop_at_the_second(*arguments):
        calls.append(arguments[1])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(rendering.hdf5_file, "chunk_images", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        write_file(output, FEW)
    assert part.exists()
    assert not output.exists()
    with h5py.File(part) as file:
        assert file["images"].id.get_num_chunks() == 1
        first = file["images"].id.get_chunk_info(0).byte_offset
    write_file(output, FEW)
    with h5py.File(output) as file:
        assert file["images"].id.get_num_chunks() == 2
        assert file["images"].id.get_chunk_info(0).byte_offset == first  # the finished chunk was left as it was
        assert file["images"][FEW_ROWS].any((1, 2, 3)).all()


@pytest.mark.parametrize("rest", [b"", b"not HDF5", None])
def test_damaged_part_is_begun_anew(tmp_path, rest):
    output, part = tmp_path / "3dshapes.h5", tmp_path / "3dshapes.h5.part"
    if rest is None:  # cut off before the datasets were made
        h5py.File(part, "w").close()
    else:
        part.write_bytes(rest)
    assert write_file(output, FEW) == 8


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """A file as HDF5 finds it while another process writes to it."""
    fcntl = pytest.importorskip("fcntl", reason="needs POSIX file locks")
    if os.environ.get("HDF5_USE_FILE_LOCKING", "TRUE").upper() in ("FALSE", "0"):
        pytest.skip("HDF5_USE_FILE_LOCKING turns locks off")
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def test_part_that_another_process_writes_is_left_alone(tmp_path):
    h5py.File(tmp_path / "3dshapes.h5.part", "w").close()
    with (
        locked(tmp_path / "3dshapes.h5.part"),
        pytest.raises(UserError, match="part is being written by another process"),
    ):
        write_file(tmp_path / "3dshapes.h5", FEW)


def test_file_that_another_process_writes_is_not_called_replaceable(tmp_path):
    output = tmp_path / "3dshapes.h5"
    h5py.File(output, "w").close()
    with (
        locked(output),
        pytest.raises(UserError, match="h5 is being written by another process; wait for it or choose"),
    ):
        write_file(output, FEW)
    assert os.listdir(tmp_path) == ["3dshapes.h5"]


def test_file_without_read_permission_is_not_called_replaceable(tmp_path, monkeypatch):
    """Permission bits do not hold for root: h5py and os.access say what they would to others."""
    output = tmp_path / "3dshapes.h5"
    output.touch()
    monkeypatch.setattr(h5py, "File", lambda *_: (_ for _ in ()).throw(PermissionError(errno.EACCES, "HDF5's words")))
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(
        UserError, match=r"exists and cannot be read \(Permission denied\); mend that or choose another"
    ):
        write_file(output, FEW)


def cut_off(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["images"] = np.zeros(10_000)
    os.truncate(path, 5_000)


def small_images(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["images"] = np.zeros((4, SIDE_PIXELS, SIDE_PIXELS, 3), np.uint8)


def short_marker(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("images", (N_IMAGES, SIDE_PIXELS, SIDE_PIXELS, 3), "uint8")
        file["rendered"] = np.ones(3, np.uint8)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.write_text("notes"), "is not an HDF5 file; --overwrite replaces it"),
        (cut_off, r"exists and cannot be read \(.*truncated.*\); mend that or choose another --output"),
        (lambda path: h5py.File(path, "w").close(), "not one of 3DShapes; move it away or choose another --output"),
        (small_images, "not one of 3DShapes; move it away or choose another --output"),
        (short_marker, "not one of 3DShapes; move it away or choose another --output"),
        (lambda path: path.mkdir(), "a folder; name the file in it, as in .*3dshapes.h5/3dshapes.h5"),
    ],
)
def test_what_is_in_the_way_is_named_before_anything_is_rendered(tmp_path, monkeypatch, write, message):
    output = tmp_path / "3dshapes.h5"
    write(output)
    monkeypatch.setattr(rendering.hdf5_file, "all_tables", lambda _: pytest.fail("rendered"))
    with pytest.raises(UserError, match=message):
        write_file(output, FEW)
    assert os.listdir(tmp_path) == ["3dshapes.h5"]


def test_configuration_chooses_the_images(tmp_path, capsys):
    settings = "\n".join(f"  {factor}: {indices}" for factor, indices in FEW.items())
    (tmp_path / "few.yml").write_text(
        f"dataset: fast_3dshapes\nfactors_label_list: [shape, floor_hue]\nfactors_variation_dict:\n{settings}\n"
    )
    main(["--config_args_path", str(tmp_path / "few.yml"), "--output", str(tmp_path / "few.h5")])
    assert "holds 8 of 480,000 images" in capsys.readouterr().out


@pytest.mark.slow
def test_full_file_is_whole(tmp_path, monkeypatch):
    """Every chunk is asked for, in order; some images are drawn, the others stay black, which HDF5 need not write."""
    rows = np.random.default_rng(0).choice(N_IMAGES, 20, replace=False)
    drawn = np.zeros(N_IMAGES, dtype=bool)
    drawn[rows] = True
    tables, draw = rendering.hdf5_file.all_tables(drawn), rendering.hdf5_file.chunk_images
    drawn, asked = drawn.reshape(-1, CHUNK_ROWS), []

    def draw_some(_, chunk, inside):
        asked.append((chunk, inside.all()))
        return draw(tables, chunk, inside & drawn[chunk])

    monkeypatch.setattr(rendering.hdf5_file, "all_tables", lambda wanted: wanted.all() or pytest.fail("not all"))
    monkeypatch.setattr(rendering.hdf5_file, "chunk_images", draw_some)
    assert write_file(tmp_path / "3dshapes.h5", {}) == N_IMAGES
    assert asked == [(chunk, True) for chunk in range(N_IMAGES // CHUNK_ROWS)]
    with h5py.File(tmp_path / "3dshapes.h5") as file:
        assert set(file) == {"images", "labels"}
        for row in rows:
            np.testing.assert_array_equal(file["images"][row], render(np.unravel_index(row, N_VALUES)))


# ------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("variation", "message"),
    [
        ({"colour": [1]}, "unknown factor 'colour' of 3DShapes; choose from floor_hue"),
        ({"shape": [4]}, r"shape: \[4\] must be indices from 0 to 3"),
        ({"shape": [-1]}, "must be indices"),
        ({"shape": []}, "must be indices"),
    ],
)
def test_bad_factors_are_named(tmp_path, variation, message):
    with pytest.raises(UserError, match=message):
        write_file(tmp_path / "3dshapes.h5", variation)
    assert not list(tmp_path.iterdir())


def test_bad_input_is_one_line_and_status_2(tmp_path, capsys):
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "mnist.yml").write_text("dataset: fast_mnist\n")
    np.savez(tmp_path / "wrong.npz", images=np.zeros((1, 32, 32, 3), np.uint8), factors=np.zeros((1, 6), int))
    np.save(tmp_path / "array.npy", FRAME)
    (tmp_path / "cut_off.npz").write_bytes((tmp_path / "wrong.npz").read_bytes()[:500])
    cases = [
        ["--output", str(tmp_path / "file" / "3dshapes.h5")],
        ["--output", str(tmp_path / "file")],
        ["--config_args_path", str(tmp_path / "absent.yml"), "--output", str(tmp_path / "out.h5")],
        ["--config_args_path", str(tmp_path / "mnist.yml"), "--output", str(tmp_path / "out.h5")],
        ["--compare_with", str(tmp_path / "absent.npz")],
        ["--compare_with", str(tmp_path / "file")],
        ["--compare_with", str(tmp_path / "wrong.npz")],
        ["--compare_with", str(tmp_path / "array.npy")],
        ["--compare_with", str(tmp_path / "cut_off.npz")],
    ]
    for argv in cases:
        with pytest.raises(SystemExit) as stopped:
            run_script(lambda argv=argv: main(argv))
        output = capsys.readouterr()
        assert stopped.value.code == 2, argv
        assert output.err.startswith("error: "), argv
        assert output.err.count("\n") == 1, output.err


FRAME, FACTORS = np.zeros((1, SIDE_PIXELS, SIDE_PIXELS, 3), np.uint8), np.zeros((1, 6), int)


@pytest.mark.parametrize(
    ("images", "factors", "message"),
    [
        (FRAME, None, "holds no array factors; it must have images and factors"),
        (FRAME, FACTORS - 1, "floor_hue of a frame is -1, must be an index from 0 to 9"),
        (FRAME, FACTORS + [0, 0, 0, 0, 4, 0], "shape of a frame is 4, must be an index from 0 to 3"),
        (FRAME, FACTORS / 2, "float64 .N, 6. whole numbers"),
        (FRAME, 3, r"factors \(\) int64"),
        (FRAME / 2, FACTORS, "float64 must be .N, 64, 64, 3. uint8"),
        (FRAME[:0], FACTORS[:0], r"images \(0, 64, 64, 3\)"),
        (FRAME, np.array([None]), "'factors' cannot be read"),
    ],
)
def test_frames_to_compare_with(tmp_path, images, factors, message):
    arrays = {"images": images} | ({} if factors is None else {"factors": factors})
    np.savez(tmp_path / "frames.npz", **arrays)
    with pytest.raises(UserError, match=message):
        main(["--compare_with", str(tmp_path / "frames.npz"), "--figure", str(tmp_path / "pairs.png")])

"""Arrays on disk are read as arrays in memory are, ahead of time, and by predict.py."""

from __future__ import annotations

from collections.abc import Iterator

import h5py
import numpy as np
import pytest

import predict
from readers.ahead import ahead
from readers.sources import open_images
from readers.stored import StoredArray, StoredImages

N = 30
COLOURED = np.random.default_rng(0).integers(0, 256, (N, 8, 8, 3), np.uint8)


def test_stored_images_are_read_as_an_array_is(tmp_path):
    for name, part in (("a", slice(12)), ("b", slice(12, None))):
        (tmp_path / name).write_bytes(b"head" + COLOURED[part].tobytes())
    arrays = [StoredArray(tmp_path / name, 4, (n, 8, 8, 3)) for name, n in (("a", 12), ("b", N - 12))]
    rows = np.random.default_rng(1).permutation(N)
    stored, expected = StoredImages(arrays, rows), COLOURED[rows].transpose(0, 3, 1, 2)
    for which in (slice(5, 20), np.array([3, 3, 29]), [0], slice(0)):
        np.testing.assert_array_equal(stored[which], expected[which])
        np.testing.assert_array_equal(stored.part(which)[:], expected[which])
    assert (stored.shape, stored.nbytes) == (expected.shape, expected.nbytes)
    np.testing.assert_array_equal(StoredImages(arrays, rows, n_channels=1)[:], expected[:, :1])


def test_reading_ahead_keeps_the_order_and_passes_errors_on():
    seen = []

    def items() -> Iterator[int]:
        for i in range(20):
            seen.append(i)
            yield i
        raise ValueError("the end")

    reading = ahead(items())
    assert [next(reading) for _ in range(3)] == [0, 1, 2]
    reading.close()
    assert len(seen) <= 8  # what was waiting, and no more
    with pytest.raises(ValueError, match="the end"):
        list(ahead(items()))
    assert list(ahead(range(1000))) == list(range(1000))


@pytest.mark.parametrize("suffix", [".npy", ".h5"])
def test_predict_reads_arrays(tmp_path, suffix):
    path = tmp_path / f"images{suffix}"
    if suffix == ".npy":
        np.save(path, COLOURED)
    else:
        with h5py.File(path, "w") as file:
            file["images"] = COLOURED
    batches = list(open_images([str(path)], (3, 8, 8)).batches(7))
    np.testing.assert_array_equal(np.concatenate([b.images for b in batches]), COLOURED.transpose(0, 3, 1, 2))
    assert [name for batch in batches for name in batch.names] == list(map(str, range(N)))
    assert predict.open_images is open_images

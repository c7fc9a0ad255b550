"""How far rendered frames are from real ones is measured right."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from render_3dshapes import main
from rendering.comparison import edge_offsets, line_edges, read_reference
from rendering.scene import (
    CAPSULE,
    CUBE,
    render,
)

SHARED = os.environ.get("MFCVAE_SHARED")


def test_edge_offset_of_a_known_shift():
    sky, wall = np.array([150.0, 220, 250]), np.array([0.0, 100, 255])
    parts = np.repeat([0, 2], [20, 44])
    rendered = np.where(np.arange(64)[:, None] < 20, sky, wall)
    real = np.where(np.arange(64)[:, None] < 21, sky, wall)
    real[21] = 0.75 * wall + 0.25 * sky
    [(name, offset)] = line_edges(real, rendered, parts)
    assert name == "wall top"
    assert offset == pytest.approx(1.25)


def test_rendered_frame_has_no_offset_from_itself():
    factors = (0, 6, 3, 3, CAPSULE, 14)
    image = render(factors)
    offsets = edge_offsets(image, image, factors)
    assert set(offsets) == {"wall top", "horizon", "wall corner", "silhouette"}
    assert not np.concatenate(list(offsets.values())).any()


def test_comparison_prints_a_table_and_draws(tmp_path, capsys):
    factors = np.array([(0, 6, 3, 0, CUBE, 1), (0, 6, 3, 2, CAPSULE, 14)])
    np.savez(tmp_path / "reference.npz", images=np.stack([render(row) for row in factors]), factors=factors)
    figure = tmp_path / "figures" / "pairs.png"
    main(["--compare_with", str(tmp_path / "reference.npz"), "--figure", str(figure)])
    assert "all 2 frames: mean 0.00, largest 0.00" in capsys.readouterr().out
    assert 0 < figure.stat().st_size < 500_000


@pytest.mark.real_data
@pytest.mark.skipif(not SHARED, reason="MFCVAE_SHARED does not name the folder with data/3dshapes_reference.npz")
def test_real_frames_are_met():
    images, factors = read_reference(Path(SHARED) / "data" / "3dshapes_reference.npz")
    rendered = np.stack([render(row) for row in factors])
    errors = np.abs(rendered.astype(float) - images).mean((1, 2, 3))
    assert errors.mean() < 6
    assert errors.max() < 16
    for name in ("wall top", "horizon", "wall corner", "silhouette"):
        per_frame = [edge_offsets(*frame).get(name) for frame in zip(images, rendered, factors, strict=True)]
        offsets = [np.mean(np.abs(values)) for values in per_frame if values]
        assert max(offsets) < 1.5, name

"""The schematic: the same 126 points in four clusterings, none on top of another, all inside their rings."""

import numpy as np
import pytest
from conftest import random_states
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

import plot_intuition
from plot_intuition import MARKER_DIAMETER, intuition_figure, make_panels, make_points, pack, place


@pytest.fixture(scope="module")
def panels():
    return make_panels(make_points(), np.random.default_rng(0))


def test_there_are_seven_points_of_each_combination():
    combinations, counts = np.unique(make_points(), axis=0, return_counts=True)
    assert combinations.shape == (18, 3) and set(counts) == {7}
    assert list(combinations.max(axis=0)) == [2, 2, 1]


def test_facets_group_by_one_attribute_and_the_single_one_by_all(panels):
    points = make_points()
    single, *facets = panels
    assert [len(panel.rings) for panel in panels] == [18, 3, 3, 2]
    pairs = np.column_stack([single.clusters, points])
    assert len(np.unique(pairs, axis=0)) == 18 == len(np.unique(single.clusters))  # one to one
    for attribute, facet in enumerate(facets):
        np.testing.assert_array_equal(facet.clusters, points[:, attribute])
        assert len(facet.names) == len(facet.rings)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_points_lie_apart_inside_their_own_ring(seed):
    rng = np.random.default_rng(seed)
    for panel in make_panels(make_points(), rng):
        places = place(panel, rng)
        distances = np.linalg.norm(places[:, None] - places[None], axis=-1) + np.eye(126)
        assert distances.min() > MARKER_DIAMETER
        for point, cluster in zip(places, panel.clusters, strict=True):
            ring = panel.rings[cluster]
            axes = np.array([ring.half_width, ring.half_height]) - MARKER_DIAMETER / 2
            assert np.linalg.norm((point - (ring.x, ring.y)) / axes) < 1


def test_rings_do_not_overlap_and_lie_on_their_panel(panels):
    angle = np.linspace(0, 2 * np.pi, 100)
    for panel in panels:
        for i, ring in enumerate(panel.rings):
            outline = np.stack([ring.x + ring.half_width * np.cos(angle), ring.y + ring.half_height * np.sin(angle)])
            assert (outline > 0).all() and (outline[0] < panel.box[2]).all() and (outline[1] < panel.box[3]).all()
            for other in panel.rings[:i]:
                x, y = (outline[0] - other.x) / other.half_width, (outline[1] - other.y) / other.half_height
                assert (np.hypot(x, y) > 1).all()


def test_packing_is_deterministic_and_takes_any_number(panels):
    ring = panels[1].rings[0]
    for n in (1, 2, 7, 42):
        np.testing.assert_array_equal(pack(n, ring), pack(n, ring))
        assert pack(n, ring).shape == (n, 2)


def test_figure_draws_every_point_and_no_text_leaves_it_or_another():
    figure = intuition_figure()
    FigureCanvasAgg(figure).draw()
    assert [sum(len(scatter.get_offsets()) for scatter in axes.collections) for axes in figure.axes] == [126] * 4
    assert [len(axes.patches) for axes in figure.axes] == [18, 3, 3, 2]
    boxes = [t.get_window_extent() for t in figure.findobj(Text) if t.get_text() and t.axes and t.axes.texts.count(t)]
    assert len(boxes) == 4 * 2 + 3 + 3 + 2
    for i, box in enumerate(boxes):
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
        assert not any(box.overlaps(other) for other in boxes[:i])


@pytest.mark.slow
def test_main_writes_both_files_reproducibly_and_leaves_the_global_generator(tmp_path, capsys):
    before = random_states()
    plot_intuition.main(["--output_dir", str(tmp_path / "a"), "--seed", "1"])
    plot_intuition.main(["--output_dir", str(tmp_path / "b"), "--seed", "1"])
    plot_intuition.main(["--output_dir", str(tmp_path / "c"), "--seed", "2"])
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["intuition.pdf", "intuition.png"]
    for name in ("intuition.png", "intuition.pdf"):
        first, same, other = ((tmp_path / folder / name).read_bytes() for folder in "abc")
        assert first == same != other
    assert random_states() == before
    assert "intuition" in capsys.readouterr().out

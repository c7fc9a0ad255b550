"""Figures show the given numbers at the right place, stay within their canvas, and change nothing around them."""

from concurrent.futures import ThreadPoolExecutor

import matplotlib
import matplotlib.pyplot
import numpy as np
import pytest
import torch
from conftest import fast_are, tick_labels
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from sklearn.datasets import load_digits

import plotting
from evaluation import image_grids
from evaluation.image_grids import Side

RNG = np.random.default_rng(0)
DIGITS = (load_digits().images[:400, None] / 16).astype(np.float32)  # (400, 1, 8, 8)
COLOUR = RNG.random((40, 3, 6, 5)).astype(np.float32)  # neither square nor grey
LABELS = [f"cluster {k} · n 2,431 · conf 0.98 · digit 3" for k in range(200)]
PI = RNG.dirichlet(np.ones(25))
EPOCHS = np.arange(30.0)


def line(n: int = 30, offset: float = 0.0) -> np.ndarray:
    return np.stack([EPOCHS[:n], offset + np.sqrt(EPOCHS[:n])], axis=1)


def rows(n_rows: int, n: int = 4) -> list[np.ndarray]:
    return [DIGITS[k : k + n] for k in range(n_rows)]


LARGE = {"examples_200", "classes_200", "classes_many", "confusion_30"}  # take a second each
FIGURES = {
    "examples": lambda: image_grids.example_grid(rows(25, 16), LABELS[:25], "MNIST test · facet 1"),
    "examples_200": lambda: image_grids.example_grid(rows(200), LABELS, "SVHN test · facet 0"),
    "examples_one": lambda: image_grids.example_grid(
        [COLOUR[:1]], ["c"], "A title much longer than its one image " * 4
    ),
    "examples_none": lambda: image_grids.example_grid([], [], "MNIST test · facet 1"),
    "examples_empty_rows": lambda: image_grids.example_grid([DIGITS[:0]] * 2, LABELS[:2], "rows without images"),
    "examples_1x1": lambda: image_grids.example_grid([np.ones((3, 3, 1, 1))] * 60, LABELS[:60], "one pixel each"),
    "examples_large": lambda: image_grids.example_grid([np.ones((3, 1, 300, 200))], LABELS[:1], "images that shrink"),
    "examples_flat": lambda: image_grids.example_grid([np.ones((3, 1, 2, 64))] * 3, LABELS[:3], "low and wide images"),
    "columns": lambda: image_grids.composition_overview(
        DIGITS[:12].reshape(3, 4, 1, 8, 8), Side(LABELS[:3]), Side(["a", "b", "c", "a long column label"]), "columns"
    ),
    "reconstructions": lambda: image_grids.reconstruction_grid(rows(9), rows(9), LABELS[:9], "MNIST test · facet 1"),
    "reconstructions_none": lambda: image_grids.reconstruction_grid([], [], [], "nothing"),
    "reconstructions_empty_rows": lambda: image_grids.reconstruction_grid([DIGITS[:0]], [DIGITS[:0]], ["c"], "empty"),
    "swap": lambda: image_grids.swap_figure(COLOUR, COLOUR[::-1], "clusters 3 and 11, facet 0 swapped"),
    "swap_empty": lambda: image_grids.swap_figure(COLOUR[:0], COLOUR[:0], "clusters 3 and 11"),
    "composition": lambda: image_grids.composition_overview(
        DIGITS[:35].reshape(5, 7, 1, 8, 8), Side(LABELS[:5], "facet 1 (digit)"), Side(LABELS[:7], "facet 0"), "means"
    ),
    "composition_none": lambda: image_grids.composition_overview(np.ones((0, 3, 1, 8, 8)), Side([]), Side([]), "means"),
    "confusion": lambda: plotting.confusion_matrix(np.eye(10) * 1234, list("0123456789"), "MNIST test · facet 1"),
    "confusion_names": lambda: plotting.confusion_matrix(
        np.diag([9, 0, 0, 12000]), ["cube", "cylinder", "sphere", "capsule"], "shape · accuracy 92.0 %"
    ),
    "confusion_one": lambda: plotting.confusion_matrix(np.array([[7]]), ["the only class"], "one class"),
    "confusion_30": lambda: plotting.confusion_matrix(np.eye(30), [f"{i}" for i in range(30)], "thirty classes"),
    "confusion_none": lambda: plotting.confusion_matrix(np.ones((0, 0)), [], "no classes"),
    "classes": lambda: plotting.cluster_classes(np.eye(25, 10) * 1234, LABELS[:25], list("0123456789"), "MNIST"),
    "classes_200": lambda: plotting.cluster_classes(
        np.tile(np.eye(10) * 999, (20, 1)), [str(k) for k in range(200)], list("0123456789"), "SVHN"
    ),
    "classes_many": lambda: plotting.cluster_classes(
        np.eye(60, 78) * 12, [str(k) for k in range(60)], [f"symbol {i}" for i in range(78)], "icons"
    ),
    "classes_few": lambda: plotting.cluster_classes(np.eye(3, 2) * 5, list("012"), ["yes", "no"], "a label"),
    "classes_none": lambda: plotting.cluster_classes(np.ones((0, 2)), [], ["a", "b"], "no clusters"),
    "weights": lambda: plotting.mixture_weights(PI, "MNIST · facet 0"),
    "weights_200": lambda: plotting.mixture_weights(np.full(200, 1 / 200), "SVHN · facet 0"),
    "weights_one": lambda: plotting.mixture_weights(np.ones(1), "one cluster"),
    "weights_none": lambda: plotting.mixture_weights(np.ones(0), "no cluster"),
    "sizes": lambda: plotting.cluster_sizes((PI * 60000).astype(int), "MNIST train · facet 0"),
    "sizes_50": lambda: plotting.cluster_sizes(np.arange(50) * 1000, "fifty clusters"),
    "sizes_zero": lambda: plotting.cluster_sizes(np.zeros(200, dtype=int), "all empty"),
    "sizes_one": lambda: plotting.cluster_sizes(np.array([500]), "one cluster"),
    "sizes_none": lambda: plotting.cluster_sizes(np.array([]), "no cluster"),
    "facets": lambda: plotting.facet_label_map(
        np.array([[0.99, 0.3], [0.2, 0.88]]), ["floor_hue", "shape"], "3DShapes"
    ),
    "facets_nan": lambda: plotting.facet_label_map(np.array([[0.9, np.nan], [np.nan] * 2]), ["a", "b"], "with gaps"),
    "facets_none": lambda: plotting.facet_label_map(np.ones((2, 0)), [], "no labels"),
    "curves": lambda: plotting.training_curves(
        {"loss": {"train": line(), "test": line(20)}, "accuracy": {"facet 0": line(1), "none": np.ones((0, 2))}}, "run"
    ),
    "curves_many": lambda: plotting.training_curves({"terms": {f"term {i}": line(30, i) for i in range(9)}}, "run"),
    "curves_nan": lambda: plotting.training_curves({"loss": {"train": line() * np.nan}, "empty": {}}, "diverged"),
    "curves_none": lambda: plotting.training_curves({}, "no curves"),
    "seeds": lambda: plotting.seed_stability({f"seed {i}": line(30 - i, i) for i in range(10)}, "ten seeds"),
    "seeds_30": lambda: plotting.seed_stability({f"seed {i}": line(30, i) for i in range(30)}, "thirty seeds"),
    "seeds_one": lambda: plotting.seed_stability({"seed 0": line(1)}, "one seed, one epoch"),
    "seeds_none": lambda: plotting.seed_stability({"seed 0": np.ones((0, 2))}, "no seeds"),
}


def draw(figure: Figure) -> FigureCanvasAgg:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return canvas


def drawn_texts(figure: Figure, monkeypatch: pytest.MonkeyPatch) -> list[Text]:
    """The texts that drawing the figure really puts on the canvas: not the ticks outside the view."""
    drawn, draw_text = [], Text.draw
    monkeypatch.setattr(Text, "draw", lambda text, renderer: (drawn.append(text), draw_text(text, renderer)))
    draw(figure)
    return [text for text in dict.fromkeys(drawn) if text.get_visible() and text.get_text().strip()]


def picture(figure: Figure) -> np.ndarray:
    return np.asarray(figure.axes[0].images[0].get_array())


@pytest.mark.parametrize("name", fast_are(FIGURES.keys() - LARGE, FIGURES))
def test_every_figure_draws_without_warning_and_no_text_is_clipped_or_covers_another(name, recwarn, monkeypatch):
    figure = FIGURES[name]()
    texts = drawn_texts(figure, monkeypatch)
    assert [str(warning.message) for warning in recwarn] == []
    assert figure.get_suptitle() in {text.get_text() for text in texts}
    names = np.array([text.get_text() for text in texts])
    x0, y0, x1, y1 = np.array([text.get_window_extent().extents for text in texts]).T
    outside = (x0 < 0) | (y0 < 0) | (x1 > figure.bbox.x1) | (y1 > figure.bbox.y1)
    assert list(names[outside]) == []
    inset = 0.1 * np.minimum(x1 - x0, y1 - y0)  # boxes hold room for ascenders and descenders that lines may share
    x0, y0, x1, y1 = x0 + inset, y0 + inset, x1 - inset, y1 - inset
    overlap = (x0[:, None] < x1) & (x0 < x1[:, None]) & (y0[:, None] < y1) & (y0 < y1[:, None])
    assert [(names[i], names[j]) for i, j in np.argwhere(overlap) if i < j] == []


@pytest.mark.parametrize("name", [r"a$\frac$", "$5-$10", "$0_$50"])
def test_dollar_signs_are_no_mathematics(name, monkeypatch):
    figures = [
        image_grids.composition_overview(DIGITS[None, :2], Side([name]), Side([name, "b"]), name),
        plotting.confusion_matrix(np.eye(2), [name, "b"], name),
        plotting.facet_label_map(np.ones((1, 2)), [name, "b"], name),
        plotting.seed_stability({"seed 0": line()}, name, f"test accuracy, {name}"),
    ]
    for figure in figures:
        assert not any(text._preprocess_math(text.get_text())[1] for text in drawn_texts(figure, monkeypatch))


def test_every_image_lies_whole_in_its_cell():
    given = [DIGITS[:3], DIGITS[10:15], DIGITS[:0]]
    figure = image_grids.example_grid(given, ["a", "b", "c"], "title")
    shown = picture(figure)
    assert shown.shape == (3 * 8 + 2, 5 * 8 + 4)
    for i, row in enumerate(given):
        for j in range(5):
            cell = shown[9 * i : 9 * i + 8, 9 * j : 9 * j + 8]
            expected = row[j, 0] if j < len(row) else np.ones((8, 8))  # blank
            np.testing.assert_array_equal(cell, expected)
    assert (shown[8] == 1).all() and (shown[:, 8] == 1).all()  # separators
    assert tick_labels(figure, "y") == ["a", "b", "c"]


def test_colour_images_keep_their_channels_and_leave_the_range_clipped():
    images = COLOUR * 1.6 - 0.3
    images[0, :, 0, 0] = np.nan, np.inf, -np.inf
    shown = picture(image_grids.example_grid([images[:2]], ["a"], "title"))
    expected = images.transpose(0, 2, 3, 1).clip(0, 1)
    expected[0, 0, 0] = 0.5, 1, 0
    np.testing.assert_array_equal(shown[:, :5], expected[0])
    np.testing.assert_array_equal(shown[:, 6:], expected[1])


def test_image_pixels_are_drawn_unscaled_at_whole_figure_pixels(tmp_path):
    plotting.save_figure(image_grids.example_grid([COLOUR[:2]], ["a"], "title"), tmp_path / "grid")
    saved = np.asarray(Image.open(tmp_path / "grid.png").convert("RGB")).astype(int)
    zoom = 10  # of 6 x 5 images
    target = np.kron((COLOUR[0] * 255).round().astype(int).transpose(1, 2, 0), np.ones((zoom, zoom, 1), dtype=int))
    bottom = saved.shape[0] - round(plotting.MARGIN * plotting.DPI)
    band = saved[bottom - 60 : bottom]  # the line of images ends at the lower margin
    errors = [np.abs(band[:, x : x + 50] - target).max() for x in range(saved.shape[1] - 50)]
    assert min(errors) <= 1  # rounding of a byte


def test_pairs_alternate_input_and_reconstruction():
    x, x_hat = DIGITS[:2], DIGITS[50:52]
    figure = image_grids.reconstruction_grid([x, x[:1]], [x_hat, x_hat[:1]], ["a", "b"], "title")
    shown = picture(figure)
    lefts = [0, 9, 22, 31]  # a wider gap between pairs than within
    for left, image in zip(lefts, (x[0], x_hat[0], x[1], x_hat[1]), strict=True):
        np.testing.assert_array_equal(shown[:8, left : left + 8], image[0])
    assert (shown[9:, 17:] == 1).all()
    assert tick_labels(figure, "x") == ["x", image_grids.X_HAT] * 2


def test_swap_shows_inputs_over_reconstructions_and_wraps_them_together():
    figure = image_grids.swap_figure(DIGITS[:25], DIGITS[100:125], "title")
    shown = picture(figure)
    assert tick_labels(figure, "y") == ["input", "reconstruction"] * 2
    np.testing.assert_array_equal(shown[:8, 9:17], DIGITS[1, 0])
    np.testing.assert_array_equal(shown[9:17, 9:17], DIGITS[101, 0])
    np.testing.assert_array_equal(shown[18:26, 9:17], DIGITS[21, 0])
    np.testing.assert_array_equal(shown[27:35, 9:17], DIGITS[121, 0])


def test_composition_puts_rows_down_and_columns_across():
    cells = DIGITS[:6].reshape(2, 3, 1, 8, 8)
    left, over = Side(["r0", "r1"], "rows"), Side(["q0", "q1", "q2"], "columns")
    figure = image_grids.composition_overview(cells, left, over, "title")
    np.testing.assert_array_equal(picture(figure)[9:17, 18:26], cells[1, 2, 0])
    axes = figure.axes[0]
    assert (tick_labels(figure, "y"), tick_labels(figure, "x")) == (["r0", "r1"], ["q0", "q1", "q2"])
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("rows", "columns")


@pytest.mark.parametrize(
    "call",
    [
        lambda: image_grids.example_grid(rows(2), ["only one"], "t"),
        lambda: image_grids.composition_overview(DIGITS[None, :3], Side(["a"]), Side(["too", "few"]), "t"),
        lambda: plotting.cluster_classes(np.ones((2, 3)), ["0", "1"], ["a", "b"], "t"),
        lambda: image_grids.example_grid([np.ones((2, 2, 8, 8))], ["two channels"], "t"),
        lambda: image_grids.example_grid([DIGITS[:2], COLOUR[:2]], ["a", "b"], "t"),
        lambda: image_grids.reconstruction_grid([DIGITS[:2]], [DIGITS[:1]], ["a"], "t"),
        lambda: image_grids.swap_figure(DIGITS[:2], DIGITS[:1], "t"),
        lambda: plotting.confusion_matrix(np.ones((2, 3)), ["a", "b"], "t"),
        lambda: plotting.facet_label_map(np.ones((2, 3)), ["a", "b"], "t"),
    ],
)
def test_shapes_that_do_not_fit_are_errors_that_name_them(call):
    with pytest.raises(ValueError, match=r"got"):
        call()


def test_confusion_matrix_shows_counts_and_colours_by_share_of_the_true_class():
    matrix = np.array([[1200, 1, 0], [300, 3, 0], [0, 0, 0]])
    figure = plotting.confusion_matrix(matrix, ["a", "b", "c"], "title")
    texts = {text.get_position(): text.get_text() for text in figure.axes[0].texts}
    assert texts[(0, 0)] == "1,200" and texts[(1, 0)] == "1" and texts[(0, 1)] == "300"  # position: column, row
    np.testing.assert_allclose(picture(figure), [[0.8, 0.25, 0], [0.2, 0.75, 0], [0, 0, 0]])
    assert (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel().split()[0]) == ("true class", "predicted")


def test_confusion_matrix_leaves_out_numbers_that_do_not_fit():
    figure = plotting.confusion_matrix(np.full((100, 100), 60000), [str(i) for i in range(100)], "title")
    assert len(figure.axes[0].texts) == 0


def test_mixture_weights_are_bars_with_a_line_at_the_uniform_weight():
    axes = plotting.mixture_weights(PI, "title").axes[0]
    np.testing.assert_allclose([bar.get_height() for bar in axes.patches], PI)
    assert list(axes.lines[0].get_ydata()) == [1 / 25, 1 / 25]


def test_cluster_sizes_are_sorted_bars():
    bars, _ = plotting.cluster_sizes(np.array([5, 0, 20, 10, 5]), "title").axes
    assert [bar.get_height() for bar in bars.patches] == [20, 10, 5, 5, 0]
    assert [label.get_text() for label in bars.get_xticklabels()] == ["2", "3", "0", "4", "1"]
    many, _ = plotting.cluster_sizes(np.arange(200), "title").axes
    assert [label.get_text() for label in many.get_xticklabels()] == []


def test_cluster_sizes_hold_ecdf_and_a_mark_per_cluster():
    sizes = np.array([5, 0, 20, 10])
    ecdf, rug, median = plotting.cluster_sizes(sizes, "title").axes[1].lines
    steps = dict(zip(ecdf.get_xdata(), ecdf.get_ydata(), strict=True))
    assert (steps[0], steps[5], steps[10], steps[20]) == (0.25, 0.5, 0.75, 1)
    assert rug.get_marker() == "|" and list(rug.get_xdata()) == list(sizes)
    assert list(median.get_xdata()) == [7.5, 7.5] and "4, of them 1 empty" in rug.get_label()


def test_clusters_by_classes_show_counts_and_colours_by_share_of_the_cluster():
    figure = plotting.cluster_classes(np.array([[1200, 400], [0, 3]]), ["17", "4"], ["a", "b"], "title")
    axes = figure.axes[0]
    assert {text.get_position(): text.get_text() for text in axes.texts} == {
        (0, 0): "1,200",
        (1, 0): "400",
        (1, 1): "3",
    }
    np.testing.assert_allclose(picture(figure), [[0.75, 0.25], [0, 1]])
    assert (tick_labels(figure, "y"), tick_labels(figure, "x")) == (["17", "4"], ["a", "b"])
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("cluster", "true class")


def test_facet_label_map_frames_the_best_facet_of_each_label():
    figure = plotting.facet_label_map(np.array([[0.9, 0.1, np.nan], [0.2, 0.885, np.nan]]), ["a", "b", "c"], "title")
    axes = figure.axes[0]
    assert sorted(round(frame.get_y()) for frame in axes.patches) == [0, 1]
    assert [(round(frame.get_x()), round(frame.get_y())) for frame in axes.patches] == [(0, 0), (1, 1)]
    assert {text.get_position(): text.get_text() for text in axes.texts}[(1, 1)] == "88.5%"
    assert np.isfinite(picture(figure)).all()


def test_training_curves_share_epochs_and_show_each_line():
    figure = plotting.training_curves({"loss": {"train": line(), "test": line(9)}, "accuracy": {"f": line()}}, "title")
    loss, accuracy = figure.axes
    np.testing.assert_array_equal(loss.lines[1].get_xydata(), line(9))
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["train", "test"]
    assert (loss.get_ylabel(), accuracy.get_xlabel()) == ("loss", "epoch")
    assert loss.get_xlim() == accuracy.get_xlim() and loss.get_position().y0 > accuracy.get_position().y0


def test_seed_band_is_mean_and_one_population_standard_deviation():
    seeds = {f"seed {i}": line(30 if i else 20, i**2) for i in range(3)}
    axes = plotting.seed_stability(seeds, "title").axes[0]
    values = np.stack([points[:20, 1] for points in seeds.values()])
    mean, std = values.mean(axis=0), values.std(axis=0)
    np.testing.assert_allclose(axes.lines[0].get_ydata()[:20], mean)
    np.testing.assert_allclose(axes.lines[0].get_ydata()[20:], (line(30, 1) + line(30, 4))[20:, 1] / 2)
    band = axes.collections[0].get_paths()[0].vertices
    for epoch in (0, 7, 19):
        edges = np.unique(band[band[:, 0] == epoch, 1].round(9))
        np.testing.assert_allclose([edges.min(), edges.max()], [mean[epoch] - std[epoch], mean[epoch] + std[epoch]])
    assert len(axes.lines) == 1 + 3


def test_figures_leave_inputs_random_states_settings_and_pyplot_alone(tmp_path):
    inputs = [DIGITS[:4] * 1.5 - 0.2, COLOUR[:3] - 0.5, PI.copy(), line()]
    copies = [array.copy() for array in inputs]
    settings = dict(matplotlib.rcParams)
    np.random.seed(3)
    torch.manual_seed(3)
    expected = np.random.random(), torch.rand(1).item()
    np.random.seed(3)
    torch.manual_seed(3)
    digits, colour, pi, points = inputs
    figures = [
        image_grids.example_grid([digits], ["a"], "t"),
        image_grids.swap_figure(colour, colour, "t"),
        plotting.mixture_weights(pi, "t"),
        plotting.cluster_sizes(pi, "t"),
        plotting.training_curves({"p": {"l": points}}, "t"),
        plotting.seed_stability({"0": points, "1": points}, "t"),
    ]
    for figure in figures:
        plotting.save_figure(figure, tmp_path / "figure", formats=("png", "pdf"))
    assert (np.random.random(), torch.rand(1).item()) == expected
    for array, copy in zip(inputs, copies, strict=True):
        np.testing.assert_array_equal(array, copy)
    assert dict(matplotlib.rcParams) == settings
    assert matplotlib.pyplot.get_fignums() == []


def test_saved_files_are_named_complete_and_reproducible(tmp_path):
    folder = tmp_path / "new" / "folder"
    figure = plotting.mixture_weights(PI, "title")
    plotting.save_figure(figure, folder / "acc_0.98", formats=("png", "pdf", "svg"))
    plotting.save_figure(figure, folder / "pi.pdf", formats=("png",))
    names = ["acc_0.98.pdf", "acc_0.98.png", "acc_0.98.svg", "pi.png"]
    assert sorted(path.name for path in folder.iterdir()) == names
    first = {name: (folder / name).read_bytes() for name in names}
    plotting.save_figure(plotting.mixture_weights(PI, "title"), folder / "acc_0.98", formats=("png", "pdf", "svg"))
    assert {name: (folder / name).read_bytes() for name in names} == first
    width, height = figure.get_size_inches() * 150
    assert Image.open(folder / "pi.png").size == (round(width), round(height))


def test_a_failed_save_keeps_the_old_file_and_leaves_no_other(tmp_path):
    (tmp_path / "figure.png").write_bytes(b"old")
    broken = plotting.mixture_weights(PI, "title")
    broken.text(0.5, 0.5, r"$\notacommand$")
    with pytest.raises(ValueError):
        plotting.save_figure(broken, tmp_path / "figure")
    assert [path.name for path in tmp_path.iterdir()] == ["figure.png"]
    assert (tmp_path / "figure.png").read_bytes() == b"old"


def test_threads_draw_the_same_figures(tmp_path):
    settings = dict(matplotlib.rcParams)

    def work(i: int) -> None:
        for repeat in range(2):
            figure = image_grids.example_grid(rows(3), LABELS[:3], "title")
            plotting.save_figure(figure, tmp_path / f"{i}_{repeat}", formats=("png", "pdf"))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))
    assert len({path.read_bytes() for path in tmp_path.glob("*.png")}) == 1
    assert len(list(tmp_path.iterdir())) == 16
    assert dict(matplotlib.rcParams) == settings


def test_a_grid_of_25_by_16_stays_a_small_file(tmp_path):
    digits = np.kron(DIGITS[:, 0], np.ones((3, 3)))[:, None]  # (400, 1, 24, 24)
    images = np.pad(digits, ((0, 0), (0, 0), (2, 2), (2, 2)))  # 28 x 28, as MNIST's
    figure = image_grids.example_grid(list(images.reshape(25, 16, 1, 28, 28)), LABELS[:25], "title")
    plotting.save_figure(figure, tmp_path / "grid")
    assert (tmp_path / "grid.png").stat().st_size < 500_000

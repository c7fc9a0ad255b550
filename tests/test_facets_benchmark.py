"""benchmarks/facets.py: the sets, the methods, how clusterings are matched with labels, and the file of the runs."""

from __future__ import annotations

import json
from importlib.util import find_spec

import numpy as np
import pytest

from benchmarks import facet_ours, facet_peers, facet_sets, facets
from benchmarks.facet_results import append_result, label_scores, matched_clusterings, read_results
from benchmarks.facet_sets import FacetSet, load_set, set_path
from benchmarks.facet_summary import ami_figure, figure_of, results_table
from config import load_config
from datasets import load_dataset
from plotting import save_figure
from utils import UserError

NEEDS_CLUSTPY = pytest.mark.skipif(
    find_spec("clustpy") is None, reason="ClustPy is not installed (pip install -r benchmarks/requirements.txt)"
)
PEERS = [
    pytest.param(name, marks=NEEDS_CLUSTPY) if method.needs_clustpy else name
    for name, method in facet_peers.METHODS.items()
]


def write_set(path, n_images: int = 200) -> None:
    """Images of 4x4 pixels: the upper half is one of two greys, the lower half one of three; some noise."""
    random = np.random.default_rng(0)
    upper, lower = random.integers(0, 2, n_images), random.integers(0, 3, n_images)
    images = np.empty((n_images, 4, 4))
    images[:, :2], images[:, 2:] = (90 + 60 * upper)[:, None, None], (20 + 100 * lower)[:, None, None]
    images = np.rint(images + random.uniform(-9, 9, images.shape)).astype(np.uint8)
    np.savez(path, images=images, labels=np.stack([upper, lower], 1), label_names=np.array(["upper", "lower"]))


@pytest.fixture
def data(tmp_path) -> FacetSet:
    write_set(tmp_path / "halves.npz")
    return load_set(tmp_path / "halves.npz", seed=3)


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Arguments that run k-means on the set of halves, the only one there is."""
    write_set(tmp_path / "halves.npz")
    monkeypatch.setattr(facets, "SETS", {"halves": None})
    monkeypatch.setattr(facet_sets, "SETS", {"halves": None})
    paths = ["--data_dir", str(tmp_path), "--results", str(tmp_path / "out" / "runs.jsonl")]
    return ["--sets", "halves", "--methods", "kmeans_pixels", "--seeds", "0", "1", *paths]


# --- matching and scores, by hand-worked vectors


@pytest.mark.parametrize(
    ("ami", "chosen"),
    [
        ([[0.9, 0.1], [0.2, 0.3]], [0, 1]),
        ([[0.1, 0.9], [0.3, 0.2]], [1, 0]),
        (
            [[0.9, 0.8], [0.7, 0.1]],
            [1, 0],
        ),  # 0.7 + 0.8 beats 0.9 + 0.1: the best clustering of a label may be another's
        ([[0.0, 0.0], [0.5, 0.6], [0.6, 0.5]], [2, 1]),
    ],
)
def test_clusterings_and_labels_are_matched_for_the_highest_sum(ami, chosen):
    assert matched_clusterings(np.array(ami)) == chosen


def test_a_label_gets_the_scores_of_its_own_clustering():
    labels = {"a": np.array([0, 0, 0, 1, 1, 1]), "b": np.array([0, 1, 2, 0, 1, 2])}
    clusters = np.stack([labels["b"], [5, 5, 5, 2, 2, 5]], axis=1)
    scores = label_scores(clusters, labels, is_single=False)
    assert scores["b"]["clustering"] == 0
    assert scores["b"]["ami"] == scores["b"]["nmi"] == scores["b"]["accuracy"] == pytest.approx(1)
    assert scores["a"]["clustering"] == 1
    assert scores["a"]["clusters_used"] == 2
    assert scores["a"]["accuracy"] == scores["a"]["hungarian_accuracy"] == pytest.approx(5 / 6)
    # H(a) = log 2; clusters of 4 and 2; joint counts 3, 1, 2
    entropy = [-sum(n / 6 * np.log(n / 6) for n in counts) for counts in ((3, 3), (4, 2), (3, 1, 2))]
    assert scores["a"]["nmi"] == pytest.approx(2 * (entropy[0] + entropy[1] - entropy[2]) / (entropy[0] + entropy[1]))


def test_a_single_clustering_stays_with_the_label_that_it_was_made_for():
    labels = {"a": np.array([0, 0, 1, 1]), "b": np.array([0, 1, 0, 1])}
    crossed = np.stack([labels["b"], labels["a"]], axis=1)
    kept, matched = (label_scores(crossed, labels, is_single) for is_single in (True, False))
    assert [kept[name]["clustering"] for name in labels] == [0, 1]
    assert [kept[name]["accuracy"] for name in labels] == [0.5, 0.5]
    assert [matched[name]["clustering"] for name in labels] == [1, 0]
    assert [matched[name]["accuracy"] for name in labels] == [1, 1]


def test_a_label_without_a_clustering_scores_as_one_cluster():
    labels = {"a": np.array([0, 0, 1, 1]), "b": np.array([0, 1, 1, 1])}
    scores = label_scores(labels["a"][:, None], labels, is_single=False)
    assert scores["a"]["ami"] == pytest.approx(1)
    assert scores["b"]["ami"] == scores["b"]["nmi"] == 0
    assert scores["b"]["accuracy"] == 0.75
    assert scores["b"]["clusters_used"] == 1


# --- sets


def test_the_held_out_images_are_those_of_training(tmp_path, data):
    config = load_config(["--dataset", "npz", "--data_dir", str(tmp_path / "halves.npz"), "--seed", "3"])
    expected = load_dataset(config, facet_sets.CPU)
    assert data.train.shape == (160, 16)
    assert np.array_equal(data.test, expected.test.images.numpy().reshape(40, 16).astype(np.float32) / 255)
    assert np.array_equal(data.labels["lower"], expected.test.labels[:, 1].numpy())
    assert data.n_clusters == (2, 3)
    assert not np.array_equal(data.test, load_set(tmp_path / "halves.npz", seed=4).test)


def test_coloured_digits_have_the_ink_of_their_label(tmp_path):
    path = set_path("coloured_digits", tmp_path, tmp_path / "made")
    digits = load_set(path, seed=0)
    assert path.parent == tmp_path / "made"
    assert digits.n_clusters == (10, 5)
    assert len(digits.train) + len(digits.test) == 1797
    hues = digits.test.reshape(-1, 3, 64).max(axis=2)  # (M, 3): the strongest red, green and blue
    for colour in range(5):
        inks = hues[digits.labels["colour"] == colour]
        assert len(inks) > 20
        assert np.ptp(inks / inks.max(axis=1, keepdims=True), axis=0).max() < 0.02
    before = path.stat().st_mtime_ns
    assert set_path("coloured_digits", tmp_path, tmp_path / "made").stat().st_mtime_ns == before


def test_a_set_that_cannot_be_made_is_asked_for(tmp_path):
    with pytest.raises(UserError, match=r"gtsrb.npz is missing; name the folder that holds it by --data_dir"):
        set_path("gtsrb", tmp_path, tmp_path)


# --- methods


@pytest.mark.parametrize("name", PEERS)
def test_every_peer_clusters_held_out_images_the_same_way_twice(name, data, monkeypatch):
    monkeypatch.setattr(facet_peers, "MAX_IMAGES", 1600)  # ten epochs
    method = facet_peers.METHODS[name]
    first, second = method.cluster(data, 0), method.cluster(data, 0)
    assert first.shape == (40, 2)
    assert np.array_equal(first, second)
    if name not in ("enrc", "vade"):  # ten epochs teach a network nothing
        scores = label_scores(first, data.labels, method.is_single)
        assert max(score["ami"] for score in scores.values()) > 0.9


@NEEDS_CLUSTPY
def test_nrkmeans_finds_both_halves_of_the_images(data):
    scores = label_scores(facet_peers.METHODS["nrkmeans"].cluster(data, 0), data.labels, is_single=False)
    assert [score["ami"] for score in scores.values()] == pytest.approx([1, 1])


def test_single_clusterings_have_each_labels_number_of_clusters(data):
    asked = []

    def fit(train, test, k, seed):
        asked.append((k, seed))
        return np.full(len(test), k)

    clusters = facet_peers.each_label(fit)(data._replace(n_clusters=(3, 2, 3)), 7)
    assert asked == [(2, 7), (3, 7)]
    assert np.array_equal(clusters, np.tile([3, 2, 3], (40, 1)))


@pytest.mark.parametrize(("n_images", "expected"), [(720, (100, 150)), (8000, (10, 15)), (10**6, (1, 1))])
def test_deep_peers_train_less_long_on_large_sets(n_images, expected):
    assert tuple(facet_peers.epochs(n_images).values()) == expected


# --- runs


def test_runs_are_written_summarised_and_not_repeated(command, tmp_path, capsys, monkeypatch):
    assert facets.main(command) == 0
    path = tmp_path / "out" / "runs.jsonl"
    runs = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(run["set"], run["method"], run["seed"]) for run in runs] == [
        ("halves", "kmeans_pixels", s) for s in (0, 1)
    ]
    assert set(runs[0]["labels"]) == {"upper", "lower"}
    assert runs[0]["n_test"] == 40
    assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert "| images: label | kmeans_pixels |" in path.with_suffix(".md").read_text()
    monkeypatch.setattr(facets, "held_out_clusters", lambda *_: pytest.fail("run again"))
    capsys.readouterr()
    before = path.read_text()
    assert facets.main(command) == 0
    assert path.read_text() == before
    assert "1 of" not in capsys.readouterr().out


@pytest.mark.parametrize("n_left", [0, 3, 50])
def test_a_run_that_was_cut_off_is_run_again(n_left, command, tmp_path):
    facets.main(command)
    path = tmp_path / "out" / "runs.jsonl"
    whole = path.read_text().splitlines(keepends=True)
    path.write_text(whole[0] + whole[1][:n_left])
    facets.main(command)
    again = path.read_text().splitlines(keepends=True)
    assert again[0] == whole[0]
    assert json.loads(again[1])["labels"] == json.loads(whole[1])["labels"]
    assert len(again) == 2


def test_a_method_that_fails_is_recorded_with_its_reason(command, tmp_path, monkeypatch):
    def fail(data, seed):
        raise ValueError(f"no luck with\nseed {seed}")

    monkeypatch.setitem(facet_peers.METHODS, "kmeans_pixels", facet_peers.Method(fail))
    assert facets.main(command) == 0
    runs = read_results(tmp_path / "out" / "runs.jsonl")
    assert [run["error"] for run in runs] == ["ValueError: no luck with seed 0", "ValueError: no luck with seed 1"]
    table = (tmp_path / "out" / "runs.md").read_text()
    assert "- kmeans_pixels, halves, seed 1: ValueError: no luck with seed 1" in table


def test_ours_is_trained_with_nothing_but_the_number_of_clusters_set(command, tmp_path, monkeypatch):
    seen = []

    def cluster(path, seed, n_clusters, results_dir):
        seen.append((path.name, seed, n_clusters, results_dir))
        return load_set(path, seed).labels["lower"][:, None].repeat(2, axis=1)

    monkeypatch.setattr(facets, "cluster_by_facets", cluster)
    monkeypatch.setitem(facet_ours.N_CLUSTERS, "halves", (2, 3))
    assert facets.main([*command, "--methods", "ours"]) == 0
    assert seen == [("halves.npz", seed, (2, 3), tmp_path / "out" / "facets") for seed in (0, 1)]
    runs = read_results(tmp_path / "out" / "runs.jsonl")
    assert [run["labels"]["lower"]["ami"] for run in runs] == pytest.approx([1, 1])


def test_codes_are_those_of_the_training_images_factors(data):
    clusters = facet_ours.cluster_by_codes(data, 0, (2, 3))
    scores = label_scores(clusters, data.labels, is_single=False)
    assert clusters.shape == (40, 2)
    assert [scores[name]["ami"] for name in ("upper", "lower")] == pytest.approx([1, 1])


def test_every_set_says_how_many_clusters_ours_gets():
    assert facet_ours.N_CLUSTERS.keys() == facet_sets.SETS.keys()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--methods", "kmean"], "invalid choice: 'kmean'"),
        (["--sets", "faces"], "invalid choice: 'faces'"),
        (["--seeds", "-1"], "must be a whole number of at least 0"),
        (["--result", "x"], "unknown flag '--result'; did you mean '--results'?"),
    ],
)
def test_wrong_flags_are_refused_in_a_line(flags, message):
    with pytest.raises(UserError) as error:
        facets.main(flags)
    assert message in str(error.value)


def test_what_lacks_clustpy_is_told_before_anything_is_run(command, tmp_path, monkeypatch):
    monkeypatch.setattr(facet_peers, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"enrc: ClustPy is not installed; run pip install -r benchmarks/requirements"):
        facets.main([*command, "--methods", "kmeans_pca", "enrc"])
    assert not (tmp_path / "out" / "runs.jsonl").exists()


# --- the file, the table and the figure


def record(method: str, seed: int, **ami: float) -> dict:
    """A run on the set of halves; without scores one that failed."""
    scores = {"labels": {name: {"ami": value} for name, value in ami.items()}} if ami else {"error": "Oops: why"}
    return {"method": method, "seed": seed, "set": "halves", "cpu_seconds": 2.0 + seed, **scores}


RUNS = [
    record("one", 0, upper=0.5, lower=-0.004),
    record("one", 1, upper=0.7, lower=0.0),
    record("two", 0, upper=0.9, lower=-0.001),
    record("two", 1),
    record("three", 0),
]


@pytest.mark.parametrize("content", ["not json\n", "[1]\n", '{"set": "a"}\n', "5\n", '{"a": 1}', "\n"])
def test_other_files_are_refused(content, tmp_path):
    path = tmp_path / "runs.jsonl"
    path.write_text(content)
    with pytest.raises(
        UserError, match=r"runs.jsonl is not a results file of this benchmark .*choose another --results"
    ):
        read_results(path)
    assert path.read_text() == content


def test_what_is_appended_is_read_back(tmp_path):
    for run in RUNS:
        append_result(tmp_path / "runs.jsonl", run)
    assert read_results(tmp_path / "runs.jsonl") == RUNS


def test_the_table_has_means_and_deviations_over_seeds():
    lines = results_table(RUNS, ["one", "two", "three"]).splitlines()
    assert lines[0] == "| images: label | one | two | three |"
    assert lines[2] == "| halves: upper | 0.60 (0.10) | **0.90 (0.00) x1** | failed |"
    assert lines[3] == "| halves: lower | 0.00 (0.00) | 0.00 (0.00) x1 | failed |"
    assert lines[4] == "| CPU seconds a run | 2.5 | 2.5 | 2.0 |"
    assert "- two, halves, seed 1: Oops: why" in lines


def test_the_figure_shows_every_score(tmp_path):
    figure = figure_of(RUNS, ["one", "two"])
    [axes] = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["halves: upper", "halves: lower"]
    points = {c.get_label(): c.lines[0].get_xdata() for c in axes.containers}
    assert points["one"] == pytest.approx([0.6, -0.002])
    assert points["two"] == pytest.approx([0.9, -0.001])
    save_figure(figure, tmp_path / "figure.png")
    assert 10_000 < (tmp_path / "figure.png").stat().st_size < 500_000


def test_a_figure_of_arrays_that_do_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"2 rows and 1 methods, but means \(1, 1\)"):
        ami_figure(np.zeros((1, 1)), np.zeros((1, 1)), ["a", "b"], ["one"])


def test_the_table_of_the_docs_is_that_of_the_results_that_are_kept():
    root = facets.HERE.parent
    records = read_results(root / "benchmarks" / "facets.jsonl")
    table = results_table(records, facets.methods_in(records)).split("\n\n")[0]
    assert table in (root / "docs" / "facets.md").read_text()

"""What is printed at the end of a run: every score in its place, and a dash with a reason where it means nothing."""

from __future__ import annotations

import numpy as np
import torch

from config import build_config
from datasets import DatasetSpec, Split
from evaluation.baselines import baselines
from evaluation.metric_names import Metric
from evaluation.score_table import report
from evaluation.scores import summarise

CONFIG = build_config({"dataset": "digits", "n_clusters_j_list": [4, 3], "z_j_dim_list": [2, 2]})
SHAPE, HUE = np.array([0, 0, 1, 1, 2, 2, 2, 2]), np.array([0, 1, 0, 1, 0, 1, 0, 1])
HEALTHY = {
    Metric(kind, facet=j).name: value
    for kind, value in {"health_effect": 0.5, "health_kl": 3.0, "health_constant": 0.25, "confidence": 0.9}.items()
    for j in range(2)
} | {Metric("health_change").name: 1.0}


def spec_of(labels: dict[str, np.ndarray], shape: tuple[int, int, int] = (1, 2, 2)) -> DatasetSpec:
    names = tuple(tuple(map(str, range(int(y.max()) + 1))) for y in labels.values())
    return DatasetSpec("made", shape, "normal", "sigmoid", 8, 8, tuple(labels), names)


def split_of(labels: dict[str, np.ndarray]) -> Split:
    """Images that show the first label in their first pixel."""
    y = torch.from_numpy(np.stack(list(labels.values()), axis=1))
    images = torch.zeros(len(y), 1, 2, 2, dtype=torch.uint8)
    images[:, 0, 0, 0] = (y[:, 0] * 100).to(torch.uint8)
    return Split(images, y)


def report_of(labels: dict[str, np.ndarray], clusters: list[np.ndarray], **changes: float) -> list[str]:
    """The lines of a run with these clusters."""
    spec, split = spec_of(labels), split_of(labels)
    numbers = summarise("test", np.stack(clusters, axis=1), labels) | HEALTHY
    return report(numbers | baselines(CONFIG, split, split, spec) | changes, CONFIG, spec).splitlines()


def row(lines: list[str], *words: str) -> list[str]:
    """The cells of the one line that begins with these words."""
    [line] = [line for line in lines if line.split()[: len(" ".join(words).split())] == " ".join(words).split()]
    return line.split()[len(" ".join(words).split()) :]


def test_scores_stand_beside_k_means_and_guessing():
    lines = report_of({"shape": SHAPE, "hue": HUE}, [SHAPE, HUE])
    header = " ".join(lines[0].split())
    assert header == "test scores accuracy hungarian nmi ami ari confidence clusters used"
    perfect = "100.00 % 100.00 % 1.000 1.000 1.000 0.90"
    assert " ".join(row(lines, "facet 0", "shape")) == f"{perfect} 3 of 4"
    assert " ".join(row(lines, "facet 1", "hue")) == f"{perfect} 2 of 3"
    assert row(lines, "facet 1", "shape")[:2] == ["50.00", "%"]
    assert row(lines, "largest class", "shape") == ["50.00", "%", "50.00", "%", "-", "-", "-", "-", "-"]
    k_means = [line.split() for line in lines if line.startswith("k-means") and "shape" in line]
    assert [cells[2:4] for cells in k_means] == [["100.00", "%"]] * 2  # the pixels show the shape
    assert [cells[-3:] for cells in k_means] == [["3", "of", "4"], ["3", "of", "3"]]
    assert "NMI between facets 0 and 1: 0.000" in lines
    assert len({len(line) for line in lines[:9]}) == 1  # aligned


def test_rows_of_facets_with_as_many_clusters_share_one_k_means():
    config = build_config({"dataset": "digits", "n_clusters_j_list": [3, 3], "z_j_dim_list": [2, 2]})
    labels = {"shape": SHAPE}
    split, spec = split_of(labels), spec_of(labels)
    numbers = summarise("test", np.stack([SHAPE, HUE], axis=1), labels) | HEALTHY
    lines = report(numbers | baselines(config, split, split, spec), config, spec).splitlines()
    assert sum(line.startswith("k-means") for line in lines) == 1


def test_health_is_shown_with_what_a_constant_would_have():
    lines = report_of({"shape": SHAPE}, [SHAPE, HUE])
    assert row(lines, "health of facets") == ["effect", "kl", "confidence", "of", "a", "constant", "clusters", "used"]
    assert row(lines, "facet 0", "0.500") == ["3.00", "0.90", "0.25", *["3", "of", "4"]]
    assert lines[-1].startswith("facet 1")  # nobody is complained about
    lines = report_of({"shape": SHAPE}, [SHAPE, HUE], **{Metric("health_effect", facet=1).name: 0.0})
    assert lines[-1].startswith("facet 1 does not show: ") and "; try " in lines[-1]


def test_a_facet_with_one_cluster_shares_no_information():
    lines = report_of({"shape": SHAPE}, [np.zeros(8, int), HUE])
    assert row(lines, "facet 0", "shape")[:7] == ["50.00", "%", "50.00", "%", "-", "-", "-"]
    assert "-  facet 0 has one cluster: it shares no information with anything" in lines
    assert "NMI between facets 0 and 1: -, as facet 0 has one cluster only" in lines
    assert not any("facet 1 has one cluster" in line for line in lines)


def test_two_facets_with_one_cluster_are_not_called_alike():
    lines = report_of({"shape": SHAPE}, [np.zeros(8, int)] * 2)
    assert "NMI between facets 0 and 1: -, as both have one cluster only" in lines
    assert not any("1.000" in line for line in lines if line.startswith(("facet", "NMI")))


def test_a_label_with_one_class_in_the_test_split_tells_nothing():
    one = np.zeros(8, int)
    lines = report_of({"shape": SHAPE, "one": one}, [SHAPE, HUE])
    assert row(lines, "facet 0", "one")[:5] == ["-"] * 5
    assert [line.split()[2:7] for line in lines if line.startswith("k-means") and " one " in line] == [["-"] * 5] * 2
    assert "-  all test images are of one class of one: every clustering is right" in lines


def test_without_labels_there_is_health_alone():
    spec = DatasetSpec("made", (1, 2, 2), "normal", "sigmoid", 8, 8, (), ())
    split = Split(torch.zeros(8, 1, 2, 2, dtype=torch.uint8), torch.zeros(8, 0, dtype=torch.int64))
    assert baselines(CONFIG, split, split, spec) == {}
    numbers = summarise("test", np.stack([SHAPE, HUE], axis=1), {}) | HEALTHY
    lines = report(numbers, CONFIG, spec).splitlines()
    assert lines[0].startswith("health of facets") and lines[-1] == "NMI between facets 0 and 1: 0.000"
    assert not any("accuracy" in line for line in lines)


def test_runs_of_earlier_versions_are_shown_with_what_they_logged():
    labels = {"shape": SHAPE}
    numbers = summarise("test", np.stack([SHAPE, HUE], axis=1), labels)
    numbers = {name: value for name, value in numbers.items() if not name.endswith("_ami")}
    numbers |= {Metric("confidence", facet=j).name: 0.9 for j in range(2)}
    lines = report(numbers, CONFIG, spec_of(labels)).splitlines()
    assert row(lines, "facet 0", "shape") == [
        "100.00",
        "%",
        "100.00",
        "%",
        "1.000",
        "-",
        "1.000",
        "0.90",
        "3",
        "of",
        "4",
    ]
    assert row(lines, "facet 1", "-") == ["-", "0.90", "-", *["2", "of", "3"]]
    assert not any(line.startswith(("k-means", "-", "largest")) for line in lines)


def test_labels_are_told_apart_and_stay_on_their_line():
    labels = {"upper_body_of_it_all_left": SHAPE, "upper_body_of_it_all_right": HUE, "a\nb\t\x1b[31m" + "x" * 80: SHAPE}
    lines = report_of(labels, [SHAPE, HUE])
    assert row(lines, "facet 0", "upper_body_of_it_all_left") and row(lines, "facet 0", "upper_body_of_it_all_right")
    assert all(line.isprintable() and len(line) < 140 for line in lines[:10])
    assert row(lines, "facet 1", "a?b??[31m" + "x" * 18 + "...")

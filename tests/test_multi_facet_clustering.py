"""The estimator: the numbers of train.py, scikit-learn's conventions, every kind of images, and what it refuses."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import fast_are
from PIL import Image
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import (
    check_estimator_cloneable,
    check_estimator_repr,
    check_get_params_invariance,
    check_no_attributes_set_in_init,
    check_parameters_default_constructible,
    check_set_params,
)

import train
from evaluation.metric_names import Metric
from evaluation.predictions import predict
from load_model import load_model_from_save_dict
from multi_facet_clustering import InputError, MultiFacetClustering
from utils import UserError

N = 200
WIDTHS = {"enc_backbone_dims": [16, 24], "dec_backbone_dims": [16, 16], "dec_rung_dims": [16, 24]}


def digits() -> np.ndarray:
    """(N, 8, 8) float64 in [0, 1]."""
    return load_digits().images[:N] / 16


def estimator(**kwargs: Any) -> MultiFacetClustering:
    """A small one of a few epochs."""
    small = {"n_clusters": [4, 5], "n_latents": [3, 2], "n_epochs": 3, "verbose": False, "settings": WIDTHS}
    return MultiFacetClustering(**small | kwargs)


@pytest.fixture(scope="module")
def fitted() -> MultiFacetClustering:
    return estimator().fit(digits(), load_digits().target[:N])


def flags(folder: Path) -> list[str]:
    """What train.py is told to do as `estimator` does."""
    words = ["--dataset", "npz", "--image_size", "none", "--n_clusters_j_list", "4", "5", "--z_j_dim_list", "3", "2"]
    words += ["--n_epochs", "3", "--config_args_path", "configs/folder.yml", "--wandb_mode", "disabled"]
    words += ["--data_dir", str(folder / "digits.npz"), "--results_dir", str(folder), "--run_name", "run"]
    for name, widths in WIDTHS.items():
        words += [f"--{name}", *map(str, widths)]
    return [*words, "--copy_model", "false", "--do_vis_train", "false", "--do_vis_test", "false"]


def test_the_result_is_that_of_train_to_the_bit(fitted, tmp_path):
    np.savez(
        tmp_path / "digits.npz",
        images=np.rint(digits() * 255).astype(np.uint8),
        labels=load_digits().target[:N],
        label_names=["label"],
    )
    assert train.main(flags(tmp_path)) == 0
    model, _ = load_model_from_save_dict(tmp_path / "run" / "save_dict.pt")
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, fitted.model_.state_dict()[name]), name
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    for row, epoch in zip(rows, fitted.history_, strict=True):
        assert row | {"epoch_seconds": 0} == epoch | {"epoch_seconds": 0}


def test_what_a_fitted_estimator_says(fitted):
    X = digits()
    assert fitted.labels_.shape == (N, 2)
    np.testing.assert_array_equal(fitted.predict(X), fitted.labels_)
    probabilities = fitted.predict_proba(X)
    assert [p.shape for p in probabilities] == [(N, 4), (N, 5)]
    np.testing.assert_array_equal(np.stack([p.argmax(1) for p in probabilities], axis=1), fitted.labels_)
    Z = fitted.transform(X)
    assert Z.shape == (N, 5)
    assert list(fitted.get_feature_names_out()) == [
        "facet_0_z_0",
        "facet_0_z_1",
        "facet_0_z_2",
        "facet_1_z_0",
        "facet_1_z_1",
    ]
    found = predict(fitted.model_, torch.from_numpy(np.rint(X * 255).astype(np.uint8))[:, None])
    np.testing.assert_array_equal(Z, np.concatenate(found.means, axis=1))
    assert fitted.score(X) == pytest.approx(-fitted.history_[-1]["test_metric/loss"], rel=0.2)
    assert Metric("accuracy", facet=0, label="label").name in fitted.history_[-1]


def test_decoding_swapping_and_sampling(fitted):
    X = digits()
    x_hat = fitted.decode(fitted.transform(X))
    assert x_hat.shape == X.shape and x_hat.min() >= 0 and x_hat.max() <= 1
    Z = fitted.transform(X)
    first, second = fitted.swap(X[:5], X[5:10], facet=1)
    np.testing.assert_allclose(first, fitted.decode(np.hstack([Z[:5, :3], Z[5:10, 3:]])), atol=1e-5)
    np.testing.assert_allclose(second, fitted.decode(np.hstack([Z[5:10, :3], Z[:5, 3:]])), atol=1e-5)
    images, clusters = fitted.sample(20, clusters={1: 2})
    assert images.shape == (20, 8, 8) and (clusters[:, 1] == 2).all() and len(set(clusters[:, 0])) > 1
    np.testing.assert_array_equal(images, fitted.sample(20, {1: 2})[0])
    assert not np.array_equal(images, fitted.sample(20, {1: 2}, random_state=5)[0])
    assert len(fitted.figure(X, facet=1).axes) > 0


def test_the_report_is_a_page(fitted, tmp_path):
    path = fitted.report(digits()[:40], tmp_path / "deeper" / "page.html")
    assert path.stat().st_size > 10_000 and "<html" in path.read_text(encoding="utf-8")


def test_a_saved_model_is_loaded(fitted, tmp_path):
    fitted.save(tmp_path / "deeper" / "model.pt")
    loaded = MultiFacetClustering.load(tmp_path / "deeper" / "model.pt")
    np.testing.assert_array_equal(loaded.predict(digits()), fitted.labels_)
    assert loaded.get_params()["n_clusters"] == [4, 5]
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict(digits()), fitted.labels_)
    assert pickle.loads(b"cmulti_facet_clustering\nMultiFacetClustering\n.") is MultiFacetClustering  # where it was


def same_images() -> dict[str, Callable[[Path], Any]]:
    """The digits in every form that fit takes, each of 20 images."""
    grey = np.rint(digits()[:20] * 255).astype(np.uint8)

    def folder(path: Path) -> Path:
        for i, image in enumerate(grey):
            Image.fromarray(image).save(path / f"{i:02d}.png")
        return path

    def npz(path: Path) -> str:
        np.savez(path / "digits.npz", images=grey)
        return str(path / "digits.npz")

    return {
        "uint8": lambda _: grey,
        "float32": lambda _: (grey / 255).astype(np.float32),
        "channels first": lambda _: grey[:, None],
        "channels last": lambda _: grey[..., None],
        "tensor": lambda _: torch.from_numpy(grey),
        "list of arrays": lambda _: list(grey),
        "pictures": lambda _: [Image.fromarray(image) for image in grey],
        "folder": folder,
        "npz": npz,
        "flat": lambda _: grey.reshape(20, -1),
    }


@pytest.mark.parametrize("kind", same_images())
def test_every_kind_of_images_is_predicted_alike(kind, fitted, tmp_path):
    model = clone(fitted).set_params(image_shape=(8, 8))
    model.model_, model.config_ = fitted.model_, fitted.config_
    np.testing.assert_array_equal(model.predict(same_images()[kind](tmp_path)), fitted.predict(digits()[:20]))


@pytest.mark.parametrize("kind", fast_are(["tensor"], ["tensor", "pictures", "folder", "npz"]))
def test_every_kind_of_images_is_fitted_alike(kind, tmp_path):
    settings = {"n_epochs": 2, "image_size": 8, "batch_size": 8}
    expected = estimator(**settings).fit(same_images()["uint8"](tmp_path))
    model = estimator(**settings).fit(same_images()[kind](tmp_path))
    for name, weight in model.model_.state_dict().items():
        assert torch.equal(weight, expected.model_.state_dict()[name]), name
    np.testing.assert_array_equal(model.labels_, expected.labels_)


@pytest.mark.slow
def test_colour_and_sizes_are_kept_or_brought_to_image_size():
    X = np.random.default_rng(0).integers(0, 256, (30, 12, 10, 3), dtype=np.uint8)
    model = estimator(n_epochs=1).fit(X)
    assert model.model_.spec.image_shape == (3, 12, 10)
    assert model.sample(2)[0].shape == (2, 12, 10, 3)
    np.testing.assert_array_equal(model.predict(np.moveaxis(X, 3, 1)), model.labels_)
    small = estimator(n_epochs=1, image_size=6).fit(X)
    assert small.model_.spec.image_shape == (3, 6, 6)
    np.testing.assert_array_equal(small.predict(X), small.labels_)


@pytest.mark.slow
def test_a_run_dir_keeps_the_run_and_goes_on(fitted, tmp_path, monkeypatch):
    """Stopped by Ctrl-C, then continued to the same weights; the global random state stays."""
    stopped = estimator(run_dir=tmp_path / "kept")
    train_epoch = train.train_epoch

    def interrupted(training, dataset, epoch):
        if epoch == 2:
            raise KeyboardInterrupt
        return train_epoch(training, dataset, epoch)

    before = torch.get_rng_state()
    with monkeypatch.context() as patched:
        patched.setattr(train, "train_epoch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            stopped.fit(digits())
    assert torch.equal(torch.get_rng_state(), before)
    stopped.fit(digits())
    for name, weight in stopped.model_.state_dict().items():
        assert torch.equal(weight, fitted.model_.state_dict()[name]), name
    assert (tmp_path / "kept" / "figures").is_dir()
    with pytest.raises(InputError, match="belongs to a run on other images"):
        stopped.fit(digits()[:100])
    longer = estimator(run_dir=tmp_path / "kept", n_epochs=4).fit(digits())
    assert [row["epoch"] for row in longer.history_] == [0, 1, 2, 3]
    assert longer.history_[:2] == stopped.history_[:2]


@pytest.mark.slow
def test_random_state_and_verbose(fitted, capsys):
    assert capsys.readouterr().out == ""
    other = estimator(random_state=1, n_epochs=1, verbose=True).fit(digits())
    said = capsys.readouterr().out
    assert "starting a run that is not kept on cpu" in said and "epoch    0 of 0" in said
    assert "model:" not in said and "/" not in said.split("test scores")[0]
    assert other.config_.seed == 1
    drawn = [estimator(random_state=np.random.RandomState(3), n_epochs=1).fit(digits()).config_.seed for _ in range(2)]
    assert drawn[0] == drawn[1]


CHECKS = (
    check_no_attributes_set_in_init,
    check_get_params_invariance,
    check_set_params,
    check_estimator_cloneable,
    check_estimator_repr,
)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_checks_of_scikit_learn_that_need_no_table(check):
    check("MultiFacetClustering", MultiFacetClustering())


def test_more_checks_of_scikit_learn(fitted):
    check_parameters_default_constructible("MultiFacetClustering", MultiFacetClustering())
    estimator_checks.check_estimator_tags_renamed("MultiFacetClustering", MultiFacetClustering())
    estimator_checks.check_valid_tag_types("MultiFacetClustering", MultiFacetClustering())
    assert clone(fitted).get_params() == fitted.get_params()
    assert not hasattr(clone(fitted), "model_")


def test_it_works_in_a_pipeline():
    X = load_digits().data[:60]
    pipeline = make_pipeline(MinMaxScaler(clip=True), estimator(n_epochs=1, image_shape=(8, 8)))
    assert pipeline.fit_predict(X).shape == (60, 2)
    assert pipeline.transform(X).shape == (60, 5)
    assert np.isfinite(pipeline.score(X))
    pipeline.set_params(multifacetclustering__n_clusters=3)
    assert pipeline[-1].n_clusters == 3


ONES = np.ones((20, 8, 8))
BAD_FIT: dict[str, tuple[Any, dict[str, Any], str]] = {
    "none": (None, {}, "X is None: give images"),
    "a number": (3, {}, "X is 3: give images"),
    "a mapping": ({"a": 1}, {}, "give images"),
    "texts": (np.array(["a", "b"]), {}, "not numbers; give uint8"),
    "objects": (np.array([None, object()]), {}, "X holds object, not numbers"),
    "flat rows": (np.ones((20, 64)), {}, r"X has shape \(20, 64\); give images .* or say by image_shape"),
    "another image_shape": (
        np.ones((20, 64)),
        {"image_shape": (8, 9)},
        r"\(8, 9\): has 72 numbers, the rows of X have 64",
    ),
    "five axes": (np.ones((2, 2, 2, 2, 3)), {}, r"X has shape \(2, 2, 2, 2, 3\); give images"),
    "two channels": (np.ones((20, 8, 8, 2)), {}, "with C 1 or 3"),
    "no images": (np.ones((0, 8, 8)), {}, "there are no images"),
    "floats to 255": (ONES * 255, {}, "X has floats from 255 to 255; scale them"),
    "negative floats": (-ONES, {}, "X has floats from -1 to -1; scale them"),
    "nan": (ONES * np.nan, {}, "X holds NaN or infinity"),
    "int64": (ONES.astype(np.int64), {}, "X holds int64; give uint8"),
    "arrays of different shapes": ([np.ones((8, 8)), np.ones((9, 9))], {}, "arrays of different shapes"),
    "pictures and others": ([Image.new("L", (8, 8)), 3], {}, r"X\[1\] is int, others are pictures"),
    "pictures of fractions": (
        [Image.new("F", (8, 8))] * 9,
        {},
        r"X\[0\] cannot be read: fractions have no known range",
    ),
    "no such folder": ("nowhere", {}, "nowhere: no such file or folder"),
    "no such npz": ("nowhere.npz", {}, "nowhere.npz: no such file"),
    "one image": (ONES[:1], {}, "0 of 1 images to train on are too few"),
    "more clusters than images": (ONES, {"n_clusters": 20}, "more clusters than the 16 training images"),
    "no facets": (ONES, {"n_facets": 0}, "J_n_mixtures = 0: should be greater than or equal to 1"),
    "half a cluster": (ONES, {"n_clusters": 2.5}, "n_clusters_j_list = "),
    "clusters of three facets": (ONES, {"n_clusters": [2, 2, 2]}, "give one entry per facet, J_n_mixtures = 2"),
    "no epochs": (ONES, {"n_epochs": 0}, "n_epochs = 0"),
    "no learning rate": (ONES, {"learning_rate": 0}, "init_lr = 0"),
    "a batch of one": (ONES, {"batch_size": 1}, "batch_size = 1"),
    "no device": (ONES, {"device": "quantum"}, "device = 'quantum': not a device"),
    "no seed": (ONES, {"random_state": "x"}, "random_state = 'x': give a seed"),
    "a negative seed": (ONES, {"random_state": -1}, "seed = -1"),
    "no setting": (ONES, {"settings": {"bacth_size": 3}}, "did you mean 'batch_size'"),
    "side of a picture": (ONES, {"image_size": 0}, "image_size = 0"),
    "an empty path": ("", {}, "data_dir = ''"),
    "a sparse tensor": (torch.ones(20, 8, 8).to_sparse(), {}, "X is a tensor without plain numbers"),
    "clusters in words": (ONES, {"n_clusters": ["a", "b"]}, "n_clusters_j_list = "),
    "settings in a list": (ONES, {"settings": [1]}, r"settings = \[1\]: give a mapping"),
    "a number as a folder": (ONES, {"run_dir": 3}, "run_dir = 3: give the path"),
    "a shape in words": (ONES.reshape(20, 64), {"image_shape": "8x8"}, "image_shape = '8x8': give"),
    "a negative shape": (ONES.reshape(20, 64), {"image_shape": (-8, -8)}, r"image_shape = \(-8, -8\): give"),
}


@pytest.mark.parametrize("name", BAD_FIT)
def test_bad_input_to_fit_is_one_line(name):
    X, settings, message = BAD_FIT[name]
    with pytest.raises(InputError, match=message) as error:
        estimator(**settings).fit(X)
    assert isinstance(error.value, ValueError) and isinstance(error.value, UserError)
    assert "\n" not in str(error.value)


BAD_LABELS: dict[str, tuple[Any, str]] = {
    "too few": ([1, 2], r"y has shape \(2,\): give a label, or a row of labels, for each of 20"),
    "fractions": (np.linspace(0, 1, 20), "y holds float64; labels are whole numbers or texts"),
    "three axes": (np.ones((20, 2, 2)), "y has shape"),
}


@pytest.mark.parametrize("name", BAD_LABELS)
def test_bad_labels_are_one_line(name):
    y, message = BAD_LABELS[name]
    with pytest.raises(InputError, match=message):
        estimator().fit(ONES, y)


def test_labels_of_files_are_in_the_files(tmp_path):
    np.savez(tmp_path / "i.npz", images=np.zeros((20, 8, 8), np.uint8))
    with pytest.raises(InputError, match="y: the labels of a folder or .npz are in it"):
        estimator().fit(tmp_path / "i.npz", np.zeros(20))


BAD_USE: dict[str, tuple[Callable[[MultiFacetClustering], Any], str]] = {
    "another size": (
        lambda m: m.predict(np.ones((2, 9, 9))),
        r"X has images \(C, H, W\) \(1, 9, 9\), the model was fitted",
    ),
    "colour": (lambda m: m.predict_proba(np.ones((2, 8, 8, 3))), r"\(3, 8, 8\), the model was fitted to \(1, 8, 8\)"),
    "floats": (lambda m: m.transform(np.full((2, 8, 8), 7.0)), "scale them"),
    "no images": (lambda m: m.score(np.ones((0, 8, 8))), "there are no images"),
    "nothing there": (lambda m: m.predict("nowhere"), "no such file or folder"),
    "latents of another width": (
        lambda m: m.decode(np.ones((2, 4))),
        r"Z has shape \(2, 4\): give finite numbers \(N, 5\)",
    ),
    "latents that are not finite": (lambda m: m.decode(np.full((2, 5), np.nan)), "give finite numbers"),
    "a flat latent": (lambda m: m.decode(np.ones(5)), r"Z has shape \(5,\)"),
    "no pairs": (lambda m: m.swap(ONES[:2], ONES[:3]), "X_1 has 2 images and X_2 3; give pairs"),
    "no facet to swap": (lambda m: m.swap(ONES[:2], ONES[:2], facet=2), "facet = 2: the model has the facets 0 to 1"),
    "no facet to draw": (lambda m: m.figure(ONES[:2], facet=-1), "facet = -1"),
    "a report on no images": (lambda m: m.report(np.ones((0, 8, 8))), "there are no images"),
    "no samples": (lambda m: m.sample(0), "n_samples = 0"),
    "half a sample": (lambda m: m.sample(1.5), "n_samples = 1.5"),
    "no cluster": (lambda m: m.sample(1, {0: 4}), "facet 0 has the clusters 0 to 3"),
    "no facet to sample": (lambda m: m.sample(1, {7: 0}), "facet = 7"),
    "below zero": (lambda m: m.sample(1, temperature=-1), "temperature = -1"),
    "no model": (lambda m: m.load("nowhere.pt"), "nowhere.pt: no such file"),
    "a folder in place of a file": (lambda m: m.save(Path.cwd()), "cannot write"),
    "latents in words": (lambda m: m.decode([["a"] * 5]), r"Z is .*: give finite numbers \(N, 5\)"),
    "latents of other lengths": (lambda m: m.decode([[1, 2], [3]]), "Z is .*: give finite numbers"),
    "complex latents": (lambda m: m.decode(np.ones((2, 5), complex)), "Z is .*: give finite numbers"),
    "two facets": (lambda m: m.swap(ONES[:2], ONES[:2], np.array([0, 1])), "facet = array"),
    "samples beyond counting": (lambda m: m.sample(10**12), "a whole number from 1 to 100,000"),
    "true": (lambda m: m.sample(True), "n_samples = True"),
    "clusters in a list": (lambda m: m.sample(1, [0]), r"clusters = \[0\]: give a mapping"),
    "an empty row": (lambda m: m.figure(ONES[:2], n_images=0), "n_images = 0: give a whole number from 1 to 100"),
    "a number as a path": (lambda m: m.report(ONES[:2], 3), "path = 3: give the path of a file"),
    "no path": (lambda m: m.load(None), "path = None: give the path of a file"),
}


@pytest.mark.parametrize("name", BAD_USE)
def test_bad_input_to_other_methods_is_one_line(name, fitted):
    use, message = BAD_USE[name]
    with pytest.raises(InputError, match=message) as error:
        use(fitted)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "method", ["predict", "predict_proba", "transform", "score", "decode", "sample", "save", "figure", "report"]
)
def test_an_estimator_must_be_fitted_first(method):
    with pytest.raises(NotFittedError):
        getattr(estimator(), method)(3)

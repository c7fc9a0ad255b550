"""Trained models go on: with more epochs, on other images, with other numbers of clusters; and copies never collide."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_train import NO_FIGURES, SMALL, metrics_of

import load_model
import train
from config import build_config
from evaluation.predictions import predict
from load_model import is_model_of, load_model_from_save_dict, save_copy
from multi_facet_clustering import MultiFacetClustering
from progressive import epoch_coefficients
from utils import UserError

FILES = ["--save_model", "true", "--copy_model", "false"]
LED = ["--do_progressive_training", "false", "--init_type_p_z_c", "factorial", "--guide_weight", "0.03"]
LED += ["--bottleneck", "0.9", "--sigma_multiplier_p_x_z", "data"]


def words(results, name, *flags):
    return [*SMALL, *NO_FIGURES, *FILES, "--results_dir", str(results), "--run_name", name, *flags]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a finished run of four epochs."""
    results = tmp_path_factory.mktemp("trained")
    assert train.main(words(results, "run")) == 0
    return results / "run"


def weights(folder):
    return load_model_from_save_dict(folder / "save_dict.pt")[0].state_dict()


# --- more epochs of the same run


@pytest.mark.slow
def test_more_epochs_are_those_of_a_longer_run(trained, tmp_path, capsys):
    """Bit by bit, as the last step's length changes nothing before; fewer ones, or others, are refused."""
    longer = ["--n_epochs_per_progressive_step", "2", "4"]
    assert train.main(words(tmp_path, "whole", *longer)) == 0
    assert train.main(words(tmp_path, "run")) == 0
    capsys.readouterr()
    assert train.main(words(tmp_path, "run", *longer)) == 0
    assert "resuming" in capsys.readouterr().out
    rows, whole = metrics_of(tmp_path / "run"), metrics_of(tmp_path / "whole")
    assert rows[:3] == whole[:3] and rows[4:] == whole[4:]
    assert rows[3] | whole[3] == rows[3]  # was the last epoch, and was compared with baselines
    assert all(torch.equal(w, weights(tmp_path / "whole")[name]) for name, w in weights(tmp_path / "run").items())
    assert is_model_of(tmp_path / "run" / "save_dict.pt", 6)
    for steps in (["2", "3"], ["3", "3"], ["1", "9"]):
        with pytest.raises(UserError, match="holds a run with other settings: .*n_epochs_per_progressive_step"):
            train.main(words(tmp_path, "run", "--n_epochs_per_progressive_step", *steps))


@pytest.mark.slow
def test_added_epochs_of_a_led_run_are_not_led(tmp_path, monkeypatch):
    """The guide and the bottleneck have ended where the run was planned to end."""
    seen = []
    monkeypatch.setattr(
        train, "epoch_coefficients", lambda *arguments: seen.append(epoch_coefficients(*arguments)) or seen[-1]
    )
    assert train.main(words(tmp_path, "run", *LED, "--n_epochs", "3")) == 0
    assert train.main(words(tmp_path, "run", *LED, "--n_epochs", "5")) == 0
    bottleneck, guide = (torch.stack([c[0, i] for c in seen]) for i in (4, 5))
    assert bottleneck[0, 0] == pytest.approx(0.9) and guide[0, 0] == pytest.approx(0.03)
    assert len(seen) == 4 and not bottleneck[2:].any() and not guide[2:].any()
    assert [row["epoch"] for row in metrics_of(tmp_path / "run")] == list(range(5))


def test_a_longer_run_that_was_killed_before_its_model_is_not_called_finished(tmp_path):
    assert train.main(words(tmp_path, "run")) == 0
    old = (tmp_path / "run" / "save_dict.pt").read_bytes()
    longer = words(tmp_path, "run", "--n_epochs_per_progressive_step", "2", "3")
    assert train.main(longer) == 0
    (tmp_path / "run" / "save_dict.pt").write_bytes(old)
    assert train.main(longer) == 0
    assert is_model_of(tmp_path / "run" / "save_dict.pt", 5)


# --- a new run from a trained model


def go_on(trained, tmp_path, *flags):
    """A run of a few epochs from the model; its folder."""
    place = ["--results_dir", str(tmp_path), "--run_name", "on", "--wandb_mode", "disabled", *FILES, *NO_FIGURES]
    assert train.main(["--continue_from", str(trained / "save_dict.pt"), *place, *flags]) == 0
    return tmp_path / "on"


def test_a_run_continues_from_a_model_with_its_settings(trained, tmp_path):
    on = go_on(trained, tmp_path, "--n_epochs", "2")
    before, after = metrics_of(trained)[-1], metrics_of(on)
    assert [row["epoch"] for row in after] == [0, 1]
    for name in ("facet_0_label_digit_nmi", "facet_1_label_digit_accuracy"):
        assert after[0][f"test_metric/{name}"] == before[f"test_metric/{name}"]
    config = load_model_from_save_dict(on / "save_dict.pt")[1]
    assert (config.batch_size, config.z_j_dim_list, config.continue_from) == (256, [3, 2], None)


def test_other_numbers_of_clusters_get_mixtures_of_the_latents(trained, tmp_path):
    """Facet 1 keeps what it has; facet 0 has new clusters, which are used."""
    on = go_on(trained, tmp_path, "--n_epochs", "1", "--n_clusters_j_list", "9", "5")
    old, new = weights(trained), weights(on)
    assert new["prior.0.mean"].shape == (9, 3)
    assert all(torch.equal(new[name], old[name]) for name in old if not name.startswith("prior.0."))
    torch.testing.assert_close(new["prior.0.free_spread"], old["prior.0.free_spread"].mean(0).expand(9, 3))
    assert metrics_of(on)[-1]["test_metric/n_clusters_present_0"] > 4


def test_other_images_of_the_same_shape(trained, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "others.npz", images=images)
    on = go_on(trained, tmp_path, "--dataset", "npz", "--data_dir", str(tmp_path / "others.npz"), "--n_epochs", "2")
    assert load_model_from_save_dict(on / "save_dict.pt")[0].spec.n_train == 48


def test_an_estimator_continues_from_a_model(trained):
    path, X = str(trained / "save_dict.pt"), np.zeros((20, 8, 8), np.uint8)
    start = MultiFacetClustering.load(path)
    same = MultiFacetClustering.load(path).set_params(settings={"continue_from": path}, n_epochs=1, verbose=False)
    np.testing.assert_array_equal(same.fit(X).labels_, predict(start.model_, torch.zeros(20, 1, 8, 8).byte()).clusters)


REFUSED = {
    "no model": (["--continue_from", "nowhere.pt"], "nowhere.pt: no such file"),
    "another dimension": (["--z_j_dim_list", "4", "2"], r"its model has z_j_dim_list = \[3, 2\], not \[4, 2\]"),
    "another number of facets": (["--J_n_mixtures", "3"], "its model has J_n_mixtures = 2, not 3"),
    "another map of the spread": (["--init_type_p_z_c", "glorot"], "init_type_p_z_c = 'gmm', not 'glorot'"),
    "another shape": (["--dataset", "coloured_digits"], r"a model of images \(C, H, W\) \(1, 8, 8\), but those of"),
    "a schedule": (["--do_progressive_training", "true"], "continue_from: all facets of a trained model take part"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_the_model_is_one_line(name, trained, tmp_path):
    flags, message = REFUSED[name]
    with pytest.raises(UserError, match=message) as error:
        go_on(trained, tmp_path, *flags)
    assert "\n" not in str(error.value)


def test_a_run_from_a_model_has_a_name_of_its_own():
    assert build_config({"dataset": "digits", "seed": 3}).name == "digits_seed3"
    settings = {"dataset": "digits", "seed": 3, "continue_from": "a.pt", "do_progressive_training": False}
    assert build_config(settings).name == "digits_seed3_continued"


# --- copies


def test_a_copy_replaces_that_of_the_same_run_alone(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(load_model, "PROJECT", tmp_path)
    model, config = load_model_from_save_dict(trained / "save_dict.pt")
    places = [save_copy(model, config, tmp_path / run) for run in ("a", "b", "a", "c", "b")]
    assert [path.name for path in places] == ["run.pt", "run_2.pt", "run.pt", "run_3.pt", "run_2.pt"]
    (tmp_path / "new_trained_models" / "run.pt").write_bytes(b"something else")
    assert save_copy(model, config, tmp_path / "a").name == "run_4.pt"
    assert (tmp_path / "new_trained_models" / "run.pt").read_bytes() == b"something else"
    assert load_model_from_save_dict(places[1])[1].n_epochs == 4

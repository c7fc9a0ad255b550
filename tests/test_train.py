"""Whole runs: every configuration trains, runs repeat and resume to the last bit, figures only observe."""

from __future__ import annotations

from interrupts import STOPPING, Interrupt, signals_as_interrupt

import json
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from conftest import write_3dshapes, write_svhn
from programs import Program

import load_model
import train
from config import load_config
from datasets import load_dataset
from evaluation.predictions import predict
from evaluation.scores import cluster_scores
from initialisation import mixture_means
from mfcvae import MFCVAE
from progressive import progressive_coefficients

HERE = Path(__file__).resolve().parent.parent
CPU = torch.device("cpu")
NO_FIGURES = [
    "--do_vis_train", "false", "--do_vis_test", "false", "--do_vis_sample_generations_per_cluster", "false",
]  # fmt: skip
UNSEEDED = [
    "--dataset", "digits", "--enc_backbone_dims", "16", "24", "--dec_backbone_dims", "16", "16", "--dec_rung_dims", "16", "24",
    "--n_clusters_j_list", "6", "5", "--z_j_dim_list", "3", "2", "--sigma_multiplier_p_x_z", "0.2", "--batch_size", "256",
    "--n_epochs_per_progressive_step", "2", "2", "--n_batches_fade_in", "6", "--save_model", "false",
    "--wandb_mode", "disabled",
]  # fmt: skip
SMALL = [*UNSEEDED, "--seed", "1"]
N_LONG = 24
"""Epochs of a run in the background: long enough to be stopped on the way."""


def metrics_of(folder: Path) -> list[dict]:
    """The logged epochs of a run, without the times."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "epoch_seconds"} for row in rows]


def run_small(results: Path, name: str, *flags: str) -> list[dict]:
    """Train the small configuration and read its metrics."""
    argv = [*SMALL, *NO_FIGURES, "--results_dir", str(results), "--run_name", name, *flags]
    assert train.main(argv) == 0
    return metrics_of(results / name)


def test_the_same_seed_gives_the_same_metrics_and_another_seed_others(tmp_path):
    first, second = run_small(tmp_path, "a"), run_small(tmp_path, "b")
    assert [row["epoch"] for row in first] == [0, 1, 2, 3]
    assert first == second
    assert run_small(tmp_path, "c", "--seed", "2")[-1]["test_metric/loss"] != first[-1]["test_metric/loss"]


def test_the_schedule_of_a_run(tmp_path):
    rows = run_small(tmp_path, "a")
    assert "train_metric/loss" not in rows[0]  # epoch 0 evaluates the initialised model
    assert all("train_metric/loss" in row for row in rows[1:])
    assert all("test_metric/facet_acc_max" in row for row in rows)
    assert rows[3]["train_loss/log_prob_p_x_z"] > rows[1]["train_loss/log_prob_p_x_z"]


def test_a_run_says_which_facets_live_and_what_guessing_gives(tmp_path, capsys):
    """While it goes on, and at its end; the same again when it is finished already."""
    rows = run_small(tmp_path, "a", "--vis_every_n_epochs", "1")
    said = capsys.readouterr().out
    assert said.count("facet 0 joins in epoch 2, fading in over 6 batches") == 1
    assert said.count("facet 0 has yet to join; facet 1 ") == 2  # epochs 1 and 2, which is judged by its first batch
    assert all(row[f"test_metric/health_effect_{j}"] >= 0 for row in rows for j in range(2))
    assert [row["test_metric/health_effect_0"] == 0 for row in rows] == [True, True, True, False]
    assert ["test_metric/label_digit_majority" in row for row in rows] == [False, False, False, True]
    assert rows[-1]["test_metric/facet_1_label_digit_kmeans_accuracy"] > 0.4
    table = said[said.index("test scores") :]
    words = [line.split() for line in table.splitlines()]
    assert [line[:3] for line in words[1:6]] == [
        ["facet", "0", "digit"], ["facet", "1", "digit"], ["k-means", "digit", words[3][2]],
        ["k-means", "digit", words[4][2]], ["largest", "class", "digit"],
    ]  # fmt: skip
    assert "health of facets" in table
    run_small(tmp_path, "a", "--vis_every_n_epochs", "1")
    assert table in capsys.readouterr().out


def test_testing_can_be_left_to_the_start_and_the_end(tmp_path):
    rows = run_small(tmp_path, "a", "--do_test_during_training", "false")
    assert ["test_metric/loss" in row for row in rows] == [True, False, False, True]


def test_a_finished_run_is_left_alone(tmp_path, capsys):
    rows = run_small(tmp_path, "a")
    written = (tmp_path / "a" / "checkpoint.pt").stat().st_mtime_ns
    assert run_small(tmp_path, "a") == rows
    assert "already finished" in capsys.readouterr().out
    assert (tmp_path / "a" / "checkpoint.pt").stat().st_mtime_ns == written
    assert run_small(tmp_path, "a", "--overwrite") == rows
    assert "starting" in capsys.readouterr().out


def start_in_background(results: Path, name: str, *flags: str) -> Program:
    """The small run as a process of its own, N_LONG epochs, a checkpoint every third."""
    length = ["--n_epochs_per_progressive_step", "12", "12", "--checkpoint_every_n_epochs", "3"]
    argv = [*SMALL, *NO_FIGURES, "--results_dir", str(results), "--run_name", name, *length, *flags]
    return Program(HERE / "train.py", *argv)


def wait_for_epochs(results: Path, name: str, n: int) -> None:
    """Wait until a background run has logged n epochs."""
    path, deadline = results / name / "metrics.jsonl", time.monotonic() + 120
    while not path.exists() or len(path.read_text().splitlines()) < n:
        assert time.monotonic() < deadline, "the run does not get on"
        time.sleep(0.005)


KILLS = [(signal.SIGKILL, 5), (signal.SIGKILL, 17), (signal.SIGTERM, 11), (signal.SIGHUP, 7), (signal.SIGUSR1, 14)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    """The folder of the background run that nobody stopped."""
    results = tmp_path_factory.mktemp("undisturbed")
    run = start_in_background(results, "whole")
    output, _ = run.communicate(timeout=120)
    assert run.returncode == 0, output
    return results / "whole"


@pytest.mark.slow
@pytest.mark.parametrize(("kill", "n_epochs"), KILLS)
def test_a_killed_run_goes_on_to_the_same_metrics(tmp_path, undisturbed, kill, n_epochs):
    killed = start_in_background(tmp_path, "killed")
    wait_for_epochs(tmp_path, "killed", n_epochs)
    killed.send_signal(kill)
    output, _ = killed.communicate(timeout=60)
    assert killed.returncode == (-signal.SIGKILL if kill == signal.SIGKILL else 130), output
    resumed = start_in_background(tmp_path, "killed")
    output, _ = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, output
    assert "resuming" in output
    expected, actual = metrics_of(undisturbed), metrics_of(tmp_path / "killed")
    assert [row["epoch"] for row in actual] == list(range(N_LONG))
    assert actual == expected
    folders = (undisturbed, tmp_path / "killed")
    states = [torch.load(folder / "checkpoint.pt", weights_only=True)["model"] for folder in folders]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def stop_in_epoch(monkeypatch: pytest.MonkeyPatch, last: int, reason: BaseException) -> None:
    """Whatever trains is stopped when that epoch begins."""
    train_epoch = train.train_epoch

    def stopped(training, dataset, epoch):
        if epoch == last:
            raise reason
        return train_epoch(training, dataset, epoch)

    monkeypatch.setattr(train, "train_epoch", stopped)


def stop_small(results: Path, name: str, last: int, *flags: str) -> None:
    """Train as run_small does until that epoch begins."""
    argv = [*SMALL, *NO_FIGURES, "--results_dir", str(results), "--run_name", name, *flags]
    with pytest.MonkeyPatch.context() as patched:
        stop_in_epoch(patched, last, KeyboardInterrupt())
        assert train.main(argv) == train.INTERRUPTED


def test_an_interruption_saves_the_last_whole_epoch(tmp_path, monkeypatch):
    """Ctrl-C, and the bare Exception by which wandb's agent stops a run; a failure saves nothing."""
    for name, reason, saved in (("a", KeyboardInterrupt(), 1), ("b", Exception(), 1), ("c", ValueError(), 0)):
        argv = [*SMALL, *NO_FIGURES, "--results_dir", str(tmp_path), "--run_name", name]
        with monkeypatch.context() as patched:
            stop_in_epoch(patched, 2, reason)
            if name == "a":
                assert train.main(argv) == train.INTERRUPTED
            else:
                with pytest.raises(type(reason)):
                    train.main(argv)
        assert torch.load(tmp_path / name / "checkpoint.pt", weights_only=True)["epoch"] == saved


@pytest.mark.slow
@pytest.mark.parametrize("is_contiguous", [False, True])
def test_a_convolutional_run_goes_on_to_the_same_weights(tmp_path, is_contiguous):
    """Also from checkpoints of earlier versions, whose moments lie in another order in memory than the weights."""
    flags = ("--model_type", "conv_vlae", "--activation", "elu", "--do_fc_batch_norm", "--data_init", "--device", "cpu")
    flags += ("--cov_type_p_z_c", "full", "--init_lr", "0.003", "--checkpoint_every_n_epochs", "2")
    whole = run_small(tmp_path, "whole", *flags)
    stop_small(tmp_path, "stopped", 3, *flags)
    if is_contiguous:
        path = tmp_path / "stopped" / "checkpoint.pt"
        state = torch.load(path, weights_only=True)
        for moments in state["optimizer"]["state"].values():
            moments |= {key: value.contiguous() for key, value in moments.items()}
        torch.save(state, path)
    assert run_small(tmp_path, "stopped", *flags) == whole
    states = [
        torch.load(tmp_path / name / "checkpoint.pt", weights_only=True)["model"] for name in ("whole", "stopped")
    ]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_an_epoch_is_the_loop_written_by_hand():
    """Order, schedule, noise, Adam and the smaller last batch of an epoch in which facet 0 fades in."""
    config = load_config([*SMALL, "--precision", "fp32", "--init_lr", "0.003"])
    dataset = load_dataset(config, CPU)
    training = train.Training(config, dataset.spec, CPU)
    model = MFCVAE(config, dataset.spec)
    model.load_state_dict(training.model.state_dict())
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    order = torch.Generator().manual_seed(config.seed)
    torch.manual_seed(5)
    numbers = train.train_epoch(training, dataset, 2)
    torch.manual_seed(5)
    total, clusters, labels = 0.0, [], []
    indices = torch.randperm(len(dataset.train), generator=order).split(config.batch_size)
    assert len(indices[-1]) < config.batch_size
    for batch, index in enumerate(indices):
        x, coefficients = dataset.train.images[index] / 255, progressive_coefficients(config, 2, batch, len(indices))
        q_z_x = model.encode(x, coefficients)
        z = [q.mean + q.stddev * torch.empty_like(q.mean).normal_() for q in q_z_x]
        terms = model.elbo(x, model.likelihood(z, coefficients), q_z_x, z, coefficients)
        optimizer.zero_grad()
        terms.loss.backward()
        optimizer.step()
        total += terms.loss.item() * len(index)
        clusters.append(terms.q_c_x[1].argmax(dim=1))
        labels.append(dataset.train.labels[index, 0])
    assert numbers["train_metric/loss"] == pytest.approx(total / len(dataset.train), rel=1e-4)
    accuracy = cluster_scores(torch.cat(labels).numpy(), torch.cat(clusters).numpy()).accuracy
    assert numbers["train_metric/facet_1_acc_max"] == pytest.approx(accuracy, abs=2e-3)
    for expected, actual in zip(model.parameters(), training.model.parameters(), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-5)


def test_a_run_starts_at_fitted_mixtures_and_initialised_layers():
    config = load_config([*SMALL, "--precision", "fp32", "--data_init"])
    dataset = load_dataset(config, CPU)
    training = train.Training(config, dataset.spec, CPU)
    training.initialise(dataset.train)
    encodings = predict(training.model, dataset.train.images, batch_size=500).means
    for j, means in enumerate(mixture_means(encodings, config.n_clusters_j_list, config.seed)):
        torch.testing.assert_close(training.model.prior[j].mean.detach(), torch.from_numpy(means), rtol=1e-3, atol=1e-4)
        assert encodings[j].std(axis=0) == pytest.approx(0.1, rel=0.3)  # not exactly: of all images, not of the batch


def test_an_epoch_is_evaluated_with_its_first_batchs_coefficients(tmp_path, monkeypatch):
    evaluate, seen = train.evaluate, []

    def remember(training, dataset, coefficients):
        seen.append([alpha.item() for alpha in coefficients.alpha_dec])
        return evaluate(training, dataset, coefficients)

    monkeypatch.setattr(train, "evaluate", remember)
    run_small(tmp_path, "a", "--n_batches_fade_in", "12")
    assert seen == [
        [0, 1],
        [0, 1],
        [0, 1],
        [0.5, 1],
    ]  # epoch 2 begins at 0, 3 after 6 of 12


@pytest.fixture
def heeded_sigint(monkeypatch):
    """SIGINT as in a terminal, and none yet: a shell has what it starts in the background ignore it."""
    monkeypatch.setattr(Interrupt, "last", float("-inf"))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_signals_that_come_together_are_one_interruption(monkeypatch, heeded_sigint):
    before = signal.getsignal(signal.SIGTERM)
    with signals_as_interrupt(), signals_as_interrupt():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)  # as a sweep sends it after Ctrl-C
        monkeypatch.setattr(Interrupt, "last", time.monotonic() - 2)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("name", STOPPING)
def test_an_ignored_signal_stays_ignored(heeded_sigint, name):
    number = signal.Signals[name]
    before = signal.signal(number, signal.SIG_IGN)
    with signals_as_interrupt():
        signal.raise_signal(number)
    signal.signal(number, before)


SCRIPTS = [path.name for path in sorted(HERE.glob("*.py")) if "run_script(main)" in path.read_text()]


@pytest.mark.parametrize(
    ("script", "module"),
    [
        ("train.py", "torch"),
        ("train.py", "yaml"),
        *(pytest.param(name, "numpy", marks=pytest.mark.slow) for name in SCRIPTS),
    ],
)
def test_ctrl_c_during_imports_is_quiet(script, module):
    """Python reports each import on stderr; the signal comes with that of `module`, long before the last."""
    command = [sys.executable, "-X", "importtime", str(HERE / script), "--dry_run"]
    heeded = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a shell has what is in the background ignore it
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=heeded) as run:
        for line in run.stderr:
            if line.endswith(f" {module}\n") or f" {module}." in line:
                break
        run.send_signal(signal.SIGINT)
        said, rest = run.communicate(timeout=60)
    assert [line for line in rest.splitlines() if not line.startswith("import time:")] == [] and said == ""
    assert run.returncode == -signal.SIGINT


def test_a_finished_run_keeps_its_model_where_the_code_cannot_be_written_to(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setattr(load_model, "PROJECT", tmp_path / "file")  # no folder can be made in it, not even by root
    run_small(tmp_path, "a", "--save_model", "true")
    assert (tmp_path / "a" / "save_dict.pt").exists()
    assert "no copy of the model" in caplog.text


def test_dry_run_shows_settings_size_and_plan_and_leaves_nothing(tmp_path, capsys):
    argv = ["--config_args_path", str(HERE / "configs/mnist.yml"), "--dry_run", "--results_dir", str(tmp_path / "r")]
    assert train.main([*argv, "--data_dir", str(tmp_path / "nowhere")]) == 0
    shown = capsys.readouterr().out
    assert "n_epochs: 402" in shown
    assert "3,078,854 parameters" in shown
    assert "402 epochs of 118 batches" in shown
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(("n_batches", "warned"), [("12", False), ("13", True)])
def test_a_facet_that_never_takes_part_in_full_is_named(caplog, n_batches, warned):
    assert train.main([*SMALL, "--n_batches_fade_in", n_batches, "--dry_run"]) == 0  # 2 epochs of 6 batches
    assert ("the step of facet 0 has 12 batches only" in caplog.text) == warned


@pytest.mark.slow
@pytest.mark.parametrize("name", ["svhn", "3dshapes_1", "3dshapes_2"])
def test_two_epochs_of_each_published_convolutional_configuration(tmp_path, monkeypatch, name):
    """All figures of a split, at the end."""
    monkeypatch.setattr(train, "are_due", lambda epoch, last, every: epoch == last)
    argv = [
        "--config_args_path", str(HERE / f"configs/{name}.yml"), "--data_dir", str(tmp_path), "--results_dir", str(tmp_path),
        "--n_epochs_per_progressive_step", "1", "2", "--n_batches_fade_in", "2", "--wandb_mode", "disabled", "--save_model",
        "false", "--run_name", "run", "--report", "false", "--do_vis_train", "false",
    ]  # fmt: skip
    if name == "svhn":
        write_svhn(tmp_path, 300, 60)
    else:
        argv += ["--factors_variation_dict"]
        hue = "floor_hue: [0, 4, 8], wall_hue: [5]" if name == "3dshapes_1" else "floor_hue: [0], wall_hue: [1, 4, 8]"
        argv += [f"{{{hue}, object_hue: [6], scale: [0, 3, 7], shape: [0, 1, 2, 3], orientation: [0, 7, 14]}}"]
        write_3dshapes(tmp_path, load_config(argv))
    assert train.main(argv) == 0
    rows = metrics_of(tmp_path / "run")
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    assert "test_metric/facet_weighted_acc_max" in rows[-1]
    assert ("test_metric/label_shape_acc_max" in rows[-1]) == name.startswith("3dshapes")
    assert len(list((tmp_path / "run" / "figures" / "epoch_0002").glob("*.png"))) >= 12


def test_train_without_a_word_says_what_it_is_about_to_do(monkeypatch, capsys):
    monkeypatch.setattr(train, "train", lambda config: print(f"trains {config.name}") or 0)
    assert train.main([]) == 0
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.startswith("no flags were given: trains the published script's defaults, 402 epochs of fast_mnist")
    assert "configs/demo.yml" in second and "--dry_run" in second
    assert third == "trains fast_mnist_seed6000"
    train.main(["--seed", "3"])
    assert capsys.readouterr().out == "trains fast_mnist_seed3\n"


def test_a_quiet_run_prints_nothing(tmp_path, capsys):
    run_small(tmp_path, "a", "--quiet", "--n_epochs_per_progressive_step", "1", "1")
    assert capsys.readouterr().out == ""

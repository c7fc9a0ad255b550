"""What a sweep is made of: its runs, their names, what is refused, and how workers share a machine."""

from __future__ import annotations

from pathlib import Path

import pytest
import wandb
from test_train import NO_FIGURES, UNSEEDED
from wandb_stub import KEY, serving

import attach_sweep
import start_sweep
import train
from config import parse_flags
from sweeps import entries, processes
from sweeps.definition import Sweep, check_sweep, define_sweep
from sweeps.variation import Variation, seeds_from_words
from utils import UserError

FLAGS = [*UNSEEDED, *NO_FIGURES]


# --- the runs


@pytest.mark.parametrize(
    ("words", "seeds"),
    [(None, None), (["3"], (3,)), (["0", "1", "..", "4", "9"], (0, 1, 2, 3, 4, 9)), (["2", "..", "3"], (2, 3))],
)
def test_seeds_are_listed_or_a_range(words, seeds):
    assert seeds_from_words(words) == seeds


def test_the_default_is_the_papers_ten_seeds():
    sweep = define_sweep(parse_flags(UNSEEDED), None, None, None)
    assert [values["seed"] for values in sweep.runs] == list(range(10))
    assert (sweep.name, sweep.run_name({"seed": 7})) == ("digits_sweep", "digits_seed7")


def test_a_grid_is_every_combination(tmp_path):
    path = tmp_path / "sweep.yml"
    path.write_text("parameters: {z_dim: {values: [2, 3]}, init_lr: {value: 1.0e-3}}")
    sweep = define_sweep(parse_flags(UNSEEDED), [0, 1], str(path), "mine")
    assert len(sweep.runs) == 4
    assert sweep.run_name(sweep.runs[3]) == "digits_z_dim_3_init_lr_0.001_seed1"
    alone = define_sweep(parse_flags(UNSEEDED), None, str(path), None)
    assert len(alone.runs) == 2 and "seed" not in alone.runs[0]


def test_a_random_sweep_draws_the_same_runs_each_time(tmp_path):
    path = tmp_path / "sweep.yml"
    path.write_text(
        "method: random\nrun_cap: 40\nparameters:\n  init_lr: {min: 1.0e-4, max: 1.0e-2, distribution: log_uniform_values}\n"
        "  z_dim: {min: 2, max: 4}\n  activation: {values: [relu, elu]}\n  gamma_kl_z_pretrain: {min: 0, max: 0.5}\n"
    )
    runs = define_sweep(parse_flags(UNSEEDED), None, str(path), None).runs
    assert runs == define_sweep(parse_flags(UNSEEDED), None, str(path), None).runs
    assert {run["z_dim"] for run in runs} == {2, 3, 4} and {run["activation"] for run in runs} == {"relu", "elu"}
    rates = sorted(run["init_lr"] for run in runs)
    assert 1e-4 <= rates[0] < 1e-3 < rates[-1] <= 1e-2 and 5e-4 < rates[20] < 2e-3


LIST_OF_59 = f"{{values: {list(range(1, 60))}}}"
FIVE_LISTS_OF_59 = "parameters:" + "".join(
    f"\n  {key}: {LIST_OF_59}" for key in ("seed", "z_0_dim", "z_1_dim", "n_clusters_0", "n_clusters_1")
)


def test_a_grid_that_is_too_large_has_its_first_runs_under_a_cap(tmp_path):
    """59^5 combinations: they must not be listed first."""
    path = tmp_path / "sweep.yml"
    path.write_text(f"{FIVE_LISTS_OF_59}\nrun_cap: 2")
    runs = define_sweep(parse_flags(UNSEEDED), None, str(path)).runs
    assert [run["n_clusters_1"] for run in runs] == [1, 2] and {run["seed"] for run in runs} == {1}


def test_making_a_sweep_reads_nothing():
    sweep = Sweep({"config_args_path": "no/such.yml"}, Variation({"seed": {"values": [0]}}))
    with pytest.raises(UserError, match="no such file"):
        check_sweep(sweep)


def test_a_flag_that_no_run_reads_is_named_once(caplog):
    define_sweep(parse_flags([*FLAGS, "--image_size", "8"]), [0, 1])
    assert caplog.text.count("--image_size has no effect: dataset is digits") == 1


# --- what is refused, before any training


@pytest.mark.parametrize(
    ("sweep_yml", "flags", "message"),
    [
        (None, ["--seeds"], "name at least one"),
        (None, ["--seeds", "a"], "'a' is not a seed"),
        (None, ["--seeds", "..", "3"], "'..' is not a seed"),
        (None, ["--seeds", "3", "..", "3"], "'..' is not a seed"),
        (None, ["--seeds", "4", "4"], "twice"),
        (None, ["--seeds", "9999999999"], "seed = 9999999999"),
        (None, ["--run_name", "x"], "--sweep_name names the sweep"),
        (None, ["--overwrite"], "a sweep resumes"),
        (None, ["--seed", "3"], "--seed: is what this sweep varies; write --seeds 3"),
        ("parameters: {init_lr: {values: [1.0e-3]}}", ["--init_lr", "1e-2"], "--init_lr: is what this sweep varies"),
        ("parameters: {hidden_dim: {values: [8, 9]}}", ["--model_type", "conv_vlae"], "sets the layers of fc_vlae"),
        ("parameters: {data_dir: {values: [a/b, a-b]}}", [], "would be called digits_data_dir_a-b_seed6000"),
        (None, ["--bacth_size", "3"], "did you mean '--batch_size'"),
        (None, ["--storage", "nonsense"], "not the address of a data base"),
        (None, ["--storage", "oracle+none://x"], "not the address of a data base"),
        (None, ["--storage", "postgresql://user:secret@127.0.0.1:1/x"], "cannot be used"),
        (None, ["--storage", "sqlite:////no/such/folder/x.db"], "cannot be used"),
        (None, ["--backend", "wandb"], "--wandb_mode disabled"),
        (None, ["--backend", "wandb", "--wandb_mode", "auto"], "no wandb key found"),
        (None, ["--backend", "wandb", "--storage", "sqlite://"], "belongs to --backend optuna"),
        ("method: bayes\nparameters: {seed: {values: [1]}}", [], "use grid or random"),
        ("method: random\nparameters: {seed: {values: [1]}}", [], "needs run_cap"),
        ("run_cap: 0\nparameters: {seed: {values: [1]}}", [], "run_cap 0"),
        ("method: grid", [], "needs 'parameters:'"),
        ("parameters: {}", [], "no runs"),
        ("parameters: {seed: {values: []}}", [], "no runs"),
        ("parameters: {seed: 3}", [], "parameter 'seed' must be"),
        ("parameters: {seed: {min: 0, max: 3}}", [], "a grid needs 'value' or a list of 'values'"),
        ("parameters: {learning_rate: {values: [1]}}", [], "unknown setting 'learning_rate'"),
        ("parameters: {z_5_dim: {values: [1]}}", [], "there is no facet 5"),
        ("parameters: {n_epochs: {values: [64, big]}}", [], "n_epochs = 'big'"),
        ("method: random\nrun_cap: 2\nparameters: {init_lr: {min: 2, max: 1}}", [], "is not understood"),
        ("method: random\nrun_cap: 2\nparameters: {init_lr: {mu: 2}}", [], "is not understood"),
        ("method: random\nrun_cap: 2\nparameters: {seed: {values: []}}", [], "'values' is empty"),
        ("{", [], "cannot be read as YAML"),
        ("parameters: {n_epochs: {values: [1:30]}}", [], "line 1: 1:30 is 90 in YAML"),
        ("parameters: {seed: {value: 1}, seed: {value: 2}}", [], "line 1: 'seed' is there twice"),
        ("a: &a {value: 1}\nparameters: {seed: *a}", [], "line 2: aliases are not read"),
        (f"method: {'x' * 3000}\nparameters: {{seed: {{value: 1}}}}", [], f"method '{'x' * 199} ... is not known"),
        ("parameters: {overwrite: {values: [true]}}", [], "belongs to the sweep as a whole"),
        ("parameters: {run_name: {values: [a, b]}}", [], "belongs to the sweep as a whole"),
        ("parameters: {seed: {values: [0, 0.0]}}", [], "the same run twice"),
        ("parameters: {1: {values: [2]}}", [], "must be the name of a setting"),
        ("method: random\nrun_cap: 2\nparameters: {init_lr: {min: 0, max: .inf}}", [], "is not understood"),
        ("method: random\nrun_cap: 3\nparameters: {seed: {values: [0, 1]}}", [], "2 different runs only"),
        ("method: random\nrun_cap: 1000000000\nparameters: {seed: {values: [0, 1]}}", [], "2 different runs only"),
        ("method: random\nrun_cap: 1000000000\nparameters: {init_lr: {min: 0.1, max: 0.2}}", [], "10,000 are the most"),
        (f"method: random\nrun_cap: {10**90}\nparameters: {{seed: {{min: 0, max: {10**99}}}}}", [], "are the most"),
        (None, ["--seeds", "0", "..", "100000000000"], "10,000 are the most; name fewer seeds"),
        (None, ["--seeds", "0", "..", "9" * 5000], "is not a seed"),
        (FIVE_LISTS_OF_59, [], "714,924,299 runs, and 10,000 are the most; use fewer values, or run_cap"),
        (None, ["--storage", "postgresql://user:sec/secret@127.0.0.1:1/x"], "cannot be used"),
        (None, ["--storage", "postgresql://user@127.0.0.1:secret/x"], "not the address of a data base"),
        (None, ["--storage", "postgresql://user:{secret}@127.0.0.1:1/x"], "not the address of a data base"),
        (None, ["--storage", "postgresql://user@127.0.0.1:1/x?password=secret"], "cannot be used"),
        (None, ["--sweep_name", "../x"], "--sweep_name '../x'"),
        (None, ["--device", "cuda:7"], "use auto or cpu"),
        (None, ["--dataset", "folder", "--data_dir", "no/such", "--image_size", "8"], "no/such"),
        (None, ["--summarise"], "there is no sweep in"),
    ],
)
def test_bad_sweeps_are_refused_before_any_training(tmp_path, monkeypatch, sweep_yml, flags, message):
    monkeypatch.setattr(train, "train", lambda *_: pytest.fail("trained"))
    if sweep_yml:
        (tmp_path / "sweep.yml").write_text(sweep_yml)
        flags = ["--sweep_config", str(tmp_path / "sweep.yml"), *flags]
    with pytest.raises(UserError) as caught:
        start_sweep.main([*FLAGS, "--results_dir", str(tmp_path), *flags])
    assert message in str(caught.value) and "secret" not in str(caught.value)


def test_runs_that_differ_in_what_is_not_read_are_named(tmp_path, caplog):
    (tmp_path / "sweep.yml").write_text("parameters: {image_size: {values: [8, 9]}}")  # the digits have their own
    assert len(define_sweep(parse_flags(FLAGS), None, str(tmp_path / "sweep.yml"), None).runs) == 2
    assert "{'image_size': 8} and {'image_size': 9} will be the same run" in caplog.text


@pytest.fixture(scope="module")
def started(tmp_path_factory) -> str:
    """The results_dir of a sweep that may be joined."""
    folder = str(tmp_path_factory.mktemp("started"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(train, "train", _pretend_training)
        assert start_sweep.main([*FLAGS, "--results_dir", folder, "--seeds", "0"]) == 0
    return folder


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--sweep_id"),
        (["--sweep_id", "nothing"], "no sweep at"),
        (["--sweep_id", "digits_sweeep", "--storage", "sqlite:///DIR/digits_sweep/sweep.db"], "mean 'digits_sweep'"),
        (["--sweep_id", "digits_sweep", "--init_lr", "0.01"], "other settings: init_lr"),
        (["--sweep_id", "digits_sweep", "--workers", "0"], "at least 1"),
        (["--sweep_id", "digits_sweep", "--dry_run"], "only start_sweep.py knows the runs"),
    ],
)
def test_a_sweep_that_cannot_be_joined(started, flags, message):
    with pytest.raises(UserError, match=message):
        attach_sweep.main([*FLAGS, "--results_dir", started, *[flag.replace("DIR", started) for flag in flags]])


@pytest.fixture
def _fresh_wandb():
    """wandb's client remembers the server of its process."""
    wandb.teardown()
    yield
    wandb.teardown()


@pytest.mark.usefixtures("_fresh_wandb")
def test_a_wrong_key_and_a_server_out_of_reach(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "train", lambda *_: pytest.fail("trained"))
    argv = [*FLAGS, "--results_dir", str(tmp_path), "--wandb_mode", "auto", "--backend", "wandb"]
    monkeypatch.setenv("WANDB_API_KEY", "f" * 40)
    with serving() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        with pytest.raises(UserError, match="login to .* failed"):
            start_sweep.main(argv)
    with pytest.raises(UserError, match="out of reach"):
        start_sweep.main(argv)


@pytest.mark.usefixtures("_fresh_wandb")
def test_an_unknown_wandb_sweep(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "train", lambda *_: pytest.fail("trained"))
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    argv = [*FLAGS, "--results_dir", str(tmp_path), "--wandb_mode", "offline", "--backend", "wandb"]
    with serving() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        with pytest.raises(UserError, match="--sweep_id nothing: wandb's server .*was not found"):
            attach_sweep.main([*argv, "--sweep_id", "nothing"])


@pytest.mark.parametrize(
    ("flags", "found", "kind"),
    [
        ([], ("", None), "optuna"),
        ([], (KEY, None), "wandb"),
        (["--storage", "sqlite:///x.db"], (KEY, None), "optuna"),
        (["--wandb_mode", "disabled"], (KEY, None), "optuna"),
        (["--backend", "optuna"], (KEY, None), "optuna"),
        ([], (KEY, "sweep.db"), "optuna"),  # goes on as it was started
        ([], ("", "wandb_sweep.yml"), "wandb"),
    ],
)
def test_wandb_shares_out_the_runs_where_a_key_is_found(tmp_path, monkeypatch, flags, found, kind):
    """found: the key of an account, and a file of a sweep that was started before."""
    key, file = found
    monkeypatch.setattr("sweeps.optuna_backend.OptunaSweep", lambda *_: pytest.fail("optuna"))
    monkeypatch.setattr(entries.WandbSweep, "__init__", lambda *_: pytest.fail("wandb"))
    monkeypatch.setenv("WANDB_API_KEY", key)
    if file:
        (tmp_path / "digits_sweep").mkdir()
        (tmp_path / "digits_sweep" / file).touch()
    argv = [*FLAGS[: FLAGS.index("--wandb_mode")], "--results_dir", str(tmp_path), *flags]
    with pytest.raises(pytest.fail.Exception, match=kind):
        start_sweep.main(argv)


def _pretend_training(config) -> int:
    """Leave the metrics of a finished run, without the training."""
    folder = Path(config.results_dir) / config.name
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text('{"epoch": 0, "test_metric/loss": 1.5}\n')
    return 0


def test_dry_run_lists_the_runs_and_does_nothing(tmp_path, capsys):
    assert start_sweep.main([*FLAGS, "--results_dir", str(tmp_path), "--seeds", "0", "5", "--dry_run"]) == 0
    assert capsys.readouterr().out.split()[1:] == ["2", "runs", "digits_seed0", "digits_seed5"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("script", [start_sweep, attach_sweep])
def test_help(script, capsys):
    with pytest.raises(SystemExit, match="0"):
        script.main(["--help"])
    shown = capsys.readouterr().out
    assert "--workers" in shown and "config_args_path" in shown


# --- workers


@pytest.mark.parametrize(
    ("visible", "n_gpus", "wanted"),
    [(None, 0, [None] * 3), (None, 1, [None] * 3), (None, 2, ["0", "1", "0"]), ("4,7", 8, ["4", "7", "4"])],
)
def test_workers_share_cores_and_gpus(monkeypatch, visible, n_gpus, wanted):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(processes.torch.cuda, "device_count", lambda: n_gpus)
    monkeypatch.setattr(processes.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    environments = [processes._environment(worker, 3) for worker in range(3)]
    assert [environment["OMP_NUM_THREADS"] for environment in environments] == ["2"] * 3
    assert [environment.get("CUDA_VISIBLE_DEVICES") for environment in environments] == wanted

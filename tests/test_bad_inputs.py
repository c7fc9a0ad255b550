"""Every bad input gives one line that names what is wrong and what would be right; here folders and earlier runs."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from conftest import Payload, write_svhn
from PIL import Image

import train
from config import build_config, load_config
from evaluation.health import advice_on_loss
from flags import FlagParser
from tracking import run_folder
from utils import UserError, expand_home, make_folder, needed, write_atomically

ROOT = Path(__file__).resolve().parent.parent
WIDTHS = [f"--{part}_dims" for part in ("enc_backbone", "dec_backbone", "dec_rung")]
TINY = [
    "--dataset", "digits", "--n_clusters_j_list", "3", "3", "--z_j_dim_list", "2", "2",
    "--n_epochs_per_progressive_step", "1", "1", "--wandb_mode", "disabled", "--save_model", "false",
    "--do_vis_train", "false", "--do_vis_test", "false", "--do_vis_sample_generations_per_cluster", "false",
    "--device", "cpu", "--compile", "false", "--run_name", "tiny",
]  # fmt: skip
TINY += [word for name in WIDTHS for word in (name, "8", "8")]


def tiny(folder: Path, *flags: str) -> list[str]:
    """The command line of a run of a second below `folder`; later flags win."""
    return [*TINY, "--results_dir", str(folder / "results"), *flags]


def complaint(argv: list[str]) -> str:
    """The one line that train.py says about a command line that cannot work."""
    with pytest.raises(UserError) as caught:
        train.main(argv)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert len(message) < 1000
    return message


def assert_says(message: str, *words: str) -> None:
    """All words are in the message."""
    missing = [word for word in words if word not in message]
    assert not missing, f"{missing} not in: {message}"


def on_data(folder: Path, dataset: str, *flags: str) -> list[str]:
    """The same on a data set whose files are in data/ below the folder."""
    return tiny(folder, "--dataset", dataset, "--data_dir", str(folder / "data"), *flags)


def pictures(*names: str, size: tuple[int, int] = (8, 8)) -> Callable[[Path], None]:
    """Writes grey pictures of these names."""

    def write(data: Path) -> None:
        for i, name in enumerate(names):
            (data / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", size, i).save(data / name)

    return write


# --- folders


def test_results_dir_that_is_a_file(tmp_path):
    (tmp_path / "results").write_text("")
    assert_says(complaint(tiny(tmp_path)), str(tmp_path / "results" / "tiny"), "cannot create", "choose another place")


def test_results_dir_below_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    message = complaint(tiny(tmp_path, "--results_dir", str(tmp_path / "file" / "results")))
    assert_says(message, str(tmp_path / "file" / "results"), "Not a directory", "choose another place")


def test_results_dir_without_permission(tmp_path, monkeypatch):
    """Permission bits do not hold for root, who may run the tests: os.access says what it would to others."""
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).startswith(str(tmp_path)))
    assert_says(complaint(tiny(tmp_path)), str(tmp_path / "results" / "tiny"), "permission denied", "another place")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_write_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="ermission denied.*choose another place"):
        make_folder(tmp_path / "new")


def test_a_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def write(temporary: Path) -> None:
        temporary.write_text("ne")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(UserError, match=f"cannot write {path}: No space left on device; free some space"):
        write_atomically(path, write)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_named_by_the_writer(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write .*file/new: Not a directory"):
        write_atomically(tmp_path / "file" / "new", lambda path: path.write_text("new"))


def test_links_and_devices_are_not_replaced(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there" / "file")
    write_atomically(tmp_path / "link", lambda path: path.write_text("new"))
    assert (tmp_path / "link").is_symlink() and (tmp_path / "there" / "file").read_text() == "new"
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="a pipe or a device"):
        write_atomically(tmp_path / "pipe", lambda path: path.write_text("new"))
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("name", ["metrics.jsonl", "checkpoint.pt"])
def test_a_full_disk_during_training(tmp_path, monkeypatch, name):
    if not Path("/dev/full").is_char_device():
        pytest.skip("no /dev/full")
    if name == "metrics.jsonl":
        (tmp_path / "results" / "tiny").mkdir(parents=True)
        monkeypatch.setattr(train.RunFolder, "forget_after", lambda *_: None)
        monkeypatch.setattr(run_folder, "check_is_file", lambda _: None)
        monkeypatch.setattr(train.RunFolder, "read_metrics", lambda _: [])  # reading /dev/full never ends
        (tmp_path / "results" / "tiny" / name).symlink_to("/dev/full")
    else:
        save = torch.save
        monkeypatch.setattr(torch, "save", lambda state, _: save(state, "/dev/full"))
    assert_says(complaint(tiny(tmp_path)), "cannot write", name, "free some space")


# --- checkpoints and the folder of an earlier run


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The folder of a finished tiny run, to be copied."""
    folder = tmp_path_factory.mktemp("finished")
    assert train.main(tiny(folder)) == 0
    return folder / "results" / "tiny"


@pytest.fixture
def earlier(finished, tmp_path) -> Path:
    """A copy of it where tiny(tmp_path) finds it."""
    folder = tmp_path / "results" / "tiny"
    folder.mkdir(parents=True)
    for path in finished.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def spoil_model(path: Path) -> None:
    """The state of a model with other widths."""
    state = torch.load(path, weights_only=True)
    state["model"] = {name: torch.zeros(3, 3) for name in state["model"]}
    torch.save(state, path)


CHECKPOINTS = {
    "truncated": (
        lambda path: os.truncate(path, path.stat().st_size // 2),
        ["is damaged", "put a copy", "--overwrite"],
    ),
    "empty": (lambda path: os.truncate(path, 0), ["is damaged", "--overwrite"]),
    "text": (lambda path: path.write_text("model"), ["is damaged", "--overwrite"]),
    "a list": (lambda path: torch.save([1, 2], path), ["not a checkpoint of this run", "--overwrite"]),
    "other keys": (
        lambda path: torch.save({"a": 1}, path),
        ["not a checkpoint of this run", "'config'", "--overwrite"],
    ),
    "another model": (spoil_model, ["not a checkpoint of this run", "has shape", "--overwrite"]),
}


@pytest.mark.parametrize(("spoil", "words"), CHECKPOINTS.values(), ids=CHECKPOINTS)
def test_checkpoints(tmp_path, earlier, spoil, words):
    path = earlier / "checkpoint.pt"
    spoil(path)
    before = path.read_bytes()
    assert_says(complaint(tiny(tmp_path)), str(path), *words)
    assert path.read_bytes() == before  # the user may still mend it
    assert train.main(tiny(tmp_path, "--overwrite")) == 0


def test_a_malicious_checkpoint_does_not_run(tmp_path, earlier):
    path = earlier / "checkpoint.pt"
    torch.save(Payload(tmp_path / "payload ran"), path)
    assert_says(complaint(tiny(tmp_path)), str(path), "is damaged")
    assert not (tmp_path / "payload ran").exists()
    torch.load(path, weights_only=False)
    assert (tmp_path / "payload ran").exists()  # the test's payload is one


def test_a_run_with_other_settings_names_them(tmp_path, earlier):
    before = {path: path.read_bytes() for path in earlier.iterdir()}
    message = complaint(tiny(tmp_path, "--batch_size", "100", "--seed", "1"))
    assert_says(message, str(earlier), "batch_size (512 there, 100 now)", "seed (6000 there, 1 now)", "--overwrite")
    assert "run_name (" not in message  # may differ
    assert {path: path.read_bytes() for path in earlier.iterdir()} == before


@pytest.mark.parametrize("content", [b"- 1\n", b"a: [\n", bytes(range(128, 256)), b""])
def test_a_run_whose_settings_cannot_be_read(tmp_path, earlier, content):
    (earlier / "config.yml").write_bytes(content)
    assert_says(complaint(tiny(tmp_path)), str(earlier / "config.yml"), "cannot be read", "--overwrite", "--run_name")


METRICS = {
    "zeros": b"\0" * 100,
    "a list": b"[1]",
    "a number": b"7",
    "null": b"null",
    "no epoch": b'{"loss": 1.0}',
    "an epoch in words": b'{"epoch": "0"}',
    "a list of losses": b'{"epoch": 0, "loss": [1.0]}',
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("line", METRICS.values(), ids=METRICS)
def test_a_run_whose_metrics_are_lost(tmp_path, earlier, line):
    """The first of its lines, or the second."""
    path = earlier / "metrics.jsonl"
    first, second = path.read_bytes().splitlines()
    for n_whole, content in ((0, [line, second]), (1, [first, line]), (2, [second, first])):
        path.write_bytes(b"\n".join(content))
        assert_says(complaint(tiny(tmp_path)), str(path), f"{n_whole} of the 2 epochs", "--overwrite")


# --- a run that fails does not stand in the way of the corrected command


def test_a_loss_that_is_not_a_number(tmp_path):
    flags = ("--batch_size", "16")
    message = complaint(tiny(tmp_path, *flags, "--init_lr", "1e10"))
    assert_says(message, "the loss is", "epoch 1", "lower --init_lr")
    message = complaint(tiny(tmp_path, *flags))  # the run has begun: nothing of it is deleted unasked
    assert_says(message, "init_lr (10000000000.0 there, 0.0005 now)", "--overwrite")
    assert train.main(tiny(tmp_path, *flags, "--overwrite")) == 0


ADVICE = {
    "same images": ({"data_init": True}, "fp32", True, "all images are the same, which data_init cannot scale"),
    "large steps": ({"init_lr": 0.5}, "bf16", False, "init_lr = 0.5 is large: .* a lower --init_lr, 5e-4 say"),
    "few digits": ({}, "bf16", False, "--precision fp32, or a lower --init_lr"),
    "anything": ({}, "fp32", True, r"a lower --init_lr \(now 0.0005\), or a larger sigma_multiplier_p_x_z"),
}


@pytest.mark.parametrize(("settings", "precision", "is_constant", "words"), ADVICE.values(), ids=ADVICE)
def test_advice_on_a_loss_names_what_is_likely(settings, precision, is_constant, words):
    images = torch.zeros(3, 1, 8, 8, dtype=torch.uint8)
    if not is_constant:
        images[0] = 1
    assert re.search(words, advice_on_loss(build_config(settings), precision, images))


def test_a_path_below_the_users_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "settings.yml"
    path.write_text("data_dir: ~/images\n")
    config = load_config(["--config_args_path=~/settings.yml", "--results_dir", "~/runs"])
    assert (config.data_dir, config.results_dir) == (f"{tmp_path}/images", f"{tmp_path}/runs")
    parser = FlagParser("")
    parser.add_argument("--output", type=Path)
    assert parser.parse_args(["--output=~/a.csv"]).output == tmp_path / "a.csv"
    assert expand_home("--name=a~b") == "--name=a~b"


@pytest.mark.slow
def test_a_backend_of_matplotlib_that_does_not_exist(tmp_path):
    environment = os.environ | {"MPLBACKEND": "nonsense"}
    command = [sys.executable, str(ROOT / "train.py"), *tiny(tmp_path, "--dry_run", "--n_batches_fade_in", "1")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_leftovers_of_a_killed_process_go_unless_it_may_still_write(tmp_path):
    old, new, other = (tmp_path / name for name in (".t[1].csv.7.8.tmp", ".t[1].csv.9.8.tmp", ".u.csv.7.8.tmp"))
    for path in (old, new, other):
        path.touch()
    for path in (old, other):
        os.utime(path, (0, 0))
    write_atomically(tmp_path / "t[1].csv", Path.touch)
    assert [path.exists() for path in (old, new, other)] == [False, True, True]


def test_data_that_were_missing(tmp_path):
    argv = on_data(tmp_path, "fast_svhn", "--batch_size", "6")
    write_svhn(tmp_path / "data", 12, 5)
    (tmp_path / "data" / "test_32x32.mat").rename(tmp_path / "elsewhere.mat")
    (tmp_path / "data" / "test_32x32.mat").write_text("")
    complaint(argv)
    assert not (tmp_path / "results").exists()
    (tmp_path / "elsewhere.mat").replace(tmp_path / "data" / "test_32x32.mat")
    assert train.main(argv) == 0


def test_results_below_what_is_no_folder(tmp_path):
    assert "cannot create the folder" in complaint(tiny(tmp_path, "--overwrite", "--results_dir", "/dev/null"))


def test_a_run_that_failed_before_its_first_checkpoint(tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(train.Training, "initialise", lambda *_: (_ for _ in ()).throw(UserError("stopped")))
        assert complaint(tiny(tmp_path, "--seed", "1")) == "stopped"
    folder = tmp_path / "results" / "tiny"
    assert train.main(tiny(tmp_path, "--seed", "2")) == 0
    assert yaml.safe_load((folder / "config.yml").read_text())["seed"] == 2


def test_an_error_is_one_line_of_a_length_that_can_be_read():
    assert str(UserError("why:\n  a  b\n c")) == "why: a  b c"
    assert len(str(UserError("x" * 10**6))) < 4000


@pytest.mark.parametrize(
    "error", [ModuleNotFoundError("No module named 'optuna'"), TypeError("Descriptors cannot\nbe")]
)
def test_an_optional_package_that_is_absent_or_broken_is_named(error):
    words = "--backend optuna needs the package optuna, which cannot be imported .*pip"
    with pytest.raises(UserError, match=words), needed("optuna", "--backend optuna"):
        raise error


# --- as a program


def test_the_program_says_one_line_and_exits_with_2(tmp_path):
    command = [sys.executable, str(ROOT / "train.py"), *tiny(tmp_path, "--bacth_size", "7")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=100, check=False)
    assert done.returncode == 2
    assert re.fullmatch(r"error: [^\n]+\n", done.stderr)
    assert "did you mean '--batch_size'?" in done.stderr

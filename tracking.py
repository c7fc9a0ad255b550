"""Where results go: the run's folder, Weights & Biases, and the console.

A run owns `results/<run name>/`: config.yml, metrics.jsonl (a line per epoch), figures/, checkpoint.pt, save_dict.pt, and
evaluation/ with what the evaluation scripts draw.
The folder is whole whatever Weights & Biases does.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import logging
import netrc
import os
import shutil
import socket
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse
from urllib.request import getproxies, proxy_bypass

import torch
import yaml
from filelock import FileLock, Timeout
from torch import nn
from tqdm import tqdm

from config import Config, different_settings
from plotting import save_figure
from utils import UserError, make_folder, one_line, write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)

HERE = Path(__file__).resolve().parent
ACCURACY = "test_metric/facet_acc_max"
RUN_FILES = ("config.yml", "metrics.jsonl", "checkpoint.pt", "save_dict.pt", "figures", "evaluation", "wandb")


class InUse(UserError):
    """Another process trains this run."""


class RunFolder:
    """The files of one run."""

    def __init__(self, path: Path):
        self.path = path
        self.metrics_path = path / "metrics.jsonl"
        self.checkpoint_path = path / "checkpoint.pt"
        self.model_path = path / "save_dict.pt"
        self._lock = FileLock(path / ".lock")

    @classmethod
    def open(cls, config: Config) -> RunFolder:
        """The folder of a new run, or of the run to be resumed.

        It is this process's alone until `close`, or until the process ends in whatever way.

        Raises:
            UserError: it cannot be written to, is in use, or holds a run with other settings.
        """
        folder = cls(Path(config.results_dir) / config.name)
        make_folder(folder.path)
        folder._claim()
        try:
            folder._prepare(config)
        except BaseException:
            folder.close()
            raise
        return folder

    def _prepare(self, config: Config) -> None:
        """Clear away what should go, and see that what stays is this run's."""
        for leftover in self.path.glob(".*.tmp"):  # of a process that was killed while it wrote
            leftover.unlink(missing_ok=True)
        if config.overwrite:
            self._clear()
        config_path = self.path / "config.yml"
        if config_path.exists() and (self.checkpoint_path.exists() or self.model_path.exists()):
            self._check_same_settings(config, config_path)

    def write_config(self, config: Config, source: str) -> None:
        """Write config.yml, once it is sure that the run is that of the folder. source: which images it sees, in words.

        Settings of a run that never got going are replaced.
        """
        # The file may serve as --config_args_path: it must not delete the run, or stop at once, when it does.
        content = dataclasses.asdict(config) | {"overwrite": False, "dry_run": False}
        settings = yaml.safe_dump(content, sort_keys=False, default_flow_style=None)
        words = " ".join(source.split()).encode("ascii", "backslashreplace").decode()  # names of files may be anything
        write_atomically(self.path / "config.yml", lambda path: path.write_text(f"# data: {words}\n{settings}"))

    def close(self) -> None:
        """Let other processes use the folder."""
        self._lock.release()

    def _claim(self) -> None:
        try:
            self._lock.acquire(timeout=2)  # another process's is_in_use holds it for a moment
        except Timeout:
            raise InUse(
                f"{self.path} is in use: another process trains this run; wait for it, or choose another --run_name"
            ) from None
        except OSError as error:
            raise UserError(
                f"cannot write {self._lock.lock_file}: {error.strerror}; choose another --run_name"
            ) from None
        except NotImplementedError:  # a file system without locks
            log.warning("%s: this file system has no locks; make sure that no other process trains this run", self.path)

    def is_in_use(self) -> bool:
        """Whether a process, this one included, trains this run."""
        if not self.path.exists():
            return False
        try:
            with FileLock(self._lock.lock_file, blocking=False):
                return False
        except Timeout:
            return True
        except (OSError, NotImplementedError):  # whoever trains it says what is wrong
            return False

    def _clear(self) -> None:
        """Delete the files of an earlier run, and nothing else."""
        for name in RUN_FILES:
            path = self.path / name
            try:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
            except OSError as error:
                raise UserError(
                    f"cannot delete {path}: {error.strerror}; choose another --run_name or --results_dir"
                ) from None

    def _check_same_settings(self, config: Config, path: Path) -> None:
        """The run in this folder had the same settings, except for those that may change."""
        try:
            before = yaml.safe_load(path.read_text())
        except (OSError, ValueError, yaml.YAMLError):
            before = None
        if not isinstance(before, dict):
            raise UserError(f"{path} cannot be read; use --overwrite or another --run_name")
        if different := different_settings(before, config):
            raise UserError(
                f"{self.path} holds a run with other settings: {different}; use another --run_name, or "
                "--overwrite to delete it"
            )

    def read_metrics(self) -> list[dict[str, Any]]:
        """The logged epochs; a last line that was cut off by a kill is left out."""
        return read_metrics(self.metrics_path) if self.metrics_path.exists() else []

    def forget_after(self, epoch: int) -> None:
        """Drop the logged epochs after `epoch`: they are trained again. Those up to it must be there."""
        rows = [row for row in self.read_metrics() if row["epoch"] <= epoch]
        if len(rows) != epoch + 1:
            raise UserError(
                f"{self.metrics_path} holds {len(rows)} of the {epoch + 1} epochs that {self.checkpoint_path.name} had "
                "seen; put a copy of both in their place, or start again with --overwrite"
            )
        text = "".join(json.dumps(row) + "\n" for row in rows)
        write_atomically(self.metrics_path, lambda path: path.write_text(text))

    def save_checkpoint(self, state: Mapping[str, Any]) -> None:
        """Write the state for resuming, whole or not at all."""
        write_atomically(self.checkpoint_path, lambda path: torch.save(dict(state), path), is_durable=True)

    def load_checkpoint(self) -> dict[str, Any] | None:
        """The state for resuming, on the host; None where there is none yet."""
        if not self.checkpoint_path.exists():
            return None
        try:
            return torch.load(self.checkpoint_path, map_location="cpu", weights_only=True)
        except PermissionError as error:
            raise UserError(
                f"cannot read {self.checkpoint_path}: {error.strerror}; allow it, or choose another --run_name"
            ) from None
        except Exception as error:  # a damaged file fails in many ways
            raise UserError(
                f"{self.checkpoint_path} is damaged ({one_line(error)}); put a copy in its place, or start again with "
                "--overwrite"
            ) from error


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The epochs of a metrics.jsonl; a last line that was cut off by a kill is left out."""
    rows = []
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; name, or allow to read, the epochs of a run") from None
    for line in lines:
        try:
            rows.append(json.loads(line))
        except ValueError:  # neither JSON nor, after a crash, text
            break
    return rows


def save_figures(figures: Iterable[tuple[str, Figure]], folder: Path) -> dict[str, Path]:
    """Write each named figure and empty it, one after another; name -> file.

    A figure's parts refer to one another, so that Python would keep them for long: they are collected at once. All that
    was there before is frozen meanwhile, so that this takes no time.
    """
    paths: dict[str, Path] = {}
    gc.freeze()
    try:
        for name, figure in figures:
            paths[name] = folder / f"{name.replace('/', '_')}.png"
            save_figure(figure, paths[name])
            figure.clear()
            gc.collect()
    finally:
        gc.unfreeze()
    return paths


class Tracker:
    """Logs numbers and figures of a run to its folder and, unless disabled, to Weights & Biases."""

    def __init__(self, config: Config, folder: RunFolder):
        self.folder = folder
        self.wandb_run = start_wandb(config, folder.path)

    def watch(self, model: nn.Module, n_batches: int) -> None:
        """Log the gradients of all parameters, once an epoch of n_batches."""
        if self.wandb_run is not None:
            # By default (idx) wandb names the gradients of a process's second run otherwise.
            self.wandb_run.watch(model, log="gradients", log_freq=n_batches, idx=0)

    def log(self, epoch: int, numbers: Mapping[str, float], figures: Iterable[tuple[str, Figure]]) -> None:
        """One epoch: numbers and figures under their logged names. A figure is empty once it is saved."""
        try:
            paths = save_figures(figures, self.folder.path / "figures" / f"epoch_{epoch:04d}")
            with self.folder.metrics_path.open("a") as file:
                file.write(json.dumps(dict(numbers)) + "\n")
                file.flush()
                os.fsync(file.fileno())  # before the checkpoint, whatever happens to the machine
        except OSError as error:
            raise UserError(
                f"cannot write {self.folder.metrics_path} or the figures beside it: {error.strerror}; free some space"
            ) from error
        if self.wandb_run is not None:
            import wandb

            images = {name: wandb.Image(str(path)) for name, path in paths.items()}
            self.wandb_run.log({**numbers, **images}, step=epoch)

    def finish(self, exit_code: int) -> None:
        """End the wandb run; any exit code but 0 marks it as failed."""
        if self.wandb_run is not None:
            try:
                self.wandb_run.finish(exit_code)
            except Exception as error:  # a full disk, say; it must not hide what the run itself says
                log.warning("Weights & Biases could not finish its files: %s", one_line(error))


# --- Weights & Biases


def start_wandb(config: Config, folder: Path) -> Any:
    """Start a wandb run that keeps its files in the run's folder, or None where disabled. Never fails or waits."""
    if config.wandb_mode == "disabled":
        return None
    try:
        import wandb
    except ImportError as error:
        log.warning("wandb_mode = %s: goes on without Weights & Biases (%s)", config.wandb_mode, one_line(error))
        return None

    id_path = folder / "wandb" / "run_id"
    if wandb.run is not None:  # started by a sweep's agent
        wandb.run.config.update(dataclasses.asdict(config), allow_val_change=True)
        _remember(id_path, wandb.run.id)
        return wandb.run
    settings = wandb_settings()
    mode = resolve_wandb_mode(config, settings)
    if mode == "online":
        try:
            log_in(config, settings)
        except UserError as error:
            _say_offline(config, str(error))
            mode = "offline"
    run_id = id_path.read_text().strip() or None if id_path.exists() else None
    common = {"dir": str(folder), "name": config.name, "id": run_id, "config": dataclasses.asdict(config)}
    common["project"] = settings.get("project_name") or "mfcvae"
    common["settings"] = wandb.Settings(silent=True, console="off", init_timeout=30)
    run = None
    if mode == "online":
        try:
            run = wandb.init(mode="online", resume="allow", entity=settings.get("team_name"), **common)
        except Exception as error:  # a stale key, a team that is not ours, a server that does not answer
            _say_offline(config, f"the server refused the run ({one_line(error)})")
    if run is None:
        run = wandb.init(mode="offline", **common)
    _remember(id_path, run.id)
    return run


def _remember(path: Path, run_id: str) -> None:
    """Keep wandb's name of the run, so that it goes on when the run is resumed."""
    make_folder(path.parent)
    write_atomically(path, lambda temporary: temporary.write_text(run_id))


def wandb_settings() -> dict[str, str]:
    """configs/wandb.yml with the git-ignored configs/wandb.local.yml over it; empty values are left out."""
    settings: dict[str, str] = {}
    for name in ("wandb.yml", "wandb.local.yml"):
        path = HERE / "configs" / name
        if path.exists():
            try:
                content = yaml.safe_load(path.read_text()) or {}
                settings |= {key: str(value) for key, value in content.items() if value}
            except (yaml.YAMLError, AttributeError):
                raise UserError(f"configs/{name} is not a YAML file of 'key: value' lines") from None
    return settings


def log_in(config: Config, settings: Mapping[str, str]) -> None:
    """Log in to wandb's server, by the key of configs/wandb.yml if it has one.

    Raises:
        UserError: no key, a key that the server refuses, or a server that does not answer.
    """
    import wandb

    if not has_wandb_key(config, settings):
        raise UserError(
            "no wandb key found: set WANDB_API_KEY, run 'wandb login', or write login_key_1 into configs/wandb.local.yml"
        )
    url = _server()
    if not _is_reachable(url):
        raise UserError(f"wandb's server {url} is out of reach")
    try:
        wandb.login(key=_login_key(config, settings), verify=True, timeout=10)
    except Exception as error:  # a wrong key and a dead host raise errors of many kinds
        raise UserError(f"login to {url} failed ({one_line(error)})") from error


def has_wandb_key(config: Config, settings: Mapping[str, str]) -> bool:
    """Whether a key for wandb's server is in configs/wandb.yml, the environment or the user's netrc."""
    key = _login_key(config, settings) or os.environ.get("WANDB_API_KEY")
    return bool(key) or _netrc_has_key(_server())


def _server() -> str:
    return os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")


def resolve_wandb_mode(config: Config, settings: Mapping[str, str]) -> str:
    """online or offline: auto is online where a key is found; online needs the server to be within reach."""
    if config.wandb_mode == "offline":
        return "offline"
    url = _server()
    if not has_wandb_key(config, settings):
        _say_offline(config, "no key found (WANDB_API_KEY, netrc or configs/wandb.local.yml)")
        return "offline"
    if not _is_reachable(url):
        _say_offline(config, f"{url} is out of reach")
        return "offline"
    return "online"


def _say_offline(config: Config, reason: str) -> None:
    log.warning(
        "wandb_mode = %s: %s, so this run is logged offline; 'wandb sync' uploads it", config.wandb_mode, reason
    )


def _login_key(config: Config, settings: Mapping[str, str]) -> str | None:
    """The key of configs/wandb.yml that --user chooses; the first one by default."""
    return settings.get("login_key_2" if config.user == "user2" else "login_key_1")


def _netrc_has_key(url: str) -> bool:
    """Whether the user's netrc knows the server."""
    path = Path(os.environ.get("NETRC", Path.home() / ".netrc"))
    try:
        hosts = netrc.netrc(path).hosts
    except (OSError, netrc.NetrcParseError):
        return False
    return bool({urlparse(url).hostname, "api.wandb.ai"} & hosts.keys())


def _is_reachable(url: str, timeout: float = 3.0) -> bool:
    """Whether the server, or the proxy on the way to it, answers a connection within `timeout` seconds."""
    address = urlparse(url)
    proxy = getproxies().get(address.scheme)
    try:
        if proxy and not proxy_bypass(address.hostname or ""):
            address = urlparse(proxy if "//" in proxy else f"http://{proxy}")
        port = address.port or (80 if address.scheme == "http" else 443)
        socket.create_connection((address.hostname, port), timeout).close()
    except (OSError, ValueError):  # the latter: no port
        return False
    return True


# --- the console


class EpochProgress:
    """A bar over the epochs with loss, best accuracy and time left; plain lines where there is no terminal."""

    def __init__(self, first: int, n_epochs: int, before: list[dict[str, Any]]):
        """first: the epoch to begin with. before: the epochs logged earlier, for the best accuracy."""
        self.first, self.n_epochs = first, n_epochs
        accuracies = [row[ACCURACY] for row in before if ACCURACY in row]
        self.best = max(accuracies, default=float("nan"))
        self.started = time.monotonic()
        self.is_terminal = sys.stderr.isatty()
        self.bar = tqdm(total=n_epochs, initial=first, unit="epoch", disable=not self.is_terminal, dynamic_ncols=True)

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.first, self.n_epochs))

    def update(self, epoch: int, numbers: Mapping[str, float]) -> None:
        """Show one finished epoch."""
        loss = numbers.get("test_metric/loss", numbers.get("train_metric/loss", float("nan")))
        accuracy = numbers.get(ACCURACY, numbers.get("train_metric/facet_acc_max"))
        if accuracy is not None:
            self.best = accuracy if self.best != self.best else max(self.best, accuracy)
        shown = {"loss": f"{loss:.2f}"} | (
            {} if accuracy is None else {"acc": f"{accuracy:.4f}", "best": f"{self.best:.4f}"}
        )
        self.bar.set_postfix(shown, refresh=False)
        self.bar.update()
        if not self.is_terminal:
            done = epoch + 1 - self.first
            left = (time.monotonic() - self.started) / done * (self.n_epochs - epoch - 1)
            words = "  ".join(f"{key} {value}" for key, value in shown.items())
            print(f"epoch {epoch:4d} of {self.n_epochs - 1}  {words}  {left / 60:.1f} min left", flush=True)

    def close(self) -> None:
        self.bar.close()

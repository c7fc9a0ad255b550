"""A run's folder: its files, and who may write them.

A run owns `results/<run name>/`: config.yml, metrics.jsonl (a line per epoch), figures/, checkpoint.pt, save_dict.pt,
report.html, and evaluation/ with what the evaluation scripts draw.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from filelock import FileLock, Timeout

from config import Config
from settings.comparing import obstacles
from settings.yaml_files import read_yaml
from utils import UserError, check_is_file, load_checked, make_folder, one_line, write_atomically

log = logging.getLogger(__name__)

RUN_FILES = (
    *("config.yml", "metrics.jsonl", "checkpoint.pt", "save_dict.pt", "report.html", "figures", "evaluation", "wandb"),
)
PATIENCE_SECONDS = 2
"""How long a folder may be locked before it counts as in use: another process's is_in_use holds it for a moment."""


class InUse(UserError):
    """Another process trains this run."""


class RunFolder:
    """The files of one run."""

    def __init__(self, path: Path, is_kept: bool = True):
        """Name the files. is_kept: whether they outlive the program, and it is worth while to say where they are."""
        self.path, self.is_kept = path, is_kept
        self.metrics_path = path / "metrics.jsonl"
        self.checkpoint_path = path / "checkpoint.pt"
        self.model_path = path / "save_dict.pt"
        self.report_path = path / "report.html"
        self._lock = FileLock(path / ".lock")
        self._checksum: int | None = None
        """Of metrics.jsonl up to the epoch of the checkpoint that was loaded; earlier versions kept none."""

    @property
    def shown(self) -> str:
        """What the console calls the run."""
        return str(self.path) if self.is_kept else "a run that is not kept"

    @classmethod
    def open(cls, config: Config, is_kept: bool = True) -> RunFolder:
        """The folder of a new run, or of the run to be resumed.

        It is this process's alone until `close`, or until the process ends in whatever way.

        Raises:
            UserError: it cannot be written to, is in use, or holds a run with other settings.
        """
        folder = cls(Path(config.results_dir) / config.name, is_kept)
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
        for name in RUN_FILES:
            check_is_file(self.path / name)
        for folder in (self.path, self.path / "figures", self.path / "evaluation"):
            for leftover in folder.rglob(".*.tmp") if folder != self.path else folder.glob(".*.tmp"):
                leftover.unlink(missing_ok=True)  # of a process that was killed while it wrote
        if config.overwrite:
            if config.continue_from and self.path.resolve() in Path(config.continue_from).resolve().parents:
                raise UserError(f"{config.continue_from}: --overwrite would delete it; choose another --run_name")
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
            self._lock.acquire(timeout=PATIENCE_SECONDS)
        except Timeout:
            raise InUse(
                f"{self.path} is in use: another process trains this run; wait for it, or choose another --run_name"
            ) from None
        except PermissionError as error:
            raise UserError(
                f"cannot write {self._lock.lock_file}: {error.strerror}; choose another --run_name or --results_dir"
            ) from None
        except OSError as error:  # NFS without its lock service, say: no name helps there
            raise UserError(
                f"cannot lock {self._lock.lock_file}: {one_line(error.strerror or error)}; choose another "
                "--results_dir, on a file system with locks"
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
            before = read_yaml(path)
        except (OSError, ValueError):
            before = None
        if not isinstance(before, dict):
            raise UserError(f"{path} cannot be read; use --overwrite or another --run_name")
        if different := obstacles(before, config):
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
        if [row["epoch"] for row in rows] != list(range(epoch + 1)):
            raise UserError(
                f"{self.metrics_path} holds {len(rows)} of the {epoch + 1} epochs that {self.checkpoint_path.name} had "
                "seen; put a copy of both in their place, or start again with --overwrite"
            )
        if rows and self._checksum not in (None, self._checksum_of_metrics(epoch)):
            raise UserError(
                f"{self.metrics_path} is not what {self.checkpoint_path.name} had seen; put a copy of both in their "
                "place, or start again with --overwrite"
            )
        text = "".join(json.dumps(row) + "\n" for row in rows)
        write_atomically(self.metrics_path, lambda path: path.write_text(text))

    def append_metrics(self, numbers: Mapping[str, float]) -> None:
        """Add an epoch's line to metrics.jsonl, on the disk before the checkpoint of that epoch is."""
        try:
            with self.metrics_path.open("a") as file:
                file.write(json.dumps(dict(numbers)) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise UserError(f"cannot write {self.metrics_path}: {error.strerror}; free some space") from error

    def _checksum_of_metrics(self, epoch: int) -> int:
        """Sum up the lines of metrics.jsonl up to an epoch; there is one for each."""
        return zlib.crc32(b"\n".join(self.metrics_path.read_bytes().splitlines()[: epoch + 1]))

    def save_checkpoint(self, state: Mapping[str, Any]) -> None:
        """Write the state for resuming, whole or not at all."""
        content = dict(state) | {"metrics_checksum": self._checksum_of_metrics(state["epoch"])}
        write_atomically(self.checkpoint_path, lambda path: torch.save(content, path), is_durable=True)

    def load_checkpoint(self) -> dict[str, Any] | None:
        """The state for resuming, on the host; None where there is none yet."""
        if not self.checkpoint_path.exists():
            return None
        try:
            state = load_checked(self.checkpoint_path)
        except PermissionError as error:
            raise UserError(
                f"cannot read {self.checkpoint_path}: {error.strerror}; allow it, or choose another --run_name"
            ) from None
        except Exception as error:  # a damaged file fails in many ways
            raise UserError(
                f"{self.checkpoint_path} is damaged ({one_line(error)}); put a copy in its place, or start again with "
                "--overwrite"
            ) from error
        if not isinstance(state, dict):
            raise UserError(f"{self.checkpoint_path} is not a checkpoint of this run; start again with --overwrite")
        self._checksum = state.get("metrics_checksum")
        return state


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The epochs of a metrics.jsonl up to the first line that is none, as one that was cut off by a kill."""
    rows: list[dict[str, Any]] = []
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; name, or allow to read, the epochs of a run") from None
    for line in lines:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):  # neither JSON nor, after a crash, text
            break
        if not _is_epoch(row):
            break
        rows.append(row)
    return rows


def _is_epoch(row: Any) -> bool:
    """Whether a line of metrics.jsonl is the numbers of an epoch."""
    is_numbers = isinstance(row, dict) and all(type(value) in (int, float) for value in row.values())
    return is_numbers and type(row.get("epoch")) is int

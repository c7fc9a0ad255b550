"""Apple's GPUs, macOS and Windows, as far as Linux can pretend to be them."""

from __future__ import annotations

from interrupts import signals_as_interrupt

import ast
import ctypes
import importlib.util
import math
import os
import signal
import sys
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from test_architecture import SOURCES

from config import build_config
from readers import sources
from speed import machine
from sweeps import processes
from tracking.run_folder import RunFolder
from utils import UserError, preserved_random_state, resolve_device

ROOT = Path(__file__).resolve().parent.parent
CPU = torch.device("cpu")


@pytest.fixture
def apple(monkeypatch):
    """A machine with a GPU of Apple's; its generator is a list."""
    state = [torch.tensor([1], dtype=torch.uint8)]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda: state[-1])
    monkeypatch.setattr(torch.mps, "set_rng_state", state.append)
    return state


def test_auto_takes_an_apple_gpu_after_cuda(apple, monkeypatch):
    assert resolve_device("auto") == resolve_device("mps") == torch.device("mps")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto") == torch.device("cuda")


def test_mps_without_such_a_gpu_is_one_line():
    if torch.backends.mps.is_available():
        pytest.skip("there is one here")
    with pytest.raises(UserError, match="device = 'mps': no GPU of Apple's"):
        resolve_device("mps")


def test_the_generator_of_an_apple_gpu_is_left_as_found(apple):
    with preserved_random_state():
        pass
    assert len(apple) == 2 and torch.equal(apple[0], apple[1])


def test_an_apple_gpu_computes_plainly():
    device, config = torch.device("mps"), build_config({"precision": "auto"})
    assert not machine.should_compile(config, device, 10**6)
    assert not machine.should_record(config, device)


@pytest.mark.parametrize(("system", "expected"), [("darwin", "1"), ("linux", None)])
def test_what_apple_gpus_lack_falls_back(monkeypatch, system, expected):
    """A fresh copy of the module that all scripts import first, before PyTorch."""
    monkeypatch.delenv("PYTORCH_ENABLE_MPS_FALLBACK", raising=False)
    monkeypatch.setattr(sys, "platform", system)
    spec = importlib.util.spec_from_file_location("interrupts_of_another_system", ROOT / "interrupts.py")
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    assert os.environ.pop("PYTORCH_ENABLE_MPS_FALLBACK", None) == expected


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_the_memory_of_other_c_libraries_is_left_alone(monkeypatch, system):
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(ctypes, "CDLL", lambda *_: pytest.fail("loaded"))
    machine.keep_freed_memory.__wrapped__(CPU)


def test_a_system_that_does_not_tell_its_memory(monkeypatch):
    monkeypatch.delattr(os, "sysconf")
    assert machine.total_memory(CPU) == sources._memory() == math.inf


def test_a_system_without_proc_has_plain_arithmetic(monkeypatch):
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: (_ for _ in ()).throw(FileNotFoundError()))
    assert machine.cpu_flags() == set()
    assert machine.resolve_precision(build_config({}), CPU) == "fp32"


def test_signals_that_windows_lacks(monkeypatch):
    for name in ("SIGHUP", "SIGUSR1"):
        monkeypatch.delattr(signal, name)
    before = signal.getsignal(signal.SIGTERM)
    with signals_as_interrupt():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_file_system_without_locks(monkeypatch, tmp_path, caplog):
    monkeypatch.setattr(FileLock, "acquire", lambda *_, **__: (_ for _ in ()).throw(NotImplementedError()))
    RunFolder.open(build_config({"results_dir": str(tmp_path), "run_name": "run"})).close()
    assert "this file system has no locks" in caplog.text


def test_cores_are_counted_where_they_cannot_be_bound(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert processes._environment(0, 2)["OMP_NUM_THREADS"] == "4"


ON_LINUX_ONLY = {"fcntl", "grp", "pty", "pwd", "resource", "termios"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_needs_what_windows_lacks(path):
    """No imports of such modules, no forks."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) else []
        assert not ON_LINUX_ONLY & set(names)
        assert not (isinstance(node, ast.Attribute) and node.attr in ("fork", "getuid", "geteuid", "setsid"))

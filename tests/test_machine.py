"""What is chosen for a machine: precision, who computes products, kept memory, what is compiled."""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from test_speed import CPU, CUDA, small_config

import train
from config import load_config
from datasets import dataset_spec
from speed import machine

HERE = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(
    ("flags", "precision"),
    [
        ({"avx2", "fma"}, "fp32"),
        ({"avx512f"}, "fp32"),
        ({"avx512_bf16"}, "bf16"),
        ({"amx_bf16"}, "bf16"),
        (set(), "fp32"),
    ],
)
def test_auto_is_bf16_where_the_processor_has_it(monkeypatch, caplog, flags, precision):
    monkeypatch.setattr(machine, "cpu_flags", lambda: flags)
    assert machine.resolve_precision(small_config(), CPU) == precision
    assert machine.resolve_precision(small_config("--precision", "fp32"), CPU) == "fp32"
    assert not caplog.records
    assert machine.resolve_precision(small_config("--precision", "bf16"), CPU) == "bf16"
    assert len(caplog.records) == (precision == "fp32")  # says that it has to be emulated


@pytest.mark.parametrize("has_it", [False, True])
def test_auto_on_a_gpu_asks_for_bf16_in_hardware(monkeypatch, has_it):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_it and not including_emulation)
    assert machine.resolve_precision(small_config(), CUDA) == ("bf16" if has_it else "fp32")


def test_the_flags_of_this_processor_are_read():
    assert not Path("/proc/cpuinfo").exists() or "flags" not in Path("/proc/cpuinfo").read_text() or machine.cpu_flags()


@pytest.fixture
def products() -> Iterator[Any]:
    """PyTorch's setting of fp32 products on a CPU, put back afterwards."""
    setting = torch.backends.mkldnn.matmul
    before, setting.fp32_precision = setting.fp32_precision, "none"
    yield setting
    setting.fp32_precision = before


def test_products_stay_fp32_whoever_computes_them(products):
    train.Training(small_config("--precision", "fp32"), dataset_spec(small_config()), CPU)
    a, b = torch.randn(500, 300), torch.randn(300, 700)
    exact = a.double() @ b.double()
    assert (a @ b - exact).norm() < 2e-6 * exact.norm()


@pytest.mark.parametrize("kept", [False, True])
def test_products_are_left_to_onednn_where_it_keeps_fp32(monkeypatch, products, kept):
    def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        if not kept and a.dtype == torch.float32 and products.fp32_precision == "bf16":
            a, b = a.bfloat16().float(), b.bfloat16().float()
        return torch.from_numpy(a.numpy() @ b.numpy())

    monkeypatch.setattr(torch.Tensor, "__matmul__", product)
    monkeypatch.setattr(machine, "cpu_flags", lambda: {"avx2"})
    machine.use_onednn(CPU)
    assert products.fp32_precision == "none"
    monkeypatch.setattr(machine, "cpu_flags", lambda: {"avx2", "avx512f"})
    machine.use_onednn(CUDA)
    assert products.fp32_precision == "none"
    machine.use_onednn(CPU)
    assert products.fp32_precision == ("bf16" if kept else "none")


@pytest.mark.slow
@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="needs glibc 2.33 or later"
)
@pytest.mark.parametrize("is_kept", [False, True])
def test_memory_that_a_step_frees_is_kept_for_the_next(is_kept):
    """What is mapped, or returned to the system, would be cleared anew by it in every step."""
    program = f"""
import ctypes, json, torch
from speed import machine
names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()
Mallinfo2 = type("Mallinfo2", (ctypes.Structure,), {{"_fields_": [(name, ctypes.c_size_t) for name in names]}})
libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Mallinfo2
if {is_kept}:
    machine.keep_freed_memory(torch.device("cpu"))
before = libc.mallinfo2()
blocks = [torch.zeros(2**21), torch.zeros(2**22)]
held = libc.mallinfo2()
del blocks
freed = libc.mallinfo2()
print(json.dumps({{"mapped": held.hblkhd - before.hblkhd, "returned": held.arena - freed.arena}}))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=HERE, capture_output=True, text=True, check=True)
    sizes = json.loads(done.stdout)  # bytes
    assert sizes["returned"] == 0
    assert sizes["mapped"] == 0 if is_kept else sizes["mapped"] >= 24 * 2**20


@pytest.mark.parametrize("flags", [{"avx2"}, {"avx2", "avx512f"}])
def test_auto_compiles_long_runs_on_a_cpu_with_avx512(monkeypatch, flags):
    monkeypatch.setattr(machine, "cpu_flags", lambda: flags)

    def choice(value: str, device: torch.device, n_steps: int) -> tuple[bool, bool]:
        config = small_config("--compile", value)
        return machine.should_compile(config, device, n_steps), machine.should_record(config, device)

    assert choice("auto", CPU, 10_000) == ("avx512f" in flags, False)
    assert choice("auto", CPU, 9_999) == (False, False)
    assert choice("auto", CUDA, 10**6) == (False, True)
    assert choice("true", CPU, 1) == (True, False)
    assert choice("true", CUDA, 1) == (True, True)
    assert choice("false", CPU, 10**6) == choice("false", CUDA, 10**6) == (False, False)


@pytest.mark.parametrize("name", ["mnist", "svhn", "3dshapes_1", "3dshapes_2", "digits"])
def test_of_the_shipped_configurations_auto_compiles_the_published_ones(monkeypatch, name):
    monkeypatch.setattr(machine, "cpu_flags", lambda: {"avx512f"})
    config = load_config(["--config_args_path", str(HERE / f"configs/{name}.yml")])
    n_steps = config.n_epochs * train.n_batches_per_epoch(config, dataset_spec(config).n_train)
    assert machine.should_compile(config, CPU, n_steps) == (name != "digits")


def test_compile_takes_true_and_false_from_yaml(tmp_path):
    for word in ("true", "false", "auto"):
        (tmp_path / "settings.yml").write_text(f"compile: {word}\n")
        assert load_config(["--config_args_path", str(tmp_path / "settings.yml")]).compile == word

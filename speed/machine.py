"""What a machine does best: the precision to compute in, whether to compile or record, and settings of libraries.

Nothing here changes what is computed beyond rounding.
"""

from __future__ import annotations

import atexit
import ctypes
import logging
import math
import os
import sys
from functools import cache
from pathlib import Path

import torch

from config import Config

log = logging.getLogger(__name__)

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
# Compiling takes up to 34 s for MNIST and 41 s for 3DShapes, and saves 7 and 84 ms of a step (docs/performance.md):
# some thousand steps earn it back. The digits' short runs are left alone.
MIN_STEPS_TO_COMPILE = 10_000
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def cpu_flags() -> set[str]:
    """What Linux says an x86 processor can do; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return set(next((line.partition(":")[2] for line in lines if line.startswith("flags")), "").split())


def total_memory(device: torch.device) -> float:
    """Bytes of memory that a GPU or this machine has; without limit where it does not say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf, other systems not these names
        return math.inf


def has_bf16(device: torch.device) -> bool:
    """Whether products of bfloat16 are in the hardware; emulated ones are slower than those of float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool({"avx512_bf16", "amx_bf16"} & cpu_flags())


def resolve_precision(config: Config, device: torch.device) -> str:
    """fp32 or bf16."""
    if config.precision == "auto":
        return "bf16" if has_bf16(device) else "fp32"
    if config.precision == "bf16" and not has_bf16(device):
        log.warning("--precision bf16: %s has to emulate it, fp32 is faster", device)
    return config.precision


def use_onednn(device: torch.device) -> None:
    """Leave fp32 products on a CPU with AVX-512 to oneDNN, which is a sixth faster than MKL (docs/performance.md).

    PyTorch does so only where bf16 is said to do for them. oneDNN computes in bf16 then where the processor has AMX, in
    fp32 elsewhere: a product tells, and bf16 is not accepted. The setting is the whole process's.
    """
    if device.type != "cpu" or "avx512f" not in cpu_flags():
        return
    products = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]  # PyTorch makes it when it is imported
    before, products.fp32_precision = products.fp32_precision, "bf16"
    a = torch.arange(512 * 512, dtype=torch.float32).cos().view(512, 512)  # no random state is touched
    exact = a.double() @ a.double()
    if (a @ a - exact).norm() > 1e-5 * exact.norm():  # in fp32 4e-7, in bf16 2e-3
        products.fp32_precision = before


@cache
def keep_freed_memory(device: torch.device) -> None:
    """Have glibc keep what a step on a CPU frees for the next one, until the process ends.

    By default it returns large blocks to the system, which clears their pages in every step (docs/performance.md).
    The setting is the whole process's; other C libraries have none.
    """
    if device.type != "cpu" or sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        if not libc.mallopt(M_MMAP_THRESHOLD, 2**30):  # bytes; what is larger is mapped, and returned when freed
            libc.mallopt(M_MMAP_THRESHOLD, 2**25)  # the most that older versions take
        libc.mallopt(M_TRIM_THRESHOLD, -1)  # never
        atexit.register(libc.malloc_trim, 0)  # unloading PyTorch's libraries for GPUs takes some 120 MiB


def should_compile(config: Config, device: torch.device, n_steps: int) -> bool:
    """Whether a run of n_steps steps is compiled: where asked, or where it pays (docs/performance.md)."""
    if config.compile != "auto":
        return config.compile == "true"
    return device.type == "cpu" and "avx512f" in cpu_flags() and n_steps >= MIN_STEPS_TO_COMPILE


def should_record(config: Config, device: torch.device) -> bool:
    """Whether the step becomes a CUDA graph."""
    return device.type == "cuda" and config.compile != "false"

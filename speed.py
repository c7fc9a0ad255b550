"""What the machine does best: the precision to compute in, and a compiled or recorded training step.

Nothing here changes what is computed beyond rounding; what fails, or would, gives way to the plain step.
"""

from __future__ import annotations

import atexit
import ctypes
import logging
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from config import Config
from evaluation.predictions import Forward
from mfcvae import MFCVAE
from progressive import Coefficients
from utils import is_interruption, one_line, preserved_random_state

log = logging.getLogger(__name__)

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
# Compiling takes up to 34 s for MNIST and 41 s for 3DShapes, and saves 7 and 84 ms of a step (benchmarks/README.md):
# some thousand steps earn it back. The digits' short runs are left alone.
MIN_STEPS_TO_COMPILE = 10_000
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


class StepResult(NamedTuple):
    """What an epoch remembers of one training step, on the device."""

    terms: Tensor
    """(n_terms,): the loss and its parts, in the order of inference.SCALAR_TERMS."""
    clusters: Tensor
    """(B, J): the cluster of each image in each facet."""


Step = Callable[[Tensor, Tensor], StepResult]
"""Images (B, C, H, W) uint8 and coefficients (4, J) -> what the epoch remembers."""
Loss = Callable[[Tensor, Tensor], tuple[Tensor, StepResult]]
"""The same -> the loss () to be minimised, and what the epoch remembers."""


# --- what to do on this machine


def cpu_flags() -> set[str]:
    """What Linux says an x86 processor can do; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return set(next((line.partition(":")[2] for line in lines if line.startswith("flags")), "").split())


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
    """Leave fp32 products on a CPU with AVX-512 to oneDNN, which is a sixth faster than MKL (benchmarks/README.md).

    PyTorch does so only where bf16 is said to do for them. oneDNN computes in bf16 then where the processor has AMX, in
    fp32 elsewhere: a product tells, and bf16 is not accepted. The setting is the whole process's.
    """
    if device.type != "cpu" or "avx512f" not in cpu_flags():
        return
    products = torch.backends.mkldnn.matmul
    before, products.fp32_precision = products.fp32_precision, "bf16"
    a = torch.arange(512 * 512, dtype=torch.float32).cos().view(512, 512)  # no random state is touched
    exact = a.double() @ a.double()
    if (a @ a - exact).norm() > 1e-5 * exact.norm():  # in fp32 4e-7, in bf16 2e-3
        products.fp32_precision = before


@cache
def keep_freed_memory(device: torch.device) -> None:
    """Have glibc keep what a step on a CPU frees for the next one, until the process ends.

    By default it returns large blocks to the system, which clears their pages anew in every step (benchmarks/README.md).
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


def leave_out_triton() -> None:
    """Keep PyTorch from loading Triton, its compiler for GPUs, where there is none: 70 MiB (benchmarks/README.md).

    As if it were not installed. Before anything imports torch._dynamo, as torchvision does; for the whole process.
    """
    if torch.cuda.is_available() or "triton" in sys.modules:
        return
    sys.modules["triton"] = None  # importing it fails
    logging.getLogger("torch.utils.flop_counter").setLevel(logging.ERROR)  # which would say so


def should_compile(config: Config, device: torch.device, n_steps: int) -> bool:
    """Whether a run of n_steps steps is compiled: where asked, or where it was measured to pay (benchmarks/README.md)."""
    if config.compile != "auto":
        return config.compile == "true"
    return device.type == "cpu" and "avx512f" in cpu_flags() and n_steps >= MIN_STEPS_TO_COMPILE


def should_record(config: Config, device: torch.device) -> bool:
    """Whether the step becomes a CUDA graph."""
    return device.type == "cuda" and config.compile != "false"


# --- how


class CompiledForward:
    """A forward pass of whole batches by torch.compile; by the plain function for the smaller last batch of an epoch.

    The first whole batch decides: where compiling fails, or gives another loss or gradient (in evaluation: or other
    responsibilities), the plain function serves for good. (PyTorch 2.14 on a CPU miscomputes ELU before a BatchNorm of
    three channels_last channels, silently.)
    """

    TOLERANCE = 0.1  # a wrong gradient is far more off, one of another rounding in bf16 far less

    def __init__(self, model: MFCVAE, plain: Loss | Forward, batch_size: int):
        """`plain` takes images and coefficients: a Loss while the model trains, a Forward in evaluation."""
        self.model, self.plain, self.batch_size = model, plain, batch_size
        self.chosen: Loss | Forward | None = None

    def __call__(self, images: Tensor, weights: Tensor | Coefficients) -> Any:
        if len(images) != self.batch_size:
            return self.plain(images, weights)
        if self.chosen is None:
            self.chosen = self._choose(images, weights)
        return self.chosen(images, weights)

    def _choose(self, images: Tensor, weights: Tensor | Coefficients) -> Loss | Forward:
        what, second = ("training step", "gradient") if self.model.training else ("evaluation", "responsibilities")
        try:
            from inductor import compile_options

            fast = torch.compile(self.plain, fullgraph=True, dynamic=False, options=compile_options(images.device))
            loss, values = self._loss_and_values(self.plain, images, weights)
            fast_loss, fast_values = self._loss_and_values(fast, images, weights)
            loss_error = (fast_loss - loss).abs() / (1 + loss.abs())
            differences = [a - b for a, b in zip(fast_values, values, strict=True)]
            error = float(torch.maximum(loss_error, get_total_norm(differences) / get_total_norm(values)))
            if error < self.TOLERANCE:
                return fast
            reason = f"its loss or {second} is off by {error:.0%}"
        except Exception as failure:  # compilers raise errors of many kinds
            if is_interruption(failure):
                raise
            reason = one_line(failure)
        log.warning("compiling the %s does not work here, it runs without: %s", what, reason)
        return self.plain

    def _loss_and_values(
        self, forward: Loss | Forward, images: Tensor, weights: Tensor | Coefficients
    ) -> tuple[Tensor, Sequence[Tensor]]:
        """The loss () and its gradients, one for each parameter, or J responsibilities (B, K_j); no state changes."""
        buffers = [(buffer, buffer.clone()) for buffer in self.model.buffers()]
        try:
            with preserved_random_state():
                if self.model.training:
                    loss, _ = forward(images, weights)
                    values = torch.autograd.grad(loss, [p for p in self.model.parameters() if p.requires_grad])
                else:
                    _, terms = forward(images, weights)
                    loss, values = terms.loss, terms.q_c_x
        finally:
            for buffer, before in buffers:
                buffer.copy_(before)
        return loss.detach(), values


class RecordedStep:
    """A step on a GPU, recorded as a CUDA graph: the host launches one graph instead of hundreds of small kernels.

    The first calls are ordinary steps on the stream to be recorded, by which libraries set themselves up. The result
    lies in memory that the next call overwrites. The smaller last batch of an epoch is an ordinary step, and so are all
    where recording fails.
    """

    N_WARM_UP = 3

    def __init__(self, step: Step, batch_size: int, device: torch.device):
        self.step, self.batch_size, self.stream = step, batch_size, torch.cuda.Stream(device)
        self.n_warm, self.graph, self.has_failed = 0, None, False

    def __call__(self, images: Tensor, weights: Tensor) -> StepResult:
        if len(images) != self.batch_size or self.has_failed:
            return self.step(images, weights)
        if self.n_warm < self.N_WARM_UP:
            self.n_warm += 1
            return self._aside(images, weights)
        if self.graph is None:
            self._record(images, weights)
        if self.has_failed:
            return self.step(images, weights)
        self.images.copy_(images)
        self.weights.copy_(weights)
        self.graph.replay()
        return self.result

    def _aside(self, images: Tensor, weights: Tensor) -> StepResult:
        """One ordinary step on the stream to be recorded, after all that was asked for and before all that will be."""
        current = torch.cuda.current_stream(images.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            result = self.step(images, weights)
        current.wait_stream(self.stream)
        return result

    def _record(self, images: Tensor, weights: Tensor) -> None:
        """Record the step on inputs of its own; nothing is computed yet."""
        self.images, self.weights = images.clone(), weights.clone()
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self.stream):
                self.result = self.step(self.images, self.weights)
            self.graph = graph
        except Exception as failure:  # drivers and libraries raise errors of many kinds
            log.warning("the training step cannot be recorded here, it runs without: %s", one_line(failure))
            self.has_failed = True

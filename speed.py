"""What the machine does best: the precision to compute in, and a compiled or recorded training step.

Nothing here changes what is computed beyond rounding, and whatever fails gives way to the plain step.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from config import Config
from mfcvae import ElboTerms
from progressive import Coefficients

log = logging.getLogger(__name__)

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
# Compiling takes about a minute and saves some hundredths of a second a step: all published runs earn it back, and the
# shortest of them has 10,452 steps.
MIN_STEPS_TO_COMPILE = 10_000

LossTerms = Callable[[Tensor, Coefficients], ElboTerms]


class StepResult(NamedTuple):
    """What an epoch remembers of one training step, on the device."""

    terms: Tensor
    """(n_terms,): the loss and its parts, in the order of inference.SCALAR_TERMS."""
    clusters: Tensor
    """(B, J): the cluster of each image in each facet."""


Step = Callable[[Tensor, Tensor], StepResult]


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


def should_compile(config: Config, device: torch.device, precision: str, n_steps: int) -> bool:
    """Whether a run of n_steps steps is compiled: where asked, or where it was measured to pay (benchmarks/README.md)."""
    if config.compile == "auto":
        return device.type == "cpu" and precision == "bf16" and n_steps >= MIN_STEPS_TO_COMPILE
    return config.compile == "true"


def should_record(config: Config, device: torch.device) -> bool:
    """Whether the step becomes a CUDA graph."""
    return device.type == "cuda" and config.compile != "false"


# --- how


def compiled(loss_terms: LossTerms) -> LossTerms:
    """The same function for one batch size, compiled at its first call; random numbers are drawn as without."""
    return torch.compile(loss_terms, fullgraph=True, dynamic=False, options={"fallback_random": True})


class FastStep:
    """A step that is fast on whole batches; it is plain on the smaller last one, and wherever the fast one fails."""

    def __init__(self, plain: Step, fast: Step, batch_size: int):
        self.plain, self.fast, self.batch_size = plain, fast, batch_size

    def __call__(self, images: Tensor, weights: Tensor) -> StepResult:
        if len(images) != self.batch_size:
            return self.plain(images, weights)
        try:
            return self.fast(images, weights)
        except Exception as error:  # compilers and drivers raise errors of many kinds
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            log.warning("the training step cannot be compiled here and runs without (%s)", reason)
            self.fast = self.plain
            return self.plain(images, weights)


class RecordedStep:
    """A step on a GPU, recorded as a CUDA graph: the host launches one graph instead of hundreds of small kernels.

    The first calls are ordinary steps on the stream to be recorded, by which libraries set themselves up. The result
    lies in memory that the next call overwrites.
    """

    N_WARM_UP = 3

    def __init__(self, step: Step, device: torch.device):
        self.step, self.stream = step, torch.cuda.Stream(device)
        self.n_calls, self.graph = 0, None

    def __call__(self, images: Tensor, weights: Tensor) -> StepResult:
        self.n_calls += 1
        if self.n_calls <= self.N_WARM_UP:
            return self._aside(images, weights)
        if self.graph is None:
            self._record(images, weights)
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
        with torch.cuda.graph(graph, stream=self.stream):
            self.result = self.step(self.images, self.weights)
        self.graph = graph

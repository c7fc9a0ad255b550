"""The training step compiled, or recorded as a CUDA graph; what fails, or would, gives way to the plain step."""

from __future__ import annotations

from interrupts import is_interruption

import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from mfcvae import MFCVAE
from progressive import Coefficients
from utils import one_line, preserved_random_state

log = logging.getLogger(__name__)


class StepResult(NamedTuple):
    """What an epoch remembers of one training step, on the device."""

    terms: Tensor
    """(n_terms,): the loss and its parts, in the order of SCALAR_TERMS of evaluation/predictions.py."""
    clusters: Tensor
    """(B, J): the cluster of each image in each facet."""


Step = Callable[..., StepResult]
"""Images (B, C, H, W) uint8, coefficients (6, J), codes (B, J) where training is led -> what the epoch remembers."""
Loss = Callable[..., tuple[Tensor, StepResult]]
"""The same -> the loss () to be minimised, and what the epoch remembers."""
LossOrForward = Callable[..., Any]
"""A Loss while the model trains, a Forward of predictions.py in evaluation."""


class CompiledForward:
    """A forward pass of whole batches by torch.compile; by the plain function for the smaller last batch of an epoch.

    The first whole batch decides: where compiling fails, or gives another loss or gradient (in evaluation: or other
    responsibilities), the plain function serves for good. (PyTorch 2.14 on a CPU miscomputes ELU before a BatchNorm of
    three channels_last channels, silently.)
    """

    TOLERANCE = 0.1  # a wrong gradient is far more off, one of another rounding in bf16 far less

    def __init__(self, model: MFCVAE, plain: LossOrForward, batch_size: int):
        """`plain` takes images, coefficients and maybe codes."""
        self.model, self.plain, self.batch_size = model, plain, batch_size
        self.chosen: LossOrForward | None = None

    def __call__(self, images: Tensor, *others: Tensor | Coefficients) -> Any:
        """Do what `plain` does."""
        if len(images) != self.batch_size:
            return self.plain(images, *others)
        if self.chosen is None:
            self.chosen = self._choose(images, *others)
        return self.chosen(images, *others)

    def _choose(self, images: Tensor, *others: Tensor | Coefficients) -> LossOrForward:
        what, second = ("training step", "gradient") if self.model.training else ("evaluation", "responsibilities")
        try:
            from speed.inductor import compile_options

            fast = torch.compile(self.plain, fullgraph=True, dynamic=False, options=compile_options(images.device))
            loss, values = self._loss_and_values(self.plain, images, *others)
            fast_loss, fast_values = self._loss_and_values(fast, images, *others)
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
        self, forward: LossOrForward, *inputs: Tensor | Coefficients
    ) -> tuple[Tensor, Sequence[Tensor]]:
        """The loss () and its gradients, one for each parameter, or J responsibilities (B, K_j); no state changes."""
        buffers = [(buffer, buffer.clone()) for buffer in self.model.buffers()]
        try:
            with preserved_random_state():
                if self.model.training:
                    loss, _ = forward(*inputs)
                    values = torch.autograd.grad(loss, [p for p in self.model.parameters() if p.requires_grad])
                else:
                    _, terms = forward(*inputs)
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
        self.n_warm, self.has_failed = 0, False
        self.graph: torch.cuda.CUDAGraph | None = None
        self.inputs: list[Tensor] = []
        self.result: StepResult

    def __call__(self, *inputs: Tensor) -> StepResult:
        """Do what `step` does."""
        if len(inputs[0]) != self.batch_size or self.has_failed:
            return self.step(*inputs)
        if self.n_warm < self.N_WARM_UP:
            self.n_warm += 1
            return self._aside(*inputs)
        graph = self.graph or self._record(*inputs)
        if graph is None:
            return self.step(*inputs)
        for own, given in zip(self.inputs, inputs, strict=True):
            own.copy_(given)
        graph.replay()
        return self.result

    def _aside(self, *inputs: Tensor) -> StepResult:
        """One ordinary step on the stream to be recorded, after all that was asked for and before all that will be."""
        current = torch.cuda.current_stream(inputs[0].device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            result = self.step(*inputs)
        current.wait_stream(self.stream)
        return result

    def _record(self, *inputs: Tensor) -> torch.cuda.CUDAGraph | None:
        """Record the step on inputs of its own, if it can be; nothing is computed yet."""
        self.inputs = [given.clone() for given in inputs]
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self.stream):
                self.result = self.step(*self.inputs)
        except Exception as failure:  # drivers and libraries raise errors of many kinds
            log.warning("the training step cannot be recorded here, it runs without: %s", one_line(failure))
            self.has_failed = True
            return None
        self.graph = graph
        return graph

"""One model trained by several processes, as torchrun starts them, with PyTorch's DistributedDataParallel.

Every process has a part of each batch, and all compute what one would: the noise is that of the whole batch, of which
each takes its rows; BatchNorm has the statistics of the whole batch; losses are weighted by the size of the part. The
first process alone evaluates and writes. For users: docs/big_data.md.
"""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributions import Independent, Normal
from torch.nn.parallel import DistributedDataParallel

from config import Config
from datasets import Dataset, checksum_of
from mfcvae import MFCVAE
from settings.comparing import different_settings, portable_settings
from speed.steps import Loss, StepResult
from tracking.checkpoint import Resumable, restore, state_of
from utils import UserError, n_processes, one_line, resolve_device

Result = TypeVar("Result")
Facts = tuple[int, int, int]
"""How many training and test images there are, and their checksum."""

PATIENCE = timedelta(days=2)
"""How long a process waits for the others: one may decode images or fit mixtures. One that ends is noticed at once."""


class Ranks:
    """The processes that train one model together, as seen by one of them; or one that is alone."""

    def __init__(self, device: torch.device, rank: int = 0, size: int = 1):
        self.device, self.rank, self.size = device, rank, size
        self.n_whole = 0
        """Images of the whole batch that is being trained on."""

    @property
    def is_first(self) -> bool:
        """Whether it is this process that evaluates and writes."""
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        """Whether there are no others."""
        return self.size == 1

    # --- the parts of a batch

    def part(self, n: int) -> slice:
        """Which of the n images of a batch are this process's."""
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def own(self, rows: Tensor) -> Tensor:
        """Take this process's part of a batch (n, ...)."""
        return rows if self.is_alone else rows[self.part(len(rows))]

    def places(self, n_images: int, batch_size: int) -> Iterator[slice]:
        """Yield for each batch of an epoch where in it this process's images are; its step is done before the next."""
        for first in range(0, n_images, batch_size):
            self.n_whole = min(batch_size, n_images - first)
            part = self.part(self.n_whole)
            yield slice(first + part.start, first + part.stop)
        self.n_whole = 0

    # --- what is computed together

    def shared(self, model: MFCVAE, loss_of: Loss) -> Loss:
        """The loss of this process's part of a batch; its gradients become those of the whole batch."""
        if self.is_alone:
            return loss_of
        model.draw = partial(draw_part, self)  # type: ignore[method-assign]
        for norm in model.modules():
            if isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d)):
                norm.forward = partial(shared_batch_norm, self, norm)  # type: ignore[method-assign]
        devices = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(PartOfLoss(self, model, loss_of), device_ids=devices)

    def add_up(self, *tensors: Tensor) -> None:
        """Put the sum over all processes into each tensor, in place."""
        for tensor in tensors if not self.is_alone else ():
            dist.all_reduce(tensor)

    def take_up(self, run: Resumable, first_epoch: int | None) -> int | None:
        """Go on from the state of the first process, in all of them. first_epoch: what it begins with, if anything."""
        if self.is_alone:
            return first_epoch
        content = io.BytesIO()
        if self.is_first:
            torch.save(None if first_epoch is None else state_of(run, first_epoch - 1), content)
        told = [content.getvalue()]
        dist.broadcast_object_list(told)
        if not self.is_first:
            state = torch.load(io.BytesIO(told[0]), map_location="cpu", weights_only=True)
            first_epoch = None if state is None else restore(run, state, Path("the state of the first process"))
        return first_epoch

    def follow(self, run: Resumable, train_epoch: Callable[[int], object]) -> int:
        """Do what processes but the first do: train as it does, and write nothing; the exit status."""
        first_epoch = self.take_up(run, None)
        for epoch in range(max(1, first_epoch), run.config.n_epochs) if first_epoch is not None else ():
            train_epoch(epoch)
        return 0

    # --- what goes wrong together

    def agree(self, do: Callable[[], Result]) -> Result:
        """Do something in all processes. Where one of them cannot, all end, and the first says why.

        Raises:
            UserError: what was raised in one of them.
        """
        if self.is_alone:
            return do()
        problem = ""
        try:
            result = do()
        except UserError as error:
            problem = str(error)
        problems = self._gathered(problem)
        for rank, found in enumerate(problems):
            if found and not self.is_first:
                raise SystemExit(2)
            if found:
                raise UserError(f"process {rank} of {self.size}: {found}" if rank else found)
        return result

    def check(self, config: Config, dataset: Dataset) -> None:
        """Refuse processes that were told, or see, different things, and too many of them for a batch.

        Raises:
            UserError: their settings or their images differ; or a batch has fewer images than there are processes.
        """
        if self.is_alone:
            return
        facts = (len(dataset.train), len(dataset.test), checksum_of(dataset))
        told = self._gathered((portable_settings(config), facts))
        self.agree(partial(check_batches, config, len(dataset.train), self.size))
        self.agree(partial(self._compare, config, facts, told))

    def _compare(self, config: Config, facts: Facts, told: Sequence[tuple[dict[str, Any], Facts]]) -> None:
        """Compare with what the others were told, and see."""
        for rank, (settings, found) in enumerate(told if self.is_first else ()):
            if different := different_settings(settings, config):
                raise UserError(f"process {rank} of {self.size} has other settings: {different}; give all the same")
            if found != facts:
                raise UserError(
                    f"the processes see different images: number {rank} has {_said(found)}, number {self.rank} "
                    f"{_said(facts)}; give all the same --data_dir"
                )

    def _gathered(self, value: Any) -> list[Any]:
        """The values of all processes."""
        found = [None] * self.size
        dist.all_gather_object(found, value)
        return found

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Another process that has ended interrupts this one.

        Raises:
            KeyboardInterrupt: it has.
        """
        try:
            yield
        except RuntimeError as error:
            if not self.is_alone and is_of_connection(error):
                raise KeyboardInterrupt("another process has ended") from error
            raise


def check_batches(config: Config, n_train: int, n_processes: int) -> None:
    """Refuse batches that leave a process without an image.

    Raises:
        UserError: a batch has fewer images than there are processes.
    """
    size = config.batch_size
    last = n_train % size or size
    if last < n_processes:
        larger = range(max(n_processes, size), n_train + n_processes)
        right = next((size for size in larger if (n_train % size or size) >= n_processes), n_train)
        raise UserError(
            f"batch_size = {size}: a batch of {last} of the {n_train} training images is smaller than the "
            f"{n_processes} processes; use {right}, or fewer processes"
        )


def _said(facts: Facts) -> str:
    """Say which images a process sees."""
    return "{:,} for training and {:,} for the test with checksum {}".format(*facts)


def is_of_connection(error: RuntimeError) -> bool:
    """Whether an error is that of a connection between processes; gloo's errors have no type of their own."""
    return isinstance(error, dist.DistError) or "gloo" in str(error).lower() or "connection" in str(error).lower()


@contextmanager
def joined_ranks(config: Config) -> Iterator[Ranks]:
    """Join the processes that torchrun has started, until the end; without torchrun there is one alone.

    Raises:
        UserError: a machine has fewer GPUs than processes, or the processes do not find one another.
    """
    if n_processes() == 1:
        yield Ranks(resolve_device(config.device))
        return
    rank, device = int(os.environ["RANK"]), own_device(config.device)
    if rank > 0:
        logging.getLogger().setLevel(logging.ERROR)  # the first one says it
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    except (ValueError, RuntimeError) as error:
        raise UserError(f"the processes cannot be joined ({one_line(error)}); start them by torchrun") from None
    ranks = Ranks(device, rank, n_processes())
    try:
        with ranks.watched():
            yield ranks
    except UserError:
        if ranks.is_first:
            raise
        raise SystemExit(2) from None  # the first one says it
    finally:
        dist.destroy_process_group()


def own_device(name: str) -> torch.device:
    """The device of this process: the GPU of its number on this machine, or the CPU.

    Raises:
        UserError: there are fewer GPUs than processes, or all are to use the same one.
    """
    device = resolve_device(name)
    if device.type != "cuda":
        return device
    n_here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if device.index is not None and n_here > 1:
        raise UserError(f"device = {name}: {n_here} processes on one GPU; use --device cuda, or one process")
    if n_here > torch.cuda.device_count():
        raise UserError(
            f"{n_here} processes, but this machine has {torch.cuda.device_count()} GPUs; start one for each "
            "(--nproc_per_node), or use --device cpu"
        )
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


# --- the parts of a step


class PartOfLoss(nn.Module):
    """The loss of a part of a batch, weighted so that the mean over the processes is the mean over the batch."""

    def __init__(self, ranks: Ranks, model: MFCVAE, loss_of: Loss):
        super().__init__()
        self.model, self.ranks, self.loss_of = model, ranks, loss_of

    def forward(self, images: Tensor, *others: Tensor) -> tuple[Tensor, StepResult]:
        """Do what loss_of does with the part's images (b, C, H, W)."""
        loss, result = self.loss_of(images, *others)
        return loss * (len(images) * self.ranks.size / self.ranks.n_whole), result


def draw_part(ranks: Ranks, q: Independent[Normal]) -> Tensor:
    """Draw z ~ q (b, D) by this process's rows of the noise that one process would draw for the whole batch."""
    mean = q.mean
    noise = torch.empty(ranks.n_whole or len(mean), mean.shape[1], device=mean.device).normal_()
    return mean + q.stddev * (ranks.own(noise) if ranks.n_whole else noise)


class _SumOverRanks(torch.autograd.Function):
    """The sum over all processes of a tensor; the gradients of all of them come back to each."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        """Add up the values."""
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """Add up what the loss of each process asks for."""
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total


def shared_batch_norm(ranks: Ranks, norm: nn.BatchNorm1d | nn.BatchNorm2d, x: Tensor) -> Tensor:
    """BatchNorm of x (b, C, ...) by the statistics of the whole batch. Outside of a training step it is the usual one.

    The variance is that of differences to the mean, for which the processes meet twice: a difference of mean squares
    would lose digits.
    """
    if not (norm.training and ranks.n_whole):
        return type(norm).forward(norm, x)
    others = [0, *range(2, x.dim())]
    wide = [1, -1] + [1] * (x.dim() - 2)
    n = ranks.n_whole * (x.numel() // (len(x) * x.shape[1]))
    values = x.float()
    mean = _SumOverRanks.apply(values.sum(others)) / n  # (C,)
    centred = values - mean.view(wide)
    variance = _SumOverRanks.apply((centred**2).sum(others)) / n  # (C,)
    assert norm.running_mean is not None and norm.running_var is not None and norm.num_batches_tracked is not None
    with torch.no_grad():
        norm.running_mean.lerp_(mean, norm.momentum or 0.0)
        norm.running_var.lerp_(variance * (n / (n - 1)), norm.momentum or 0.0)
        norm.num_batches_tracked.add_(1)
    scale = norm.weight * (variance + norm.eps).rsqrt()  # (C,)
    return (centred * scale.view(wide) + norm.bias.view(wide)).to(x.dtype)

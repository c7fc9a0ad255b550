"""Train a Multi-Facet Clustering VAE.

    python train.py --config_args_path configs/digits.yml

Run the same command again to resume. `--help` lists every setting, `--dry_run` shows the resolved ones and stops.
"""

from __future__ import annotations

from interrupts import is_interruption, run_script, signals_as_interrupt

import dataclasses
import logging
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any

from config import Config, file_settings, load_config, parse_flags, resolve, warn_of_flags_without_effect

if __name__ == "__main__" and {"-h", "--help", "--help_all"} & {*sys.argv[1:]}:
    load_config()  # prints the help and ends: PyTorch would take seconds to be imported for it

import torch
from matplotlib.figure import Figure
from torch import Tensor

from datasets import (
    Dataset,
    DatasetSpec,
    Split,
    check_counts,
    dataset_spec,
    load_dataset,
    split_labels,
    to_float,
    training_batches,
)
from evaluation.baselines import baselines
from evaluation.figures import are_due, generation_figures, split_figures
from evaluation.health import advice_on_loss, describe_health, measure_health
from evaluation.metric_names import Metric, loss_term_name
from evaluation.predictions import (
    SCALAR_TERMS,
    Forward,
    at_means,
    evaluated_images,
    observe,
    predict_with_terms,
)
from evaluation.score_table import report
from evaluation.scores import summarise
from initialisation import check_memory, initialise, learning_rates
from load_model import empty_model, is_model_of, save_copy, save_model, settings_of_start
from mfcvae import MFCVAE
from progressive import (
    Coefficients,
    epoch_coefficients,
    joining_facet,
    progressive_coefficients,
    warn_of_unfinished_fade_in,
)
from readers.own_facts import OwnImages
from reporting.opening import page_line, write_run_page
from speed import machine
from speed.distributed import Ranks, joined_ranks
from speed.steps import CompiledForward, Loss, LossOrForward, RecordedStep, Step, StepResult
from tracking.checkpoint import restore, state_of
from tracking.plan import describe_plan, describe_start, n_batches_per_epoch
from tracking.run_folder import RunFolder
from tracking.tracker import EpochProgress, Tracker
from utils import UserError, preserved_random_state, seed_everything

log = logging.getLogger(__name__)

INTERRUPTED = 130
"""Exit status of a run that was interrupted and can go on."""


class Training:
    """What changes while a run goes on: model, optimiser, generators; tracking/checkpoint.py makes it resumable."""

    def __init__(self, config: Config, spec: DatasetSpec, device: torch.device, ranks: Ranks | None = None):
        seed_everything(config.seed)
        self.ranks = ranks or Ranks(device)
        self.config = config
        self.device = device
        self.precision = machine.resolve_precision(config, device)
        machine.use_onednn(device)
        machine.keep_freed_memory(device)
        self.model = MFCVAE(config, spec, machine.DTYPES[self.precision]).to(device)
        if config.model_type == "conv_vlae":
            self.model.to(memory_format=torch.channels_last)
        self.optimizer: torch.optim.Optimizer = torch.optim.Adam(
            learning_rates(self.model, config.init_lr),
            fused=device.type != "mps",
            capturable=device.type == "cuda",
        )
        self.codes: Tensor | None = None  # (N, J) int64, the clusters that a led training starts from
        self.n_epochs_planned = config.n_epochs  # when the run began: epochs that are added follow its schedule
        self.order = torch.Generator().manual_seed(config.seed)
        n_steps = config.n_epochs * n_batches_per_epoch(config, spec.n_train)
        self.is_compiled = self.ranks.is_alone and machine.should_compile(config, device, n_steps)
        if self.is_compiled:
            torch.compiler.reset()  # a process compiles a function only so often: earlier runs of a sweep count
        self.is_recorded = self.ranks.is_alone and machine.should_record(config, device)
        self.step = self._step()
        self.forward_at_means: Forward = self._compiled(partial(at_means, self.model), config.eval_batch_size)

    def _compiled(self, forward: LossOrForward, batch_size: int) -> LossOrForward:
        """The same function, compiled where that pays."""
        return CompiledForward(self.model, forward, batch_size) if self.is_compiled else forward

    def _step(self) -> Step:
        """The training step, as fast as this machine does it."""
        batch_size = self.config.batch_size
        loss_of = self.ranks.shared(self.model, self._compiled(partial(training_loss, self.model), batch_size))
        step = partial(training_step, loss_of, self.optimizer)
        return RecordedStep(step, batch_size, self.device) if self.is_recorded else step

    @property
    def data_facts(self) -> dict[str, Any]:
        """What tells other images from these: of own ones a checksum, not names, as they may be moved."""
        facts = dataclasses.asdict(self.model.spec) | {"n_classes": self.model.spec.n_classes}
        return {key: value for key, value in facts.items() if key not in ("name", "class_names")}

    @property
    def schedule(self) -> Config:
        """The settings by which facets are faded in and led."""
        return replace(self.config, n_epochs=self.n_epochs_planned)

    @property
    def how(self) -> str:
        """How this machine computes, for the console: 'fp32', 'bf16, compiled', ..."""
        words = [self.precision, "compiled" * self.is_compiled, "as a CUDA graph" * self.is_recorded]
        words += [] if self.ranks.is_alone else [f"in {self.ranks.size} processes"]
        return ", ".join(word for word in words if word)

    def initialise(self, train: Split) -> None:
        """Data-dependent weights and the mixture's means, before the first epoch."""
        self.codes = initialise(self.model, train, self.config, self.order)


# --- steps


def training_loss(
    model: MFCVAE, images: Tensor, coefficients: Tensor, codes: Tensor | None = None
) -> tuple[Tensor, StepResult]:
    """The loss () at z_j ~ q(z_j | x), and what the epoch remembers.

    images: (B, C, H, W) uint8; coefficients: (6, J); codes: (B, J) int64 where training is guided.
    """
    by_name = Coefficients(*coefficients.unbind())
    _, z, _, terms = model(to_float(images), by_name)
    loss = terms.loss if codes is None else terms.loss + model.guidance(z, codes, by_name)
    with torch.no_grad():
        scalars = torch.stack([getattr(terms, name).sum() for name in SCALAR_TERMS])
        clusters = torch.stack([q.argmax(dim=1) for q in terms.q_c_x], dim=1)  # (B, J)
    return loss, StepResult(scalars, clusters)


def training_step(loss_of: Loss, optimizer: torch.optim.Optimizer, *inputs: Tensor) -> StepResult:
    """One step of the optimiser. inputs: those of training_loss."""
    optimizer.zero_grad(set_to_none=True)  # before the forward pass, which needs the memory
    loss, result = loss_of(*inputs)
    loss.backward()
    optimizer.step()
    return result


def train_epoch(training: Training, dataset: Dataset, epoch: int) -> dict[str, float]:
    """One epoch of training: the mean loss and its terms, and the scores of the clusters met on the way.

    Everything stays on the device until the epoch is over: the host only asks for the next step.
    """
    config, train, device = training.config, replace(dataset.train, codes=training.codes), training.device
    ranks, n_batches = training.ranks, n_batches_per_epoch(config, len(train))
    schedule = epoch_coefficients(training.schedule, epoch, n_batches).to(device)
    sums = torch.zeros(len(SCALAR_TERMS), device=device)
    clusters = torch.zeros(len(train), config.J_n_mixtures, dtype=torch.long, device=device)
    labels = torch.zeros_like(train.labels, device=device)
    training.model.train()
    batches = training_batches(train, config.batch_size, training.order, device, ranks.own)
    places = ranks.places(len(train), config.batch_size)
    for batch, coefficients, rows in zip(batches, schedule, places, strict=True):
        codes = [] if batch.codes is None else [batch.codes]
        result = training.step(batch.images, coefficients, *codes)
        sums += result.terms * len(batch)
        clusters[rows], labels[rows] = result.clusters, batch.labels
    ranks.add_up(sums, clusters, labels)
    means = dict(zip(SCALAR_TERMS, (sums / len(train)).tolist(), strict=True))
    if not means["loss"] < float("inf"):
        advice = advice_on_loss(config, training.precision, train.images)
        raise UserError(f"the loss is {means['loss']} in epoch {epoch}; {advice}")
    found = split_labels(Split(torch.empty(0), labels), dataset.spec)
    numbers = summarise("train", clusters.cpu().numpy(), found, weighted=not dataset.spec.has_even_classes)
    terms = {loss_term_name(name): value for name, value in means.items()}
    return {Metric("loss", "train").name: means["loss"]} | terms | numbers


def evaluate(training: Training, dataset: Dataset, coefficients: Coefficients) -> dict[str, float]:
    """Loss, scores and health on the test split, z taken at the mean of q(z|x)."""
    config, model, test = training.config, training.model, evaluated_images(training.config, dataset)
    predictions, terms = predict_with_terms(
        model, test.images, coefficients, config.eval_batch_size, training.forward_at_means
    )
    labels = split_labels(test, dataset.spec)
    numbers = summarise("test", predictions.clusters, labels, weighted=not dataset.spec.has_even_classes)
    confidences = enumerate(predictions.confidences.mean(axis=0).tolist())
    numbers |= {Metric("confidence", facet=j).name: confidence for j, confidence in confidences}
    health = measure_health(model, test.images, coefficients, config.eval_batch_size)
    return {Metric("loss").name: terms["loss"]} | numbers | {metric.name: value for metric, value in health.items()}


def draw(training: Training, dataset: Dataset, coefficients: Coefficients) -> Iterator[tuple[str, Figure]]:
    """The figures of one epoch under their logged names, one after another: only one is held at a time.

    They observe: nothing of the training changes.
    """
    config, model = training.config, training.model
    with preserved_random_state():
        if config.do_vis_train:
            yield from split_figures(observe(model, config, dataset, "train", coefficients))
        if config.do_vis_test:
            yield from split_figures(observe(model, config, dataset, "test", coefficients))
        if config.do_vis_sample_generations_per_cluster:
            yield from generation_figures(model, config, coefficients)


# --- the run


def train_loop(training: Training, dataset: Dataset, folder: RunFolder, tracker: Tracker, first_epoch: int) -> None:
    """All epochs that are left. Epoch 0 evaluates the initialised model; the others train, then evaluate.

    The state at the end of the last whole epoch is saved every few epochs, and when interrupted.
    """
    config = training.config
    n_batches = n_batches_per_epoch(config, len(dataset.train))
    progress = EpochProgress(config, first_epoch, folder.read_metrics())
    last = config.n_epochs - 1
    state = None
    try:
        for epoch in progress:
            if (facet := joining_facet(config, epoch)) is not None:
                progress.say(f"facet {facet} joins in epoch {epoch}, fading in over {config.n_batches_fade_in} batches")
            started = time.monotonic()
            numbers: dict[str, float] = {"epoch": epoch, "epoch_lr": config.init_lr}
            if epoch > 0:
                with training.ranks.watched():
                    numbers |= train_epoch(training, dataset, epoch)
            coefficients = progressive_coefficients(training.schedule, epoch, 0, n_batches).on(training.device)
            if config.do_test_during_training or epoch in (0, last):
                numbers |= evaluate(training, dataset, coefficients)
            numbers["epoch_seconds"] = time.monotonic() - started
            if epoch == last:
                numbers |= baselines(config, dataset.train, evaluated_images(config, dataset), dataset.spec)
            is_shown = are_due(epoch, last, config.vis_every_n_epochs)
            tracker.log(epoch, numbers, draw(training, dataset, coefficients) if is_shown else ())
            state = None  # one copy at a time
            state = state_of(training, epoch)
            if epoch % config.checkpoint_every_n_epochs == 0 or epoch == last:
                folder.save_checkpoint(state)
            progress.update(epoch, numbers)
            if is_shown and epoch > 0 and (health := describe_health(numbers, coefficients)):
                progress.say(health)
    except BaseException as error:
        if is_interruption(error) and state is not None:
            folder.save_checkpoint(state)
        raise
    finally:
        progress.close()


def say(config: Config, text: str) -> None:
    """Print a line, unless --quiet."""
    if not config.quiet:
        print(text, flush=True)


def finish(training: Training, dataset: Dataset, folder: RunFolder) -> None:
    """Write the model and say what it reached and where everything is."""
    config = training.config
    say(config, f"\nfinished: {folder.shown}")
    if config.save_model:
        copy = save_copy(training.model, config, folder.path) if config.copy_model else None
        save_model(training.model, config, folder.model_path)  # last: it marks the run as finished
        if folder.is_kept:
            say(config, f"model:    {folder.model_path}{f', also at {copy}' if copy else ''}")
    say(config, report(folder.read_metrics()[-1], config, dataset.spec) + page_line(folder))


def begin(training: Training, dataset: Dataset, folder: RunFolder) -> int:
    """Initialise the run of a folder, or restore where it stopped; the first epoch that is left."""
    state = folder.load_checkpoint()
    if state is not None:
        return restore(training, state, folder.checkpoint_path)
    if folder.model_path.exists():
        raise UserError(f"{folder.path} holds a finished model but no checkpoint.pt; --overwrite trains it again")
    training.initialise(dataset.train)
    return 0


def train_run(training: Training, dataset: Dataset, folder: RunFolder) -> int:
    """Start the run of a folder, or go on with it; the exit status."""
    config = training.config
    first_epoch, ranks = begin(training, dataset, folder), training.ranks
    folder.forget_after(first_epoch - 1)
    folder.write_config(config, dataset.source)
    if first_epoch == config.n_epochs and (not config.save_model or is_model_of(folder.model_path, config.n_epochs)):
        ranks.take_up(training, None)
        say(config, f"already finished: {folder.path}; more epochs continue it, --overwrite trains it again")
        say(config, report(folder.read_metrics()[-1], config, dataset.spec) + page_line(folder))
        return 0
    warn_of_unfinished_fade_in(config, n_batches_per_epoch(config, len(dataset.train)))
    verb = "resuming" if first_epoch else "starting"
    what = f"{folder.shown} on {training.device} in {training.how}"
    say(config, f"{verb} {what}, epoch {first_epoch} of {config.n_epochs - 1}")
    ranks.take_up(training, first_epoch)
    tracker = Tracker(config, folder)
    if not training.is_recorded:  # a CUDA graph keeps its gradients to itself
        tracker.watch(training.model)
    exit_code = 1
    try:
        train_loop(training, dataset, folder, tracker, first_epoch)
        exit_code = 0
        tracker.log_page(write_run_page(training.model, config, dataset, folder))
    except KeyboardInterrupt:
        goes_on = "; the same command (without --overwrite) continues it" if folder.is_kept else ""
        say(config, f"\ninterrupted: {folder.shown}{goes_on}")
        return INTERRUPTED
    finally:
        tracker.finish(exit_code)
    finish(training, dataset, folder)
    return 0


def train(config: Config, own: OwnImages | None = None, is_kept: bool = True) -> int:
    """Train the model of a configuration, or go on with it; the exit status.

    own: images that are in memory already, in the place of those that the settings name.
    is_kept: whether the folder of the run outlives this program.

    Raises:
        UserError: a device, images or a folder that will not do; a loss that is not finite.
    """
    with joined_ranks(config) as ranks:
        dataset = ranks.agree(partial(load_dataset, config, ranks.device, own))
        ranks.check(config, dataset)
        ranks.agree(partial(check_memory, config, dataset.spec, ranks.device))
        training = Training(config, dataset.spec, ranks.device, ranks)
        if not ranks.is_first:
            return ranks.follow(training, partial(train_epoch, training, dataset))
        with closing(RunFolder.open(config, is_kept)) as folder, signals_as_interrupt():
            return train_run(training, dataset, folder)


def show_plan(config: Config) -> None:
    """Print what a run of this configuration is going to do (--dry_run)."""
    spec = dataset_spec(config)
    check_counts(config, spec.n_train, spec.n_test)
    n_batches = n_batches_per_epoch(config, spec.n_train)
    print(describe_plan(config, spec, empty_model(config, spec), n_batches))
    warn_of_unfinished_fade_in(config, n_batches)


def run_config(argv: Sequence[str] | None = None) -> Config:
    """Resolve the settings of a run; those of the model that it continues from are weaker than a file's and flags."""
    flags = parse_flags(argv)
    file = file_settings(flags)
    start = flags.get("continue_from") or file.get("continue_from")
    return resolve(settings_of_start(str(start), file) if start else file, flags, {})


def main(argv: Sequence[str] | None = None) -> int:
    """Read words: settings, and whether to train or only to show the plan."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    config = run_config(argv)
    if config.quiet:
        logging.getLogger().setLevel(logging.WARNING)
    warn_of_flags_without_effect(argv, config)
    if config.dry_run:
        show_plan(config)
        return 0
    if not (sys.argv[1:] if argv is None else argv):
        print(describe_start(config))
    return train(config)


if __name__ == "__main__":
    run_script(main)

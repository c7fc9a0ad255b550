"""What an epoch reached: logged to the run's folder and to Weights & Biases, shown on the console."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn
from tqdm.auto import tqdm

from config import Config
from evaluation.metric_names import Metric
from plotting import save_figure
from tracking.run_folder import RunFolder
from tracking.weights_and_biases import WandbRun

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ACCURACY = Metric("facet_acc_max").name


def save_figures(figures: Iterable[tuple[str, Figure]], folder: Path) -> dict[str, Path]:
    """Write each named figure and empty it, one after another; name -> file."""
    paths: dict[str, Path] = {}
    for name, figure in figures:
        paths[name] = folder / f"{name.replace('/', '_')}.png"
        save_figure(figure, paths[name])
        figure.clear()
    return paths


class Tracker:
    """Logs numbers and figures of a run to its folder and to Weights & Biases."""

    def __init__(self, config: Config, folder: RunFolder):
        self.folder = folder
        self.wandb = WandbRun.start(config, folder.path)

    def watch(self, model: nn.Module) -> None:
        """Tell Weights & Biases the gradients of all parameters from now on, once an epoch."""
        self.wandb.watch(model)

    def log(self, epoch: int, numbers: Mapping[str, float], figures: Iterable[tuple[str, Figure]]) -> None:
        """One epoch: numbers and figures under their logged names. A figure is empty once it is saved."""
        images = save_figures(figures, self.folder.path / "figures" / f"epoch_{epoch:04d}")
        self.folder.append_metrics(numbers)
        self.wandb.log(epoch, numbers, images)

    def log_page(self, path: Path | None) -> None:
        """The page of the finished run, if it has one."""
        if path is not None:
            self.wandb.log_page(path)

    def finish(self, exit_code: int) -> None:
        """End the log; any exit code but 0 marks the run as failed."""
        self.wandb.finish(exit_code)


class EpochProgress:
    """A bar over the epochs with loss, best accuracy and time left; plain lines outside of terminals and notebooks."""

    def __init__(self, config: Config, first: int, before: list[dict[str, Any]]):
        """first: the epoch to begin with. before: the epochs logged earlier, for the best accuracy."""
        self.first, self.n_epochs, self.is_quiet = first, config.n_epochs, config.quiet
        accuracies = [row[ACCURACY] for row in before if ACCURACY in row and row["epoch"] > 0]
        self.best = max(accuracies, default=float("nan"))
        self.started = time.monotonic()
        is_notebook = any("notebook" in base.__module__ for base in tqdm.__mro__)  # what tqdm.auto has chosen
        self.has_bar = not self.is_quiet and (is_notebook or sys.stderr.isatty())
        self.bar = tqdm(total=self.n_epochs, initial=first, unit="epoch", disable=not self.has_bar, dynamic_ncols=True)

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.first, self.n_epochs))

    def update(self, epoch: int, numbers: Mapping[str, float]) -> None:
        """Show one finished epoch."""
        loss = numbers.get(Metric("loss").name, numbers.get(Metric("loss", "train").name, float("nan")))
        accuracy = numbers.get(ACCURACY, numbers.get(Metric("facet_acc_max", "train").name))
        shown = {"loss": f"{loss:.2f}"}
        if accuracy is not None:
            shown["acc"] = f"{accuracy:.4f}"
        if accuracy is not None and epoch > 0:  # before, the mixtures fit an untrained model, well by chance at times
            self.best = accuracy if self.best != self.best else max(self.best, accuracy)
            shown["best"] = f"{self.best:.4f}"
        self.bar.set_postfix(shown, refresh=False)
        self.bar.update()
        if not self.has_bar and not self.is_quiet:
            done = epoch + 1 - self.first
            left = (time.monotonic() - self.started) / done * (self.n_epochs - epoch - 1)
            words = "  ".join(f"{key} {value}" for key, value in shown.items())
            print(f"epoch {epoch:4d} of {self.n_epochs - 1}  {words}  {left / 60:.1f} min left", flush=True)

    def say(self, text: str) -> None:
        """Print a line beside the bar."""
        if not self.is_quiet:
            tqdm.write(text) if self.has_bar else print(text, flush=True)

    def close(self) -> None:
        """Leave the bar as it stands."""
        self.bar.close()

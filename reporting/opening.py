"""From a model, or from a run that ends, to its page."""

from __future__ import annotations

from interrupts import is_interruption

import logging
from pathlib import Path

from config import Config
from datasets import Dataset
from evaluation.predictions import Observed, observe
from mfcvae import MFCVAE
from reporting.collecting import collect
from reporting.curves import Rows
from reporting.maps import Method
from reporting.writing import write_page
from tracking.run_folder import RunFolder, read_metrics
from utils import one_line, preserved_random_state

log = logging.getLogger(__name__)


def run_rows(model_path: Path) -> Rows:
    """The epochs of the run that a model lies in; none where it lies elsewhere."""
    path = model_path.parent / "metrics.jsonl"
    return read_metrics(path) if path.is_file() else []


def write_report(observed: Observed, path: Path, rows: Rows = (), method: Method = "pca") -> None:
    """Write the page of a split. Nothing of the model and of global random states changes."""
    with preserved_random_state():
        content = collect(observed, rows, method)
    write_page(content, path)


def write_run_page(model: MFCVAE, config: Config, dataset: Dataset, folder: RunFolder) -> Path | None:
    """Write the page of a trained run; None where it is switched off, or fails, which costs the run nothing else."""
    if not config.report:
        return None
    try:
        write_report(observe(model, config, dataset, "test"), folder.report_path, folder.read_metrics())
    except Exception as error:  # whatever it is, there is still a model to be saved
        if is_interruption(error):
            raise
        again = f"python report.py --model_path {folder.model_path}"
        log.warning("no page of the run (%s: %s); try again by %s", type(error).__name__, one_line(error), again)
        return None
    return folder.report_path


def page_line(folder: RunFolder) -> str:
    """Where the page of a run is, as the last line of what is printed; nothing where there is none."""
    return f"\n{folder.report_path}" if folder.report_path.exists() else ""

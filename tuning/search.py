"""The whole search: two stages, several processes, one data base; what was found is written and explained."""

from __future__ import annotations

from interrupts import run_script, signals_as_interrupt

import dataclasses
import logging
import multiprocessing
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

import torch
import yaml
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from config import Config
from datasets import load_dataset
from readers.disk_images import on_host
from settings.comparing import MAY_CHANGE_ON_RESUME
from sweeps.database import Database
from train import INTERRUPTED
from tuning.halves import Halves
from tuning.options import TuneOptions
from tuning.report import reasons, table
from tuning.study import FINISHED, ClusterSearch, Search, TrainingSearch, Tried
from tuning.trained import with_choice
from utils import UserError, check_replaceable, make_folder, write_atomically

CLUSTERS_SHARE = 0.6
"""Of the time: for numbers of clusters; the rest is for trainings of the best."""
FIRST_LINE = "# settings that tune.py has chosen"
"""Of the file that it writes."""
MIN_IMAGES = 20
"""Training images without which nothing is searched: halves of ten hold no more than a few clusters."""
BAR = "{l_bar}{bar}| {n_fmt} of {total_fmt} s{postfix}"


def tune(config: Config, options: TuneOptions) -> int:
    """Search as long as the time lasts, write the settings that are best, and say why; the exit status.

    Raises:
        UserError: images, settings or a data base that will not do; time for no trial.
    """
    if config.init_type_p_z_c != "factorial":
        raise UserError(
            f"init_type_p_z_c = {config.init_type_p_z_c}: tune.py tries trainings whose facets start from a factorial "
            "clustering; give --config_args_path configs/folder.yml"
        )
    folder = Path(config.results_dir) / f"{config.data_name}_tune"
    if config.dry_run:
        limits = f"J from 1 to {options.max_facets}, K_j from 2 to {options.max_clusters}"
        print(f"{folder}: {limits}; minutes: {options.minutes}, workers: {options.workers}")
        return 0
    make_folder(folder)
    output = Path(options.output) if options.output else folder / "tuned.yml"
    make_folder(output.absolute().parent)
    check_replaceable(output, "a file of tune.py", FIRST_LINE.encode())
    address = options.storage or Database.of_file(folder / "tune.db").address
    options = dataclasses.replace(options, storage=address)
    try:
        _work_together(config, options, 0, 60 * options.minutes * CLUSTERS_SHARE)
        logging.disable(logging.INFO)  # the images were named, and every training would say what it starts from
        best = _work_together(config, options, 1, 60 * options.minutes * (1 - CLUSTERS_SHARE))
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on")
        return INTERRUPTED
    finally:
        logging.disable(logging.NOTSET)
    settings = chosen_settings(config, best[0])
    text = f"{FIRST_LINE}\n{yaml.safe_dump(settings, sort_keys=False)}"
    write_atomically(output, lambda path: path.write_text(text))
    print(f"\n{table(best)}\n\n{reasons(best)}\n\nsettings: {output}")
    return 0


def chosen_settings(config: Config, best: Tried) -> dict[str, object]:
    """All settings that train.py reads from a file, with those that were chosen."""
    chosen = with_choice(config, best.choice)
    if best.choice.sigma_factor != 1:
        chosen = dataclasses.replace(chosen, sigma_multiplier_p_x_z=round(best.facts["sigma"], 4))
    of_machine = MAY_CHANGE_ON_RESUME - {"data_dir"}
    return {name: value for name, value in dataclasses.asdict(chosen).items() if name not in of_machine}


def open_search(config: Config, options: TuneOptions, stage: int) -> Search:
    """The search of a stage: 0 for clusters, 1 for trainings of the best of them.

    Raises:
        UserError: there are too few images, or what load_dataset and Search raise.
    """
    fewest = dataclasses.replace(config, n_clusters_j_list=[2] * config.J_n_mixtures)  # the search has its own
    dataset = load_dataset(fewest, torch.device("cpu"))
    if len(dataset.train) < MIN_IMAGES:
        raise UserError(
            f"{config.data_name}: {len(dataset.train)} images to train on are too few to learn from each half of them; "
            f"tune.py needs at least {MIN_IMAGES}"
        )
    halves = Halves(on_host(dataset.train.images), dataset.spec, config.seed)
    database = Database(options.storage or "")
    clusters = ClusterSearch(config, halves, database, options.max_facets, options.max_clusters)
    return TrainingSearch(config, halves, database, clusters.tried()) if stage else clusters


# --- workers


def _work_together(config: Config, options: TuneOptions, stage: int, seconds: float) -> list[Tried]:
    """Work on a stage in this process and in others, until its time is spent; what was tried, the best first."""
    search = open_search(config, options, stage)
    n_others = 0 if search.seconds() >= seconds * options.workers else options.workers - 1
    context = multiprocessing.get_context("spawn")
    others = [context.Process(target=_work, args=(config, options, stage, seconds, i + 1)) for i in range(n_others)]
    try:
        for other in others:
            other.start()
        with tqdm(total=round(seconds), desc=search.stage, bar_format=BAR) as bar:
            _work_on(search, options.workers, seconds, 0, partial(_show, bar))
    except BaseException:
        for other in others:
            other.terminate()
        raise
    finally:
        for other in others:
            other.join()
    tried = search.tried()
    if not tried:
        reason = f": {search.errors()[-1]}" if search.errors() else ""
        raise UserError(f"no trial of {search.stage} came to its end{reason}; give more --minutes")
    return tried


def _work(config: Config, options: TuneOptions, stage: int, seconds: float, worker: int) -> None:
    """What another process does."""
    logging.disable(logging.INFO)
    run_script(lambda: _work_on(open_search(config, options, stage), options.workers, seconds, worker))


def _work_on(
    search: Search,
    n_workers: int,
    seconds: float,
    worker: int,
    show: Callable[[float, Sequence[Tried]], None] = lambda spent, best: None,
) -> None:
    """Try one choice after another, until the workers have spent so many seconds each."""
    n_threads = max(1, torch.get_num_threads() // n_workers)
    torch.set_num_threads(n_threads)
    with signals_as_interrupt(), threadpool_limits(n_threads):
        while (spent := search.seconds() / n_workers) < seconds:
            show(spent, search.tried())
            search.step(seed=(search.config.seed + 1000 * len(search.trials(*FINISHED)) + worker) % 2**32)
        show(seconds, search.tried())


def _show(bar: tqdm[NoReturn], spent: float, best: Sequence[Tried]) -> None:
    """Move the bar to the seconds spent, and name the best choice."""
    bar.update(round(spent) - bar.n)
    if best:
        bar.set_postfix_str(f"{len(best)} choices, best {list(best[0].choice.n_clusters)}")

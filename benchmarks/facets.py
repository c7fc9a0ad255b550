"""How well facets find the labels of images, beside other clustering methods.

    python benchmarks/facets.py --data_dir DIR                                # everything, seeds 0 to 4
    python benchmarks/facets.py --sets coloured_digits --methods kmeans_pca   # needs no file and no other package

Every method clusters the same training images of each set and seed, and is scored on the same held-out fifth. A line of
--results is one run of one method; the same command goes on where it stopped. A table and a figure of all lines are
written beside it. benchmarks/README.md says what is measured, and how each method is set.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # the scripts lie flat at the top, not in a package

from interrupts import run_script  # noqa: E402

from benchmarks.facet_ours import N_CLUSTERS, cluster_by_codes, cluster_by_facets  # noqa: E402
from benchmarks.facet_peers import METHODS as PEERS  # noqa: E402
from benchmarks.facet_peers import lacks_clustpy  # noqa: E402
from benchmarks.facet_results import Record, append_result, label_scores, read_results  # noqa: E402
from benchmarks.facet_sets import SETS, FacetSet, load_set, set_path  # noqa: E402
from benchmarks.facet_summary import figure_of, results_table  # noqa: E402
from benchmarks.train_speed import commit, hardware  # noqa: E402
from flags import FlagParser, non_negative_int  # noqa: E402
from plotting import save_figure  # noqa: E402
from utils import UserError, make_folder, one_line, resolve_device, write_atomically  # noqa: E402

METHODS = (*PEERS, "codes", "ours")


class Task(NamedTuple):
    """What one line of the results is about."""

    method: str
    seed: int
    set: str


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is missing, and summarise all that is there."""
    arguments = parse_arguments(argv)
    make_folder(arguments.results.parent)
    done = {Task(r["method"], r["seed"], r["set"]) for r in read_results(arguments.results)}
    wanted = itertools.starmap(Task, itertools.product(arguments.methods, arguments.seeds, arguments.sets))
    tasks = [task for task in wanted if task not in done]
    refuse_what_lacks_clustpy(tasks)
    paths = {name: set_path(name, arguments.data_dir, arguments.made_dir) for name in {task.set for task in tasks}}
    made_by = {"hardware": hardware(resolve_device("auto")), "commit": commit()}
    for i, task in enumerate(tasks, start=1):
        record = run_task(task, paths[task.set], arguments.results.parent) | made_by
        append_result(arguments.results, record)
        print(f"{i} of {len(tasks)}: {describe(record)}", flush=True)
    summarise(arguments.results)
    return 0


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The flags, by their names."""
    parser = FlagParser(__doc__)
    add = parser.add_argument
    add("--methods", nargs="+", choices=METHODS, default=METHODS, help=f"any of {', '.join(METHODS)} [all]")
    add("--sets", nargs="+", choices=SETS, default=tuple(SETS), help=f"any of {', '.join(SETS)} [all]")
    add("--seeds", nargs="+", type=non_negative_int, default=range(5), help="of the split and the method [0 to 4]")
    add("--data_dir", type=Path, default=Path("data"), help="folder of the .npz files of the sets [data]")
    add("--made_dir", type=Path, default=Path("data"), help="folder for the sets that are made here [data]")
    add("--results", type=Path, default=Path("results/facets.jsonl"), help="file of the runs [results/facets.jsonl]")
    return parser.parse_args(argv)


def refuse_what_lacks_clustpy(tasks: Sequence[Task]) -> None:
    """Says so before anything is run."""
    lacking = sorted({task.method for task in tasks if task.method in PEERS and lacks_clustpy(task.method)})
    if lacking:
        others = " ".join(name for name in METHODS if name not in lacking)
        raise UserError(
            f"{', '.join(lacking)}: ClustPy is not installed; run pip install -r benchmarks/requirements.txt, or leave "
            f"them out by --methods {others}"
        )


def run_task(task: Task, path: Path, results_dir: Path) -> Record:
    """One run: its scores, or why it failed. Processor time includes that of finished processes it started."""
    data = load_set(path, task.seed)
    started, times = time.perf_counter(), os.times()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # libraries' advice is for who writes such code
            clusters = held_out_clusters(task, data, path, results_dir)
        is_single = task.method in PEERS and PEERS[task.method].is_single
        found: dict[str, Any] = {"labels": label_scores(clusters, data.labels, is_single)}
    except Exception as error:  # a peer may fail in any way: that is a result
        found = {"error": f"{type(error).__name__}: {one_line(error)}"}
    return {
        **task._asdict(),
        **found,
        "seconds": round(time.perf_counter() - started, 2),
        "cpu_seconds": round(sum(os.times()[:4]) - sum(times[:4]), 2),
        "n_train": len(data.train),
        "n_test": len(data.test),
    }


def held_out_clusters(task: Task, data: FacetSet, path: Path, results_dir: Path) -> np.ndarray:
    """(M, C): the cluster of each held-out image in each clustering."""
    if task.method == "ours":
        return cluster_by_facets(path, task.seed, N_CLUSTERS[task.set], results_dir / "facets")
    if task.method == "codes":
        return cluster_by_codes(data, task.seed, N_CLUSTERS[task.set])
    return PEERS[task.method].cluster(data, task.seed)


def describe(record: Record) -> str:
    """A run in a line."""
    found = record.get("error") or ", ".join(f"{name} {s['ami']:.2f}" for name, s in record["labels"].items())
    return f"{record['method']}, {record['set']}, seed {record['seed']}: {found} ({record['seconds']:.0f} s)"


def methods_in(records: Sequence[Record]) -> list[str]:
    """Those that were run, in the order of METHODS."""
    return [name for name in METHODS if any(record["method"] == name for record in records)]


def summarise(results: Path) -> None:
    """Write the table and the figure of a results file beside it."""
    records = read_results(results)
    methods = methods_in(records)
    table = results_table(records, methods)
    write_atomically(results.with_suffix(".md"), lambda path: path.write_text(table))
    save_figure(figure_of(records, methods), results.with_suffix(".png"))
    print(f"\n{table}\ntable: {results.with_suffix('.md')}, figure: {results.with_suffix('.png')}")


if __name__ == "__main__":
    run_script(main)

"""What the README promises is there: files, numbers, a picture soon; and scripts hold together."""

from __future__ import annotations

import csv
import os
import re
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
import yaml

from sweeps.published import PUBLISHED

HERE = Path(__file__).resolve().parent.parent
README = (HERE / "README.md").read_text()
RESULTS = (HERE / "docs/results.md").read_text()


def test_every_file_that_is_named_exists():
    named = set(re.findall(r"[\w./-]+\.(?:py|sh|yml|md|toml|txt|png|pdf|cff|pt|csv)\b", README))
    made_by_users_or_runs = re.compile(
        r"(config|metrics|checkpoint|save_dict|clusters|labels|cat/01|model|wandb\.local|sweep|summary|curves)\.\w+$|results/|new_trained|_published\.pt"
    )
    missing = [
        name for name in named if not made_by_users_or_runs.search(name) and not any(HERE.glob(name.lstrip("./")))
    ]
    assert len(named) > 20
    assert missing == []


def test_the_tables_of_results_are_those_of_the_runs_behind_them():
    """Published and reached means in README and docs/results.md, every seed's accuracy in the latter."""
    accuracies = defaultdict(dict)
    with (HERE / "benchmarks/reproduced.csv").open(newline="") as file:
        for run in csv.DictReader(file):
            accuracies[run["experiment"], run["label"]][run["seed"]] = float(run["accuracy"])
    for experiment, labels in PUBLISHED.items():
        for label, published in labels.items():
            seeds = accuracies.pop((experiment, label), {})
            of_published = f"| {published.mean:.2f} ({published.sd:.2f}) |"
            short, long = ([row for row in page.splitlines() if of_published in row] for page in (README, RESULTS))
            assert len(short) == len(long) == 1
            for row in short + long:
                assert reached(list(seeds.values())) in row
            assert all(f"{seed}: {accuracy:.2f}" in long[0] for seed, accuracy in seeds.items())
    assert not accuracies


def reached(accuracies: list[float]) -> str:
    """What stands in a table: mean (sd) of n."""
    if not accuracies:
        return "not run"
    return f"{statistics.mean(accuracies):.2f} ({statistics.pstdev(accuracies):.2f}) of {len(accuracies)}"


def test_a_newcomer_sees_a_picture_soon():
    """Within 60 lines and three commands; the whole README has no more than 200 lines."""
    lines = README.splitlines()
    assert len(lines) <= 200
    first = next(i for i, line in enumerate(lines) if "test_vis_facet_0_examples.png" in line or "report.html" in line)
    assert first <= 60
    before = "\n".join(lines[:first])
    blocks = re.findall(r"```bash\n(.*?)```", before, flags=re.DOTALL)
    assert len([line for block in blocks for line in block.splitlines()]) <= 3


def test_shell_scripts_can_be_run_and_stop_at_the_first_failure():
    scripts = sorted((HERE / "shell_scripts").glob("*.sh"))
    assert len(scripts) >= 4
    for script in scripts:
        assert os.access(script, os.X_OK), script
        assert "set -euo pipefail" in script.read_text(), script


@pytest.mark.slow
def test_a_run_script_works_from_any_directory(tmp_path):
    command = [str(HERE / "shell_scripts/run_mnist.sh"), "--dry_run", "--seed", "7"]
    environment = os.environ | {"PYTHON": sys.executable}
    shown = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert "mnist_seed7" in shown.stdout


def test_the_slurm_script_queues_a_stopped_run_again_and_no_other(tmp_path):
    """srun and scontrol are stand-ins: the one says how the run ended, the other notes what it was told."""
    for name, content in (("srun", 'exit "$STATUS"'), ("scontrol", 'echo "$@"')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{content}\n")
        (tmp_path / name).chmod(0o755)
    for status, said in ((0, ""), (2, ""), (130, "requeue 17\n")):
        environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "STATUS": str(status), "SLURM_JOB_ID": "17"}
        command = [str(HERE / "shell_scripts/slurm.sh")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (status, said)


def test_wandb_configuration_holds_no_key():
    settings = yaml.safe_load((HERE / "configs/wandb.yml").read_text())
    assert not settings["login_key_1"]
    assert not settings["login_key_2"]

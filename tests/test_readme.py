"""What the README promises exists: files, scripts, flags, commands; and the configurations and scripts hold together."""

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

from config import Config
from reproduce import PUBLISHED

HERE = Path(__file__).resolve().parent.parent
README = (HERE / "README.md").read_text()


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


def test_every_flag_that_is_named_is_a_setting_or_a_flag_of_another_script():
    flags = set(re.findall(r"(?<![\w-])--([a-z]\w*)", README)) - {"help"}
    others = {
        name
        for path in [*HERE.glob("*.py"), *HERE.glob("*/*.py")]
        for name in re.findall(r'"--(\w+)"', path.read_text())
    }
    assert len(flags) > 5
    assert flags - set(Config.__pydantic_fields__) - others == set()


def test_every_make_target_that_is_named_exists():
    named = set(re.findall(r"`make ([\w-]+)`|^make ([\w-]+)", README, flags=re.MULTILINE))
    rules = re.findall(r"^(?!\.)([\w -]+):", (HERE / "Makefile").read_text(), flags=re.MULTILINE)
    targets = {target for rule in rules for target in rule.split()}
    assert {"demo", "test", "graphics", "reproduce-mnist"} <= {a or b for a, b in named} <= targets


def test_the_results_table_is_that_of_the_runs_behind_it():
    """Published and reached means; and every seed's accuracy, of benchmarks/reproduced.csv."""
    accuracies = defaultdict(dict)
    with (HERE / "benchmarks/reproduced.csv").open(newline="") as file:
        for run in csv.DictReader(file):
            accuracies[run["experiment"], run["label"]][run["seed"]] = float(run["accuracy"])
    for experiment, labels in PUBLISHED.items():
        for label, published in labels.items():
            [row] = [line for line in README.splitlines() if f"| {published.mean:.2f} ({published.sd:.2f}) |" in line]
            seeds = accuracies.pop((experiment, label), {})
            if len(seeds) > 1:
                mean, sd = statistics.mean(seeds.values()), statistics.pstdev(seeds.values())
                assert f"**{mean:.2f}** ({sd:.2f})" in row
                assert all(f"{seed}: {accuracy:.2f}" in row for seed, accuracy in seeds.items())
            elif seeds:
                assert all(f"**{accuracy:.2f}**, seed {seed} alone" in row for seed, accuracy in seeds.items())
            else:
                assert "not run" in row
    assert not accuracies


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

"""What a new user tries first: the README's snippet runs; what is installed suffices."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib

import pytest
from test_architecture import ROOMS, ROOT, imported


def first_snippet() -> str:
    """The first lines of Python in the README."""
    return re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]


def elsewhere(**variables: str) -> dict[str, str]:
    """The environment of a program outside of the project's folder, to which the project is installed."""
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | variables


def test_the_readmes_first_snippet_is_short():
    lines = [line for line in first_snippet().splitlines() if line.strip()]
    assert len(lines) <= 8
    assert "savefig" in lines[-1]


@pytest.mark.slow
def test_the_readmes_first_snippet_runs_from_another_folder(tmp_path):
    """But for its length."""
    short = first_snippet().replace("n_clusters=10)", "n_clusters=10, n_epochs=2)")
    assert short != first_snippet()
    done = subprocess.run(
        [sys.executable, "-c", short],
        cwd=tmp_path,
        env=elsewhere(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "clusters.png").stat().st_size > 10_000


def needed_rooms(*starts: str) -> set[str]:
    """The files and folders at the top that these modules import, and what those do."""
    found, todo = set(), list(starts)
    while todo:
        if (name := todo.pop()) not in found:
            found.add(name)
            files = [ROOT / f"{name}.py"] if (ROOT / f"{name}.py").exists() else (ROOT / name).glob("*.py")
            todo += [room for file in files for room in imported(ast.parse(file.read_text())) if room in ROOMS]
    return found


def test_what_is_installed_is_what_the_estimator_needs():
    installed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert needed_rooms("multi_facet_clustering", "predict") == {*installed["py-modules"], *installed["packages"]}
    assert all((ROOT / name / "__init__.py").exists() for name in installed["packages"])


@pytest.mark.slow
def test_names_that_are_there_are_importable_from_another_folder(tmp_path):
    code = "import multi_facet_clustering as m, sys; print(m.RECIPE.exists(), 'optuna' in sys.modules)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=elsewhere(), capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]

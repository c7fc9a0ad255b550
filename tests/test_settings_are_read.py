"""Every setting is documented in --help, and read by some code."""

from __future__ import annotations

import ast
import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import fast_are

from config import FIELDS, Config, load_config
from settings.command_line import EVERYDAY

ROOT = Path(__file__).resolve().parent.parent
TOLERANCE = 1.5
"""For a machine that is busy, or slower than the one where 0.7 s is asked for."""
NAMES = [field.name for field in dataclasses.fields(Config)]


def test_every_setting_is_in_the_whole_help_with_its_docstring(capsys):
    with pytest.raises(SystemExit) as stopped:
        load_config(["--help_all"])
    assert stopped.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    for name, info in FIELDS.items():
        assert f"--{name} " in shown
        assert info.description, f"{name} has no docstring"
        assert " ".join(info.description.split()) in shown, name


def test_the_help_is_short_and_the_whole_help_in_groups(capsys):
    shown = {}
    for flag in ("--help", "--help_all"):
        with pytest.raises(SystemExit):
            load_config([flag])
        shown[flag] = capsys.readouterr().out
    assert len(shown["--help"].splitlines()) < 60 < len(shown["--help_all"].splitlines())
    everyday = {name for name in FIELDS if f"--{name} " in shown["--help"]}
    assert everyday == set(EVERYDAY)
    groups = [line[:-1] for line in shown["--help_all"].splitlines() if re.fullmatch(r"\w+:", line)]
    assert groups == ["everyday", "run", "data", "model", "schedule", "figures"]


def test_help_imports_nothing_that_takes_seconds():
    command = [sys.executable, "-X", "importtime", str(ROOT / "train.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "--J_n_mixtures" in done.stdout
    assert "pydantic" in imported
    assert not imported & {"torch", "numpy", "matplotlib", "sklearn", "wandb", "optuna"}


SCRIPTS = [path.name for path in sorted(ROOT.glob("*.py")) if "run_script(main)" in path.read_text()]


@pytest.mark.parametrize("script", fast_are(["train.py", "predict.py"], SCRIPTS))
def test_help_of_every_script_is_fast(script):
    """CPU seconds of the process, which others on the machine do not change much."""
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, str(ROOT / script), "--help"], capture_output=True, text=True, timeout=100)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0 and "usage:" in done.stdout
    assert after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime < 0.7 * TOLERANCE


def is_config(node: ast.expr) -> bool:
    """Whether an expression is a Config: a name or an attribute `config`."""
    return (isinstance(node, ast.Name) and node.id == "config") or (
        isinstance(node, ast.Attribute) and node.attr == "config"
    )


def name_pattern(node: ast.expr) -> str:
    """The names that the second argument of getattr may be, as a regular expression; nothing where it is a variable."""
    if isinstance(node, ast.Constant):
        return re.escape(str(node.value))
    if isinstance(node, ast.JoinedStr):
        return "".join(re.escape(part.value) if isinstance(part, ast.Constant) else r"\w+" for part in node.values)
    return "(?!)"


def read_patterns(source: str) -> set[str]:
    """What a source reads of a Config: patterns of `config.<name>`, `self.config.<name>` and getattr(config, ...)."""
    tree = ast.parse(source)
    patterns = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and is_config(node.value):
            patterns.add(re.escape(node.attr))
        is_getattr = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr"
        if is_getattr and is_config(node.args[0]):
            patterns.add(name_pattern(node.args[1]))
    return patterns


def test_the_reader_of_sources_finds_reads_only():
    source = "config.a\nself.config.b\nconfig.c = 1\nother.d\ngetattr(config, f'{part}_dims')\ngetattr(config, 'e')\n"
    patterns = read_patterns(source)
    read = {name for name in ("a", "b", "c", "d", "e", "x_dims") if any(re.fullmatch(p, name) for p in patterns)}
    assert read == {"a", "b", "e", "x_dims"}


def test_every_setting_is_read_somewhere():
    """Checks of settings do not count as reading; properties of Config, which others read, do."""
    patterns = set()
    for path in [*ROOT.glob("*.py"), *(path for path in ROOT.glob("*/*.py") if path.parent.name != "settings")]:
        source = path.read_text()
        if path.name == "config.py":
            (body,) = [node for node in ast.parse(source).body if getattr(node, "name", "") == "Config"]
            source = re.sub(r"\bself\.", "config.", ast.unparse(body))
        patterns |= read_patterns(source)
    unread = [name for name in NAMES if not any(re.fullmatch(pattern, name) for pattern in patterns)]
    assert not unread

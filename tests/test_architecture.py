"""The house: imports run one way, rooms keep to themselves, functions and files stay small (docs/architecture.md)."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS = [
    {"utils"},
    {"interrupts", "flags", "plotting"},
    {"settings"},
    {"config"},
    {"progressive"},
    {"models_fc"},
    {"conv_vlae"},
    {"mfcvae"},
    {"factorial", "readers"},
    {"rendering"},
    {"datasets"},
    {"load_model"},
    {"evaluation"},
    {"tracking"},
    {"reporting"},
    {"speed"},
    {"initialisation"},
    {"train"},
    {"multi_facet_clustering", "sweeps"},
    {"tuning"},
]
"""From the ground up: a module imports from its own room and from lower floors. What is not here is a command, on top."""
TOP = len(FLOORS)
HEIGHT = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}
FOLDERS = tuple(
    path.parent.name for path in ROOT.glob("*/__init__.py") if path.parent.name not in ("tests", "benchmarks")
)
SOURCES = sorted([*ROOT.glob("*.py"), *(path for folder in FOLDERS for path in (ROOT / folder).glob("*.py"))])
ROOMS = {path.stem for path in ROOT.glob("*.py")} | set(FOLDERS)


def room(path: Path) -> str:
    """The file or folder at the top that a source is in."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(tree: ast.Module) -> Iterator[str]:
    """Yield the rooms that a module imports from, those for types alone left out."""
    for_types = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)]
    skipped = {id(child) for node in for_types for child in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))


def test_a_circle_and_an_import_upwards_would_be_seen():
    tree = ast.parse("import sweeps.command\nfrom train import main\ndef f():\n    from evaluation import scores\n")
    assert sorted(imported(tree)) == ["evaluation", "sweeps", "train"]
    assert HEIGHT["sweeps"] > HEIGHT["train"] > HEIGHT["evaluation"]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path):
    here = room(path)
    for other in set(imported(ast.parse(path.read_text()))) & ROOMS - {here}:
        assert HEIGHT.get(other, TOP) < HEIGHT.get(here, TOP + 1), (
            f"{here} is on a lower floor than {other}, or beside it"
        )


def test_the_top_level_is_small():
    assert len(list(ROOT.glob("*.py"))) <= 26


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_are_short(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    long = {f.name: f.end_lineno - f.lineno + 1 for f in functions(ast.parse(text)) if f.end_lineno - f.lineno >= 40}
    assert long == {}


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_room_says_what_lives_there(folder):
    text = (ROOT / folder / "__init__.py").read_text()
    sentence, *reexports = ast.parse(text).body
    assert ast.get_docstring(ast.parse(text)) == sentence.value.value and sentence.lineno == sentence.end_lineno
    assert all(isinstance(node, ast.ImportFrom) for node in reexports) and len(reexports) <= 4


@pytest.mark.parametrize("folder", sorted(set(FOLDERS) - {"docs"}))
def test_the_page_of_the_house_names_every_file_of_a_room_and_no_other(folder):
    page = (ROOT / "docs/architecture.md").read_text()
    paragraph = page.split(f"**{folder}/**")[1].split("\n\n")[0]
    files = {path.stem for path in (ROOT / folder).glob("*.py")} - {"__init__"}
    assert set(re.findall(r"`([a-z0-9_]+)`", paragraph)) == files


def test_the_page_of_the_house_names_every_file_at_the_top_that_is_no_command():
    named = set(re.findall(r"\]\(\.\./(\w+)\.py\)", (ROOT / "docs/architecture.md").read_text()))
    at_the_top = {path.stem for path in ROOT.glob("*.py")}
    assert named <= at_the_top and at_the_top & set(HEIGHT) <= named

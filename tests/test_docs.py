"""What README and docs say holds: commands are understood, links and anchors lead somewhere, no hash stands in prose.

Commands that take minutes, an account or another machine are parsed by the scripts' own parsers instead of run; the demo
and the notebooks are run by tests of their own. OUTSIDE lists what is not ours to parse, each with the reason.
"""

from __future__ import annotations

import importlib
import re
import shlex
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from config import Config, load_config, parse_flags
from docs import site_source
from docs.site_source import linked_files, links, pages
from flags import FlagParser
from utils import UserError

ROOT = Path(__file__).resolve().parent.parent
PAGES = [path for path in pages() if path.name != "CHANGELOG.md"]
OUTSIDE = {
    "pip": "needs a network",
    "conda": "not installed by pip",
    "wandb": "needs an account, or files of a run",
    "source": "a shell's own",
    "export": "a shell's own",
    "cd": "a shell's own",
    "git": "needs a server",
    "pytest": "would run the tests from within",
    "playwright": "needs a network",
}
FENCED = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:python|torchrun|sbatch|make) [^`]+|shell_scripts/\S+\.sh(?: [^`]+)?)`")
FOREIGN_FLAGS = {"nproc_per_node", "nnodes", "node_rank", "rdzv_backend", "rdzv_endpoint", "rdzv_id", "strict"}
"""Flags of torchrun and other programs."""


class Parsed(Exception):
    """A script's parser has read its words."""

    def __init__(self, unread: list[str]):
        self.unread = unread


# --- reading pages


def prose(page: Path) -> str:
    """A page without code blocks and tables."""
    lines = FENCED.sub("", page.read_text()).splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith("|"))


def blocks(page: Path, language: str) -> list[str]:
    return [text for found, text in FENCED.findall(page.read_text()) if found == language]


def commands(page: Path) -> Iterator[list[str]]:
    """The words of every command of a page: of shell blocks, and of spans in the text."""
    for block in blocks(page, "bash"):
        pending = ""
        for line in block.splitlines():
            pending += line + "\n"
            try:
                words = [] if line.endswith("\\") else shlex.split(pending, comments=True)
            except ValueError:  # a quote is still open
                continue
            if not line.endswith("\\"):
                yield from [words] if words else []
                pending = ""
        assert not pending, f"{page}: a command does not end: {pending}"
    for span in INLINE.findall(FENCED.sub("", page.read_text())):
        yield shlex.split(span)


def slugs(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", page.read_text()), flags=re.MULTILINE)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    found = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain]
    return {slug if n == 0 else f"{slug}-{n}" for slug, total in Counter(found).items() for n in range(total)}


# --- checking commands


def check(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Raise what the program that these words call would say of them."""
    while re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    program, rest = words[0], words[1:]
    if program in ("torchrun", "sbatch"):  # the words before our script are theirs
        start = next(i for i, word in enumerate(rest) if word.endswith((".py", ".sh")))
        words = ["python", *rest[start:]] if program == "torchrun" else rest[start:]
        program, rest = words[0], words[1:]
    if program == "make":
        check_make(rest, monkeypatch)
    elif program.removeprefix("./").startswith("shell_scripts/"):
        check_shell_script(program.removeprefix("./"), rest, monkeypatch)
    elif program == "python":
        check_python(rest, monkeypatch)
    else:
        assert program in OUTSIDE, f"{program}: not a program that this test knows"


def check_make(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    rules = re.findall(r"^(?!\.)([\w -]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    targets = {target for rule in rules for target in rule.split()}
    for word in words:
        if word.startswith("ARGS="):
            experiment = words[0].removeprefix("reproduce-")
            check_python(["reproduce.py", experiment, *shlex.split(word.removeprefix("ARGS="))], monkeypatch)
        else:
            assert word in targets


def check_shell_script(script: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert (ROOT / script).is_file()
    kind, _, name = Path(script).stem.partition("_")
    if kind == "slurm":
        load_config(words)
    elif kind == "run":
        load_config(["--config_args_path", f"configs/{name}.yml", *words])
    elif kind == "sweep":
        name = name.removeprefix("seed_")
        check_python(["start_sweep.py", "--config_args_path", f"configs/{name}.yml", *words], monkeypatch)
    else:
        model = [words.pop(0)] if words and not words[0].startswith("-") else [f"pretrained_models/{name}.pt"]
        check_python(["eval_all.py", "--published", name, "--model_path", *model, *words], monkeypatch)


def check_python(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    if words[0] == "-c":
        compile(words[1], "snippet", "exec")
        return
    script = words[0] if words[0] != "-m" else words[1].replace(".", "/") + ".py"
    rest = words[1:] if words[0] != "-m" else words[2:]
    assert (ROOT / script).is_file(), script
    if script == "train.py":
        rest = without_made_file(rest)
        if "--continue_from" in rest:  # the other settings are those of a model that is not there
            parse_flags(rest)
        elif "--help" not in rest:
            load_config(rest)
    elif "FlagParser" in (ROOT / script).read_text() or rest:
        parse_only(script, rest, monkeypatch)


def without_made_file(words: list[str]) -> list[str]:
    """The words of train.py without a file of settings that another command writes."""
    made = [i for i, word in enumerate(words[1:]) if words[i] == "--config_args_path" and word.startswith("results/")]
    return [word for i, word in enumerate(words) if not made or i not in (made[0], made[0] + 1)]


def parse_only(script: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a script's parser read the words, and train.py's the settings that it leaves."""
    read = FlagParser.parse_known_args

    def parse_known_args(self, args=None, namespace=None):
        raise Parsed(read(self, args, namespace)[1])

    def parse_args(self, args=None, namespace=None):
        unread = read(self, args, namespace)[1]
        raise Parsed([]) if not unread else UserError(f"{script}: unknown {unread[0]}")

    monkeypatch.setattr(FlagParser, "parse_known_args", parse_known_args)
    monkeypatch.setattr(FlagParser, "parse_args", parse_args)
    monkeypatch.syspath_prepend(str((ROOT / script).parent))
    module = importlib.import_module(script.removesuffix(".py").replace("/", "."))
    with pytest.raises(Parsed) as parsed:
        module.main(words)
    if parsed.value.unread:
        load_config(parsed.value.unread)


# --- the tests


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_is_understood(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    for words in commands(page):
        with monkeypatch.context() as patches:
            try:
                check(words, patches)
            except (UserError, AssertionError) as error:
                pytest.fail(f"{' '.join(words)}: {error}")


def test_a_wrong_command_would_be_seen(monkeypatch):
    monkeypatch.chdir(ROOT)
    wrong = (
        "python train.py --sed 3", "python train.py --config_args_path configs/none.yml", "make demos", "nothing",
        "python eval_all.py --modell_path x", "python start_sweep.py --config_args_path configs/mnist.yml --sed 3",
        "shell_scripts/run_none.sh", "torchrun --nproc_per_node 2 train.py --sed 3", "python none.py",
    )  # fmt: skip
    for line in wrong:
        with monkeypatch.context() as patches, pytest.raises((UserError, AssertionError)):
            check(shlex.split(line), patches)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_and_anchor_leads_somewhere(page):
    for link in links(page):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            assert anchor in slugs(target), link


def test_every_page_is_reached_from_the_readme():
    seen, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        seen.add(page)
        waiting += [file for file in linked_files(page) if file.suffix == ".md" and file not in seen]
    assert set(PAGES) <= seen


def test_the_site_has_every_page():
    named = set(re.findall(r"([\w./]+\.md)$", (ROOT / "mkdocs.yml").read_text(), flags=re.MULTILINE))
    assert named == {str(page.relative_to(ROOT)) for page in pages()}


def test_the_source_of_the_site_holds_what_its_pages_link_to(tmp_path):
    assert site_source.main(["--output", str(tmp_path / "source")]) == 0
    assert (tmp_path / "source/graphics/two_facets.png").is_file()
    for page in pages():
        copy = tmp_path / "source" / page.relative_to(ROOT)
        assert all((copy.parent / link.partition("#")[0]).exists() for link in links(copy) if "://" not in link), page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_commit_hash_stands_in_prose(page):
    hashes = [word for word in re.findall(r"\b[0-9a-f]{7,40}\b", prose(page)) if re.search("[a-f]", word)]
    assert [word for word in hashes if re.search(r"\d", word)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_flag_in_the_text_is_known(page):
    named = set(re.findall(r"(?<![\w-])--([a-z]\w*)", page.read_text())) - {"help"}
    others = {
        name
        for path in [*ROOT.glob("*.py"), *ROOT.glob("*/*.py")]
        for name in re.findall(r'"--(\w+)"|_add_choice\(parser, "(\w+)"', path.read_text())
        for name in name
    }
    swaps = {"first_n_clusters_swapped_1", "first_n_clusters_swapped_2"}
    assert named - set(Config.__pydantic_fields__) - others - swaps - FOREIGN_FLAGS == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_is_python(page):
    for block in blocks(page, "python"):
        compile(block, str(page), "exec")


def test_every_question_is_answered_by_a_command_and_a_page():
    """The page of questions is one click from the README, and what stands behind an answer one more."""
    faq = ROOT / "docs/faq.md"
    assert faq in set(linked_files(ROOT / "README.md"))
    questions = re.split(r"^## ", faq.read_text(), flags=re.MULTILINE)[1:]
    assert len(questions) >= 16
    for question in questions:
        assert "```bash" in question, question.splitlines()[0]
    answered = [question for question in questions if re.search(r"\]\([\w./]+\.md(#[\w-]+)?\)", question)]
    assert len(answered) >= 16

"""The one reader of YAML files: what YAML 1.1 would read as something else than a person does is refused in a line."""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError
from yaml.nodes import MappingNode, Node, ScalarNode

from utils import one_line

MAX_BYTES = 1_000_000
"""A file of settings has some thousand; reading a million takes seconds."""

MAX_DIGITS = 100
_DECIMAL = re.compile(r"[-+]?(0|[1-9][\d_]*)")


class YamlError(ValueError):
    """A text that is not YAML as it is read here: one line that says what is wrong and where."""


class _PlainLoader(yaml.SafeLoader):
    """SafeLoader without aliases, duplicate keys, dates, and numbers to the base 2, 8, 16 or 60."""

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        """Refuse an alias: a few lines of aliases of aliases may stand for gigabytes."""
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise ConstructorError(
                None, None, f"aliases are not read: write out what *{event.anchor} stands for", event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Refuse a key that is there twice: the last one would win in silence."""
        content = super().construct_mapping(node, deep)
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise ConstructorError(None, None, f"{one_line(str(key))!r} is there twice", key_node.start_mark)
            seen.add(key)
        return content

    def construct_yaml_int(self, node: ScalarNode) -> int:
        """Read a decimal whole number, and no other: 0144 would be 100, and 1:30 would be 90."""
        text = str(self.construct_scalar(node))
        if len(text) > MAX_DIGITS:
            raise ConstructorError(None, None, f"a number of more than {MAX_DIGITS} digits", node.start_mark)
        value = super().construct_yaml_int(node)
        if not _DECIMAL.fullmatch(text):
            raise self._misread(text, value, node)
        return value

    def construct_yaml_float(self, node: ScalarNode) -> float:
        """Read a number; 1:30.5 would be 90.5."""
        text, value = str(self.construct_scalar(node)), super().construct_yaml_float(node)
        if ":" in text:
            raise self._misread(text, value, node)
        return value

    def construct_date(self, node: ScalarNode) -> str:
        """Leave a date the text that it is written as: no setting is a date."""
        return str(self.construct_scalar(node))

    def refuse(self, node: Node) -> None:
        """Refuse what no setting is: bytes would become text, and a set a list in an order that nobody wrote."""
        raise ConstructorError(None, None, f"{one_line(node.tag.split(':')[-1])} is not read here", node.start_mark)

    def _misread(self, text: str, value: float, node: Node) -> ConstructorError:
        """What to say of a number that few people read as YAML does."""
        problem = (
            f"{one_line(text)} is {value} in YAML; write that number, or '{one_line(text)}' in quotes for the text"
        )
        return ConstructorError(None, None, problem, node.start_mark)


_PlainLoader.add_constructor("tag:yaml.org,2002:int", _PlainLoader.construct_yaml_int)
_PlainLoader.add_constructor("tag:yaml.org,2002:float", _PlainLoader.construct_yaml_float)
_PlainLoader.add_constructor("tag:yaml.org,2002:timestamp", _PlainLoader.construct_date)
for _kind in ("binary", "omap", "pairs", "set"):
    _PlainLoader.add_constructor(f"tag:yaml.org,2002:{_kind}", _PlainLoader.refuse)


def parse_yaml(text: str) -> Any:
    """The value that a YAML text stands for.

    Raises:
        YamlError: the text is not YAML, or holds what may be misread.
    """
    try:
        return yaml.load(text, _PlainLoader)
    except yaml.MarkedYAMLError as error:
        where = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise YamlError(f"{where}{one_line(error.problem or str(error))}") from None
    except RecursionError:
        raise YamlError("lists or mappings are nested too deeply") from None
    except Exception as error:  # of a value that is not what its tag says PyYAML raises errors of many kinds
        raise YamlError(one_line(error)) from None


def read_yaml(path: Path | str) -> Any:
    """The value that a YAML file stands for.

    Raises:
        OSError: the file is not there, or cannot be read.
        YamlError: it is not YAML, not a text, too long, or holds what may be misread.
    """
    with Path(path).open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise YamlError(f"it has more than {MAX_BYTES:,} bytes")
    try:
        return parse_yaml(content.decode())
    except UnicodeDecodeError as error:
        raise YamlError(f"it is not a text in UTF-8 ({one_line(error)})") from None

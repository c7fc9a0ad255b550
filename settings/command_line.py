"""Words of a command line -> the settings named on it, as text; conversion and checks are config.py's."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from flags import unknown
from settings.yaml_files import YamlError, parse_yaml
from utils import UserError, shown


def read_words(words: Sequence[str] | None, fields: Mapping[str, FieldInfo]) -> dict[str, Any]:
    """The settings that a command line names, each as text, list of text, or what its YAML stands for.

    Args:
        words: the command line without the program's name; None reads sys.argv.
        fields: what pydantic knows of every setting.

    Raises:
        UserError: an unknown setting, or one without a value or with several.
    """
    known, unread = _parser(fields).parse_known_args(words)
    if unread:
        flag = next((word for word in unread if word.startswith("--")), unread[0])
        if not flag.startswith("--"):
            example = "settings are named, as in --seed 3; a negative number as in --name=-1e-3"
            raise UserError(f"unexpected {shown(flag)}: {example}")
        raise UserError(unknown("setting", flag.split("=")[0], [f"--{name}" for name in fields]))
    return {name: _raw_value(name, fields[name], values) for name, values in vars(known).items()}


def _parser(fields: Mapping[str, FieldInfo]) -> argparse.ArgumentParser:
    """A parser that takes any number of words after each setting."""
    parser = argparse.ArgumentParser(
        description="Train a Multi-Facet Clustering VAE.", allow_abbrev=False, argument_default=argparse.SUPPRESS
    )
    for name, field in fields.items():
        default = field.get_default(call_default_factory=True)
        help_text = f"{field.description} [{default}]".replace("%", "%%")
        parser.add_argument(f"--{name}", nargs="*", metavar=_metavar(field), help=help_text)
    return parser


def _raw_value(name: str, field: FieldInfo, words: list[str]) -> Any:
    """The words after a flag -> a raw value: --fix_pi_p_c is true, --z_j_dim_list 5 5 a list, {...} and [...] YAML."""
    if not words and field.annotation is bool:
        return True
    if not words:
        raise UserError(f"--{name} needs a value: {_metavar(field)}")
    text = " ".join(words)
    if text.startswith(("[", "{")):
        try:
            return parse_yaml(text)
        except YamlError as error:
            raise UserError(f"--{name} {_quoted(text)}: not a YAML list or mapping ({error})") from None
    if _is_list(field):
        return words
    if len(words) > 1:
        raise UserError(f"--{name} {_quoted(text)}: takes one value, got {len(words)}")
    return None if words[0].lower() in ("none", "null") else words[0]


def _quoted(text: str) -> str:
    """The words of a flag as an error message shows them."""
    return shown(text)[1:-1] if len(text) <= 200 else shown(text)


def _is_list(field: FieldInfo) -> bool:
    """Whether a setting takes a list."""
    return any(get_origin(kind) is list for kind in (field.annotation, *get_args(field.annotation)))


def _metavar(field: FieldInfo) -> str:
    """How --help shows a setting's value."""
    kinds = (field.annotation, *get_args(field.annotation))
    options = [option for kind in kinds if get_origin(kind) is Literal for option in get_args(kind)]
    if options:
        return "|".join(options)
    if _is_list(field):
        return "VALUE ..."
    if get_origin(field.annotation) is dict:
        return "{FACTOR: [INDEX, ...]}"
    return getattr(field.annotation, "__name__", "VALUE").upper()

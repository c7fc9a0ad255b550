"""Words of a command line -> the settings named on it, as text; conversion and checks are config.py's."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NoReturn, get_args, get_origin

from pydantic.fields import FieldInfo

from flags import unknown
from settings.yaml_files import YamlError, parse_yaml
from utils import UserError, expand_home, shown

EVERYDAY = (
    *("config_args_path", "dataset", "data_dir", "image_size", "J_n_mixtures", "n_clusters_j_list", "z_j_dim_list"),
    *("n_epochs", "seed", "device", "run_name", "continue_from", "overwrite", "dry_run"),
)
"""What --help shows."""
GROUPS = {"run": "config_args_path", "data": "dataset", "model": "model_type", "schedule": "n_epochs"}
GROUPS |= {"figures": "do_vis_train"}
"""The groups of --help_all after the everyday settings, each with the first setting that is in it."""


def read_words(
    words: Sequence[str] | None, fields: Mapping[str, FieldInfo], others: Iterable[str] = ()
) -> dict[str, Any]:
    """The settings that a command line names, each as text, list of text, or what its YAML stands for.

    Args:
        words: the command line without the program's name; None reads sys.argv.
        fields: what pydantic knows of every setting.
        others: flags of the script that are not settings, for the nearest name.

    Raises:
        UserError: an unknown setting, or one without a value or with several.
    """
    typed = sys.argv[1:] if words is None else words
    known, unread = _parser(fields).parse_known_args([expand_home(word) for word in typed])
    if unread:
        flag = next((word for word in unread if word.startswith("--")), unread[0])
        if not flag.startswith("--"):
            example = "settings are named, as in --seed 3; a negative number as in --name=-1e-3"
            raise UserError(f"unexpected {shown(flag)}: {example}")
        raise UserError(
            unknown("setting", flag.split("=")[0], [*(f"--{name}" for name in fields), "--help_all", *others])
        )
    return {name: _raw_value(name, fields[name], values) for name, values in vars(known).items()}


class _Help(argparse.Action):
    """Print help on the everyday settings, or on all, and end the program."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        """What argparse calls."""
        if not self.const:
            for action in parser._actions:
                if action.dest not in (*EVERYDAY, "help", "help_all"):
                    action.help = argparse.SUPPRESS
        parser.print_help()
        parser.exit()


def _parser(fields: Mapping[str, FieldInfo]) -> argparse.ArgumentParser:
    """A parser that takes any number of words after each setting."""
    parser = argparse.ArgumentParser(
        usage="%(prog)s [--SETTING VALUE ...]",
        description="Train a Multi-Facet Clustering VAE.",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        add_help=False,
    )
    everyday = parser.add_argument_group("everyday")
    everyday.add_argument("-h", "--help", action=_Help, nargs=0, help="the everyday settings")
    everyday.add_argument("--help_all", action=_Help, nargs=0, const=True, help=f"all {len(fields)} settings")
    group, firsts = everyday, {first: title for title, first in GROUPS.items()}
    for name, field in fields.items():
        if name in firsts:
            group = parser.add_argument_group(firsts[name])
        default = field.get_default(call_default_factory=True)
        help_text = f"{field.description} [{default}]".replace("%", "%%")
        place = everyday if name in EVERYDAY else group
        place.add_argument(f"--{name}", nargs="*", metavar=_metavar(field), help=help_text)
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
    name = getattr(field.annotation, "__name__", "VALUE")
    return "VALUE" if name in ("Optional", "Union") else name.upper()

"""Flags of every script but train.py, whose flags are the settings of config.py; and what is said of unknown names."""

from __future__ import annotations

import argparse
import difflib
import math
import sys
from collections.abc import Iterable
from typing import Any, NoReturn

from utils import UserError, expand_home, shown


class FlagParser(argparse.ArgumentParser):
    """A parser whose complaints are UserErrors: one line, with the right flag suggested for an unknown one."""

    def __init__(self, description: str | None):
        super().__init__(
            description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
        )

    def parse_args(self, args: Iterable[str] | None = None, namespace: Any = None) -> Any:
        """Read the words into an argparse.Namespace."""
        known, unread = self.parse_known_args(args, namespace)
        if unread:
            flag = next((word for word in unread if word.startswith("-")), unread[0]).split("=")[0]
            raise UserError(unknown("flag", flag, self.flags))
        return known

    def answer_help(self) -> None:
        """Print the help and end where the program's words ask for it, before what takes seconds is imported."""
        if {"-h", "--help"} & {*sys.argv[1:]}:
            self.print_help()
            self.exit()

    @property
    def flags(self) -> list[str]:
        """All flags that it knows."""
        return list(self._option_string_actions)

    def parse_known_args(self, args: Iterable[str] | None = None, namespace: Any = None) -> Any:
        """Read the words that are known, with ~ as the user's home; the others are given back."""
        words = sys.argv[1:] if args is None else args
        return super().parse_known_args([expand_home(word) for word in words], namespace)

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print before it ends the program."""
        raise UserError(f"{message}; see --help")


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """A line about a name that nothing has: unknown setting 'bacth_size'; did you mean 'batch_size'?."""
    help_flag = "--help_all" if kind == "setting" else "--help"
    return f"unknown {kind} {shown(name)}; {did_you_mean(name, known, otherwise=f'{help_flag} lists them all')}"


def did_you_mean(name: str, known: Iterable[str], otherwise: str) -> str:
    """The name among those known that begins with this one, or is nearest to it, as a question; else `otherwise`."""
    names = list(known)
    begun = [other for other in names if name.strip("-") and other.startswith(name)]
    near = begun or difflib.get_close_matches(name, names, n=1)
    return f"did you mean {near[0]!r}?" if near else otherwise


def positive_int(text: str) -> int:
    """A whole number of at least 1."""
    return whole_number(text, 1)


def non_negative_int(text: str) -> int:
    """A whole number of at least 0."""
    return whole_number(text, 0)


def whole_number(text: str, least: int, most: int = 10**9 - 1) -> int:
    """A whole number within bounds; one may count to the largest."""
    if text.isdecimal() and (len(text) > 9 or int(text) > most):
        bound = "below a billion" if most == 10**9 - 1 else f"at most {most:,}"
        raise argparse.ArgumentTypeError(f"{shown(text)} must be {bound}")
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{shown(text)} must be a whole number of at least {least}")
    return int(text)


def non_negative_float(text: str) -> float:
    """A finite number of at least 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{shown(text)} must be a number of at least 0")
    return value

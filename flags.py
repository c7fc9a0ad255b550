"""Flags of every script but train.py, whose flags are the settings of config.py."""

from __future__ import annotations

import argparse
import difflib
import math
from collections.abc import Iterable
from typing import Any, NoReturn

from utils import UserError


class FlagParser(argparse.ArgumentParser):
    """A parser whose complaints are UserErrors: one line, with the right flag suggested for an unknown one."""

    def __init__(self, description: str | None):
        super().__init__(
            description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
        )

    def parse_args(self, args: Iterable[str] | None = None, namespace: Any = None) -> Any:
        """Read the words into an argparse.Namespace."""
        known, unknown = self.parse_known_args(args, namespace)
        if unknown:
            flag = next((word for word in unknown if word.startswith("-")), unknown[0]).split("=")[0]
            flags = list(self._option_string_actions)
            close = [name for name in flags if name.startswith(flag)] or difflib.get_close_matches(flag, flags, n=1)
            hint = f"did you mean '{close[0]}'?" if close else "--help lists them all"
            raise UserError(f"unknown flag '{flag}'; {hint}")
        return known

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print before it ends the program."""
        raise UserError(f"{message}; see --help")


def positive_int(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number of at least 1")
    return int(text)


def non_negative_int(text: str) -> int:
    """A whole number of at least 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number of at least 0")
    return int(text)


def non_negative_float(text: str) -> float:
    """A finite number of at least 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number of at least 0")
    return value

"""Types of settings: numbers within bounds that can be computed with, lists, words."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field


def _refuse_bool(value: Any) -> Any:
    """Refuse true and false, which pydantic would take for 1 and 0."""
    if isinstance(value, bool):
        raise ValueError("should be a number, not true or false")
    return value


def _refuse_nowhere(value: Any) -> Any:
    """Refuse the path that a variable of a shell leaves which was never set: it would mean the current folder."""
    if isinstance(value, str) and not value.strip():
        raise ValueError("should name a file or folder; '.' is the current one")
    return value


def _alone_as_list(value: Any) -> Any:
    """A single number as the list of it."""
    return [value] if isinstance(value, int | float | str) else value


def _bool_as_word(value: Any) -> Any:
    """YAML's true and false, and True as other settings take it, where auto is a choice too."""
    return str(value).lower() if isinstance(value, bool | str) else value


# Numbers have bounds within which they can be computed with; how large a model may be depends on the machine.
Whole = Annotated[int, BeforeValidator(_refuse_bool)]
Real = Annotated[float, BeforeValidator(_refuse_bool), Field(allow_inf_nan=False)]
Positive = Annotated[Whole, Field(ge=1, le=10**9)]
NonNegative = Annotated[Whole, Field(ge=0, le=10**9)]
Columns = Annotated[Whole, Field(ge=1, le=100)]
BatchSize = Annotated[Whole, Field(ge=1, le=10**6)]
Clusters = Annotated[Whole, Field(ge=1, le=10**5)]
Dimension = Annotated[Whole, Field(ge=1, le=10**4)]
Width = Annotated[Whole, Field(ge=1, le=10**5)]
MaybeWidth = Annotated[Whole, Field(le=10**5)]
Depth = Annotated[Whole, Field(le=100)]
ShareOfWidth = Annotated[Real, Field(gt=0, le=16)]
PositiveFloat = Annotated[Real, Field(gt=0, le=1e12)]
NonNegativeFloat = Annotated[Real, Field(ge=0, le=1e12)]
Place = Annotated[str, BeforeValidator(_refuse_nowhere)]
AutoBool = Annotated[Literal["auto", "true", "false"], BeforeValidator(_bool_as_word)]

Item = TypeVar("Item")
LIST = (BeforeValidator(_alone_as_list), Field(max_length=100))
Some = Annotated[list[Item], *LIST]

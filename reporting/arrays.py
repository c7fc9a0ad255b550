"""Numbers of many images as few bytes: typed arrays that the page reads as they are."""

from __future__ import annotations

import base64
import json
import math
from typing import Any, NamedTuple

import numpy as np


class Packed(NamedTuple):
    """An array as the page gets it: value = low + number * step."""

    name: str
    numbers: np.ndarray
    """Of type int8, uint8, uint16, uint32 or float32."""
    low: float = 0.0
    step: float = 1.0

    @property
    def description(self) -> dict[str, Any]:
        """What the page has to know to read the bytes."""
        shape, dtype = list(self.numbers.shape), self.numbers.dtype.name
        return {"name": self.name, "dtype": dtype, "shape": shape, "low": self.low, "step": self.step}

    @property
    def text(self) -> str:
        """The bytes, little-endian, in base64."""
        numbers = self.numbers.astype(self.numbers.dtype.newbyteorder("<"))
        return base64.b64encode(np.ascontiguousarray(numbers).tobytes()).decode()


def whole(name: str, values: np.ndarray) -> Packed:
    """Pack whole numbers from 0 into the smallest type that holds them."""
    largest = int(values.max(initial=0))
    dtype = np.uint8 if largest < 2**8 else np.uint16 if largest < 2**16 else np.uint32
    return Packed(name, values.astype(dtype))


def rounded(name: str, values: np.ndarray, dtype: type[np.unsignedinteger[Any]]) -> Packed:
    """Pack real numbers, rounded to so many steps between the least and the largest as the type has."""
    low, high = float(values.min(initial=math.inf)), float(values.max(initial=-math.inf))
    if not low < high:
        return Packed(name, np.zeros(values.shape, dtype), low if math.isfinite(low) else 0.0)
    step = (high - low) / np.iinfo(dtype).max
    return Packed(name, np.rint((values - low) / step).astype(dtype), low, step)


def as_json(value: Any) -> str:
    """JSON that may stand within a script element, whatever texts it holds: no '<' can end it or begin a comment.

    Numbers that are not finite become null.
    """
    return json.dumps(_finite(value), separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _finite(value: Any) -> Any:
    """Replace nan and infinities, at any depth, by None."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

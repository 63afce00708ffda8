"""The one check of single numbers: whatever a caller calls a number, as Python's own.

Numbers of numpy, 0-d arrays and tensors of any library count as the number they hold. Errors are ValueErrors that begin
with the argument's name.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np


def whole(name: str, value: Any, low: int | None = None, high: int | None = None) -> int:
    """``value`` as an int from ``low`` to ``high``; a float is refused, whole or not, and so is a bool."""
    number = plain(value)
    inside = type(number) is int and (low is None or number >= low) and (high is None or number <= high)
    if not inside:
        limit = "" if low is None else f" at least {low}" if high is None else f" from {low} to {high}"
        raise ValueError(f"{name}: found {shown(value)}, expected a whole number{limit}")
    return number


def wholes(name: str, values: Any, low: int | None = None, high: int | None = None) -> list[int]:
    """Several of them."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"{name}: found {shown(values)}, expected whole numbers like [2, 3]")
    return [whole(name, value, low, high) for value in values]


def real(name: str, value: Any, low: float = -math.inf, high: float = math.inf) -> float:
    """``value`` as a finite float from ``low`` to ``high``."""
    number = plain(value)
    if type(number) not in (int, float) or not math.isfinite(number) or not low <= number <= high:
        limit = f" from {low:g} to {high:g}" if math.isfinite(high) else f" at least {low:g}" if low > -math.inf else ""
        kind = "number" if limit else "finite number"
        raise ValueError(f"{name}: found {shown(value)}, expected a {kind}{limit}")
    return float(number)


def flag(name: str, value: Any) -> bool:
    """``value`` as a bool; numbers are refused."""
    truth = plain(value)
    if type(truth) is not bool:
        raise ValueError(f"{name}: found {shown(value)}, expected True or False")
    return truth


def plain(value: Any) -> Any:
    """What a numpy scalar, 0-d array or 0-d tensor holds, as Python's own; an int or float of a subclass as the plain
    one; anything else as it is."""
    if getattr(value, "ndim", None) == 0 and callable(getattr(value, "item", None)):
        value = value.item()
    if isinstance(value, np.generic):  # such as a long double, which has no counterpart
        value = float(value) if isinstance(value, np.floating) else value
    for kind in (bool, int, float):
        if isinstance(value, kind):
            return kind(value)
    return value


def shown(value: Any, length: int = 60) -> str:
    """``value`` for an error: on one line, and not longer than a line."""
    text = " ".join(repr(value).split())
    return text if len(text) <= length else f"{text[: length - 3]}..."

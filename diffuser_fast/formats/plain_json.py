"""JSON files of other programs: read whole, bounded, and asked for one value at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..core.scalars import flag, real, shown, whole
from ..core.spelling import named

LIMIT = 1 << 22  # bytes; configurations have a few thousand


class Settings(Mapping[str, Any]):
    """A JSON object, or a part of one. Errors begin with the key; whoever reads names the file."""

    def __init__(self, record: Mapping[str, Any], within: str = "") -> None:
        self.record, self.within = record, within

    def __getitem__(self, key: str) -> Any:
        return self.record[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.record)

    def __len__(self) -> int:
        return len(self.record)

    def part(self, key: str) -> Settings:
        """The object under a key; an empty one where there is none."""
        found = self.get(key)
        if found is not None and not isinstance(found, Mapping):
            raise ValueError(f"{self.within}{key}: found {shown(found)}, expected an object")
        return Settings(found or {}, f"{self.within}{key}.")

    def whole(self, key: str, default: int | None = None, low: int = 0, high: int = 1 << 20) -> int:
        """A whole number."""
        return whole(self.within + key, self._given(key, default), low, high)

    def real(self, key: str, default: float | None = None, low: float = 0, high: float = 1e9) -> float:
        """A number."""
        return real(self.within + key, self._given(key, default), low, high)

    def flag(self, key: str, default: bool | None = None) -> bool:
        """true or false."""
        return flag(self.within + key, self._given(key, default))

    def text(self, key: str, default: str | None = None) -> str:
        """A string."""
        found = self._given(key, default)
        if not isinstance(found, str):
            raise ValueError(f"{self.within}{key}: found {shown(found)}, expected a string")
        return found

    def wholes(self, key: str, most: int = 64) -> tuple[int, ...]:
        """A list of positive whole numbers."""
        found = self._given(key, None)
        if not isinstance(found, (list, tuple)) or not 1 <= len(found) <= most:
            raise ValueError(f"{self.within}{key}: found {shown(found)}, expected a list of whole numbers")
        return tuple(whole(self.within + key, number, 1, 1 << 20) for number in found)

    def only(self, key: str, default: Any, *expected: Any) -> None:
        """ValueError unless the value is one of those that can be planned with."""
        found = self.get(key, default)
        if not any(type(found) is type(one) and found == one for one in expected):
            raise ValueError(f"{self.within}{key}: found {shown(found)}, expected {' or '.join(map(repr, expected))}")

    def _given(self, key: str, default: Any) -> Any:
        found = self.get(key)
        if found is None and default is None:
            raise ValueError(f"{self.within}{key}: missing")
        return default if found is None else found


def read_json(path: Path) -> Settings:
    """The object in a JSON file; ValueError names the file, FileNotFoundError where there is none."""
    with open(path, "rb") as file:
        content = file.read(LIMIT + 1)
    if len(content) > LIMIT:
        raise ValueError(f"{path}: larger than {LIMIT} bytes, which no configuration is; it was not read")
    try:
        record = json.loads(content, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise ValueError(f"{path}: not JSON") from None
    if not isinstance(record, dict):
        raise ValueError(f"{path}: found JSON of a {type(record).__name__}, expected an object")
    return Settings(record)


@contextmanager
def about(path: Path) -> Iterator[None]:
    """Errors inside name the file."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def fact(name: str) -> str:
    """How a fact that ``load`` takes is given: ``name=...``, or by the command line's option for all of them."""
    option = named("load.fact")
    return f"{name}=..." if option == "fact" else f"{option} {name}=..."


def _refuse(text: str) -> Any:
    raise ValueError(text)

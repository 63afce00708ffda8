"""What code stands behind an object: its class, what was put in the place of a method, and the hooks of a module."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
_PLAIN = (bool, int, float, str, type(None))


class Same:
    """An object that is equal to itself alone, whatever it says of that."""

    __slots__ = ("one",)

    def __init__(self, one: Any) -> None:
        self.one = one

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.one is other.one

    def __hash__(self) -> int:
        return id(self.one)


def ways(one: Any) -> tuple[Any, ...]:
    """Of an object: its class, and what of its own is called; compared with ``==``, and hashable."""
    return type(one), *((name, Same(value)) for name, value in own_methods(one)), *map(Same, hooks(one))


def own_methods(one: Any) -> Iterator[tuple[str, Any]]:
    """Callables that an object has in the place of its class's."""
    kind = type(one)
    for name, value in getattr(one, "__dict__", {}).items():
        if callable(value) and hasattr(kind, name):
            yield name, value


def hooks(one: Any) -> list[Any]:
    """What a module calls beside itself."""
    return list(chain.from_iterable(getattr(one, name, {}).values() for name in HOOKS))


class Form:
    """How some modules compute, beside their tensors and children: classes, settings, functions of their own, hooks.

    Asked at every call of a policy, of hundreds of modules: so what is looked at is chosen once.
    """

    def __init__(self, modules: list[nn.Module]) -> None:
        self._modules = modules
        self._attributes = [vars(one) for one in modules]
        self._hooks = [own[name] for own in self._attributes for name in HOOKS if name in own]
        chosen = ([name for name, value in own.items() if _tells(name, value)] for own in self._attributes)
        self._settings = [(itemgetter(*names), own) for names, own in zip(chosen, self._attributes) if names]
        self._seen = _kept(self._look())

    def changed(self) -> bool:
        """Whether it is another than it was."""
        try:
            return bool(self._look() != self._seen)
        except (KeyError, ValueError, RuntimeError):  # one is gone, or is an array now, which no == compares
            return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Form) and self._seen == other._seen

    def _look(self) -> tuple[list[Any], ...]:
        hooked = [list(its.values()) for its in self._hooks if its]
        sizes = list(map(len, self._attributes))
        return list(map(type, self._modules)), sizes, hooked, [of(own) for of, own in self._settings]


def _tells(name: str, value: Any) -> bool:
    """Whether an attribute of a module says how it computes: a plain setting, or a function. ``training`` does not,
    where nothing drops out."""
    if name.startswith("_") or name == "training":
        return False
    return _is_plain(value) or (callable(value) and not isinstance(value, type))


def _is_plain(value: Any) -> bool:
    return isinstance(value, _PLAIN) or (isinstance(value, (tuple, list)) and all(map(_is_plain, value)))


def _kept(seen: Any) -> Any:
    """The same with its lists copied: they may be written to."""
    if type(seen) in (list, tuple):
        return type(seen)(map(_kept, seen))
    return seen

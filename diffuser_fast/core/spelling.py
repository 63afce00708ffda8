"""How an error spells an argument: as its caller gives it, in Python or at the command line.

An error begins with the argument that it is about (``batch_size: found 0, ...``) and may name another one as the cure
(``load(path, normalizer='stats.json') adds them``). Whoever calls through other names, as the command line does, says
what they are with ``spelled``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Spelling = Callable[[str], "str | None"]
_spelling: ContextVar[Spelling | None] = ContextVar("spelling", default=None)


@contextmanager
def spelled(spelling: Spelling) -> Iterator[None]:
    """Inside, errors call an argument by what ``spelling`` makes of its name, where that is not None."""
    token = _spelling.set(spelling)
    try:
        yield
    finally:
        _spelling.reset(token)


def named(name: str) -> str:
    """An argument by its name: ``horizon``, or ``--horizon``. ``name`` as of ``setting``."""
    return setting(name, "").removesuffix("=")


def setting(name: str, python: str, other: str = "", *, call: str = "{}") -> str:
    """How to give an argument a value: ``load(path, value=...)``, or ``--value PATH``.

    name: of the argument, after the function's where it means different things: ``load.horizon``. python, other: its
    value as it is written there. call: what Python writes around it.
    """
    spelling, last = _spelling.get(), name.rpartition(".")[2]
    if spelling is None:
        return call.format(f"{last}={python}")
    return f"{spelling(name) or last} {other}".rstrip()

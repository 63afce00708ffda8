"""An object in a process of its own: one that dies, hangs or leaks takes nothing with it."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .machine import nameless


class Failure(RuntimeError):
    """What went wrong over there, in a sentence."""


class OutOfTime(Failure):
    """It was given a limit and was ended at it."""


class Remote:
    """``factory(*args)`` in a fresh process; ``call`` runs its methods there. All arguments and results are pickled.

    Whatever it prints is kept: if the process dies, its last line is the reason.
    """

    def __init__(self, factory: Callable[..., Any], *args: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._folder = tempfile.TemporaryDirectory()
        self._output = Path(self._folder.name) / "output"
        self._pipe, there = context.Pipe()
        self._process = context.Process(target=_serve, args=(there, self._output, factory, args), daemon=True)
        self._process.start()
        there.close()

    def call(self, method: str, *args: Any, limit: float | None = None) -> Any:
        """Its result. ``Failure`` if it raised or its process died; ``OutOfTime`` after ``limit`` seconds (and it is
        ended)."""
        try:
            self._pipe.send((method, args))
            if not self._pipe.poll(limit):
                self.close()
                raise OutOfTime("the time for it was over")
            right, value = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            lines = self._output.read_text(errors="replace").split("\n") if self._output.exists() else []
            last = next((line.strip() for line in reversed(lines) if line.strip()), "without a word")
            raise Failure(nameless(f"its process ended with {self._process.exitcode}: {last[:300]}")) from None
        if not right:
            raise Failure(value)
        return value

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()
        self._pipe.close()
        self._folder.cleanup()

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def sentence(error: BaseException) -> str:
    """An error in a line, without this machine's folders."""
    return nameless(f"{type(error).__name__}: {(str(error).strip().splitlines() or ['?'])[0][:300]}")


def _serve(pipe: Any, output: Path, factory: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """In the process: wait for calls until the other end closes."""
    with open(output, "ab", buffering=0) as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    served = None
    while True:
        try:
            method, given = pipe.recv()
        except EOFError:
            return
        try:
            served = factory(*args) if served is None else served
            reply = True, getattr(served, method)(*given)
        except Exception as error:  # whatever it is, it is what this call came to
            reply = False, sentence(error)
        pipe.send(reply)

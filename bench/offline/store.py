"""What was compiled before is not compiled again: results by content, on disk."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

from .compiled import Compiled, compiled
from .specialisation import Specialisation

Task = tuple[Specialisation, int]  # and the capability
FOLDER = Path(__file__).resolve().parents[1] / "scratch" / "compiled"


def results(
    tasks: Iterable[Task], workers: int, folder: Path = FOLDER, prepare: Callable[[], None] | None = None
) -> Iterator[tuple[Task, Compiled, bool]]:
    """(task, result, whether it was compiled now), as they come. prepare: called first in each worker's process.

    One worker: in this process.
    """
    import triton

    folder.mkdir(parents=True, exist_ok=True)
    paths = {task: folder / f"{task[0].key(task[1], triton.__version__)}.json" for task in dict.fromkeys(tasks)}
    missing = []
    for task, path in paths.items():
        if path.exists():
            yield task, Compiled(**json.loads(path.read_text())), False
        else:
            missing.append(task)
    for task, made in _compiled(missing, workers, prepare):
        if made.error is None:  # an error may be the machine's: it is looked at again
            _write(paths[task], made)
        yield task, made, True


def _compiled(tasks: list[Task], workers: int, prepare: Callable[[], None] | None) -> Iterator[tuple[Task, Compiled]]:
    if workers == 1 or len(tasks) < 2:
        yield from ((task, compiled(*task)) for task in tasks)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=prepare) as pool:
        waiting = {pool.submit(compiled, *task): task for task in tasks}
        for done in as_completed(waiting):
            yield waiting[done], done.result()


def _write(path: Path, made: Compiled) -> None:
    """Whole or not at all, whoever else writes the same."""
    part = path.with_suffix(f".{os.getpid()}")
    part.write_text(json.dumps(asdict(made)))
    part.replace(path)

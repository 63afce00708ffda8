"""Does an object plan as it is read? A call of its own against ours, on the numbers that it drew."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..planner import Planner, Plans
from .subject import Reading, Subject, situations

# Differences of one plan, normalised. Float32 on another engine gives up to 2e-5 (where a limits normaliser clips the
# one and just not the other: 1e-4); a subclass, an edited step or another branch's guidance gave 2e-3 and more.
TOLERANCE = 2e-4
ROUNDING = 2e-5
# A guide that moves plans by less than this has shown too little of itself.
SHOWN = 10 * TOLERANCE
# Where rounding alone parts plans further than that, it says how far: how plans of ours answer to noise that is moved
# in its last place, a part of what float32 does. Two engines may each be twice as far off, as ours are judged too.
MOVED, ANSWERS = 8, 4.0

HOW_ON = "check={0: observation} compares on conditions of yours, check=False takes it as it is read"


class Agreement(NamedTuple):
    """Which of the readings it is; and whether its guide, if it has one, moved the plans that were compared."""

    reading: int
    shown: bool


def agreeing(
    subject: Subject,
    readings: Sequence[Reading],
    planner_of: Callable[[Reading], Planner],
    conditions: Mapping[int, Any] | None,
    *,
    torch_noise: bool,
) -> Agreement:
    """Which of the readings plans as the subject does. It is run once, torch's generators are left as they were.

    conditions: in physical units, or None for some that suit. torch_noise: whether the order in which it draws its
    noise must be ours too. Raises ValueError, with the numbers, if no reading does, and if it cannot be told.
    """
    first = readings[0]
    first_planner = planner_of(first)  # an argument that it refuses is said before anything runs
    args, kwargs = subject.example(first.checkpoint, conditions)
    wanted, tape = _run(subject, first, args, kwargs, first_planner.loop.rows, torch_noise=torch_noise)
    differences: list[dict[str, float]] = []
    for planner in chain([first_planner], map(planner_of, readings[1:])):
        found = subject.ours(_on(planner, tape), *args, **kwargs)
        differences.append(_differences(subject.compared(found, first.checkpoint), wanted))
        if _largest(differences[-1]) < ROUNDING:
            break
    best = min(range(len(differences)), key=lambda i: _largest(differences[i]))

    def planned(tape: NDArray, reading: Reading | None = None) -> dict[str, NDArray]:
        found = subject.ours(_on(planner_of(reading or readings[best]), tape), *args, **kwargs)
        return subject.compared(found, first.checkpoint)

    apart = _largest(differences[best])
    if apart >= TOLERANCE and apart >= ANSWERS * _answer(planned, tape):
        numbers = ", ".join(f"{name} by {difference:.2g}" for name, difference in differences[best].items())
        raise ValueError(
            f"policy: it plans otherwise than the original whose names it has: on the same noise, {numbers} "
            f"(normalised; rounding gives 2e-6). One of {subject.described()} is of its own, and a compiled loop would "
            "leave that out; check={0: observation} compares on conditions of yours, check=False takes it for the "
            "original's"
        )
    return Agreement(best, _shown(readings[best], planned, tape))


def _answer(planned: Callable[[NDArray], dict[str, NDArray]], tape: NDArray[np.float32]) -> float:
    """How far plans on this tape move where its numbers move in their last place, either way: the largest of some."""
    rng, at = np.random.default_rng(0), planned(tape)
    towards = (rng.choice(np.float32([-np.inf, np.inf]), tape.shape) for _ in range(MOVED))
    return max(_largest(_differences(planned(np.nextafter(tape, ends)), at)) for ends in towards)


def _shown(reading: Reading, planned: Callable[..., dict[str, NDArray]], tape: NDArray) -> bool:
    """Whether plans are others without the guide: if not, how it guides was not compared."""
    if reading.guide is None:
        return True
    without = replace(reading, guide=replace(reading.guide, scale=0.0))
    return _largest(_differences(planned(tape, without), planned(tape))) >= SHOWN


def _run(
    subject: Subject, reading: Reading, args: tuple, kwargs: Mapping[str, Any], steps: int, *, torch_noise: bool
) -> tuple[dict[str, NDArray], NDArray[np.float32]]:
    """What the subject's own call plans, and the noise it drew: ``[T + 1, plans, H, D]``."""
    from .draws import generators_kept, recorded

    try:
        with contextlib.redirect_stdout(io.StringIO()), recorded(subject.device) as drawn:  # it may show its progress
            wanted = subject.compared(subject.original(*args, **kwargs), reading.checkpoint)
    except Exception as error:
        reason = f"{type(error).__name__}: {str(error) or 'no message'}".split("\n")[0]
        raise ValueError(f"policy: it could not be run, to compare its plan with ours ({reason}); {HOW_ON}") from error
    draws = steps + 1 if reading.draws is None else reading.draws
    shape = (reading.plans, reading.horizon, reading.checkpoint.unet.spec.transition_dim)
    drawn = [noise for noise in drawn if tuple(noise.shape) != reading.beside]
    found = [tuple(noise.shape) for noise in drawn]
    if found != [shape] * draws:
        kinds = ", ".join(f"{found.count(kind)} of {list(kind)}" for kind in dict.fromkeys(found)) or "none"
        raise ValueError(
            f"policy: it draws its noise otherwise than the original, which draws {draws} of {list(shape)} for "
            f"{reading.plans} plans: {kinds}; a compiled loop would plan something else. check=False takes it as it is "
            "read"
        )
    tape = np.stack([noise.cpu().numpy() for noise in drawn]).astype(np.float32)
    if torch_noise:
        with generators_kept(subject.device):
            ours = subject.torch_tape(reading.plans, reading.horizon, steps)
        if not np.array_equal(ours, tape):
            raise ValueError(
                "noise: the policy draws other numbers from torch's generator than the original does (what torch draws "
                "depends on how tensors lie in memory); noise='philox' leaves the generator alone"
            )
    return wanted, tape


def _on(planner: Planner, tape: NDArray) -> Callable[..., Plans]:
    """Plans of ``planner`` on this tape, in the shape in which a call asks for them."""

    def plan(
        conditions: Mapping[int, Any], batch_size: int, *, return_chain: bool = False, condition: Any = None,
        first: None = None,
    ) -> Plans:  # fmt: skip
        count = situations(conditions, condition)
        noise = tape if count is None else tape.reshape(len(tape), count, batch_size, *tape.shape[2:])
        return planner.plan(conditions, noise, return_chain, condition=condition, batch_size=batch_size)

    return plan


def _differences(found: Mapping[str, NDArray], wanted: Mapping[str, NDArray]) -> dict[str, float]:
    """Name -> largest difference, as a part of the largest number where that is more than 1."""

    def one(a: NDArray, b: NDArray) -> float:
        if a.shape != b.shape:
            return np.inf
        return float(np.abs(a - b).max(initial=0) / max(1.0, np.abs(b).max(initial=0)))

    return {name: one(found[name], wanted[name]) for name in wanted}


def _largest(differences: Mapping[str, float]) -> float:
    return float(np.nan_to_num(np.max(list(differences.values())), nan=np.inf))  # NaN is no agreement

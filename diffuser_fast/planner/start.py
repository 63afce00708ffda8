"""What a plan starts from: noise, the caller's tape of it, or the last plan."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..backends.engine import Engine, Noise
from ..core.arrays import as_numbers
from ..core.conditions import Inpainting
from ..core.loop import Result
from ..core.noise import draw
from ..core.samplers import StepTable


@dataclass(frozen=True)
class Size:
    """Of a plan: E situations of B candidates, horizon H, depth D, of which so many numbers are ``given``."""

    situations: int
    batch: int
    horizon: int
    depth: int
    given: int = 0


def tape_of(noise: ArrayLike, steps: StepTable, size: Size, *, several: bool) -> NDArray[np.float32]:
    """The caller's noise, checked: ``[R + 1, N, H, D]``. Rows without noise at the end may miss theirs."""
    tape = np.ascontiguousarray(as_numbers("noise", noise, np.float32, finite=False))
    lead = (size.situations, size.batch) if several else (size.batch,)
    if tape.ndim and tape.shape[-1] == size.depth - size.given:  # none is drawn for numbers that are given
        tape = np.concatenate((tape, np.zeros((*tape.shape[:-1], size.given), np.float32)), axis=-1)
    expected = (steps.rows + 1, *lead, size.horizon, size.depth)
    drawn = 1 + max(np.flatnonzero(steps.s) + 1, default=0)  # entries that are used
    if tape.shape[1:] == expected[1:] and drawn <= len(tape) < expected[0]:
        tape = np.concatenate((tape, np.zeros((expected[0] - len(tape), *tape.shape[1:]), np.float32)))
    if tape.shape != expected:
        raise ValueError(f"noise: expected a tape of shape {list(expected)}, found {list(tape.shape)}")
    if not np.isfinite(tape).all():
        raise ValueError("noise: the tape holds numbers that are not finite")
    return tape.reshape(expected[0], -1, *expected[-2:])


def other_noise(steps: StepTable, engine: Engine, source: Noise, size: Size) -> NDArray[np.float32]:
    """``[N, H, D]``: where a sampler has another first noise than standard normal numbers."""
    return (steps.first_noise * _first_entry(engine, source, size).astype(np.float64)).astype(np.float32)


def noised(
    last: NDArray, shift: int, steps: StepTable, start: int, engine: Engine, source: Noise, size: Size
) -> NDArray[np.float32]:
    """The last best plans ``[E, H', D]``, moved on by ``shift`` steps and noised to the entry of denoising step
    ``start`` (Ho et al. 2020, equation 4): ``[N, H, D]``."""
    ahead = moved(last, shift, size).astype(np.float64)
    noise = _first_entry(engine, source, size).astype(np.float64)  # numpy 1 would keep float32
    return (steps.sqrt_abar[start] * ahead + steps.sqrt_one_minus_abar[start] * noise).astype(np.float32)


def shifted(last: NDArray, shift: int, inpainting: Inpainting, size: Size) -> Result:
    """The last best plans, moved on, under new conditions: what is left where there is no time for a denoising step."""
    x = np.where(inpainting.mask, inpainting.values, moved(last, shift, size)).astype(np.float32)
    return Result(x, np.zeros(len(x), np.float32), np.tile(np.arange(size.batch), size.situations))


def moved(last: NDArray, shift: int, size: Size) -> NDArray:
    """The last best plans, moved on: ``[N, H, D]``. At another horizon they are cut short, or their last state held."""
    if len(last) != size.situations:
        raise ValueError(f"warm: the last plan was for {len(last)} situations, this one is for {size.situations}")
    times = np.minimum(np.arange(shift, size.horizon + shift), last.shape[1] - 1)
    return last[:, times].repeat(size.batch, axis=0)


def _first_entry(engine: Engine, source: Noise, size: Size) -> NDArray[np.float32]:
    """Entry 0 of the noise, as the engine draws it where it can tell (in C too, to the bit), else as core/noise.py."""
    if isinstance(source, np.ndarray):
        return source[0]
    if hasattr(engine, "first_noise"):
        return engine.first_noise(source, size.batch)
    samples = size.situations * size.batch
    return draw(source.seed, source.plan, 0, samples, size.horizon, size.depth, candidates=size.batch)

"""What a plan is made of, one after another: the sampling loop of core/loop.py as a list."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

from ...core.loop import SamplingLoop


class Part(Enum):
    """gradient, value, denoiser: a network. rank: keep the values of whichever was the last, gradient or value."""

    BEGIN = "begin"
    GRADIENT = "gradient"
    GUIDANCE = "guidance"
    VALUE = "value"
    RANK = "rank"
    DENOISER = "denoiser"
    UPDATE = "update"


def parts(loop: SamplingLoop, start: int) -> Iterator[tuple[int, Part]]:
    """(denoising step, part) of a plan from denoising step ``start`` on. A network that would be multiplied by 0 is not
    there: an update reads the denoiser's result where q is not 0, and a gradient where g0 is not."""
    steps, last = loop.steps, loop.rows - 1
    yield start, Part.BEGIN
    for k in range(start, loop.rows):
        for _ in range(steps.guide_steps[k]):
            yield k, Part.GRADIENT
            yield k, Part.GUIDANCE
        if k == last and loop.guide is not None:
            if not steps.guide_steps[k]:
                yield k, Part.VALUE
            yield k, Part.RANK
        if steps.q[k]:
            yield k, Part.DENOISER
        if steps.g0[k]:
            yield k, Part.GRADIENT
        yield k, Part.UPDATE

"""A bundle's self-test: a small plan, made here by each instruction set that this CPU has, to be repeated elsewhere.

``test.times`` int64 [n], ``test.observations`` float64 [n, O], ``test.given`` uint8 [n, O]: its conditions; seed and
number of the plan are ``SEED`` and ``NUMBER``. ``test.<isa>.{actions, observations, values}`` float32: the plans, best
first. The same instruction set gives the same bits on any machine, and "scalar" is on all of them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..backends import cpu
from ..backends.engine import Seeded
from ..core.conditions import parse_conditions
from ..planner import Planner
from . import contents

SEED, NUMBER = 20220517, 7


def self_test(planner: Planner) -> dict[str, NDArray]:
    """The tensors of the self-test, of the planner's own horizon."""
    checkpoint, loop, batch = planner.checkpoint, planner.loop, contents.test_batch(planner)
    normalizers, columns = checkpoint.normalizers, checkpoint.columns
    # The middle of what was seen, and one dimension of it at the end: no condition lies beyond the limits.
    middle = normalizers.observations.unnormalize(np.zeros(checkpoint.observation_dim))
    times = contents.test_times(loop.horizon)
    given = np.zeros((len(times), checkpoint.observation_dim), np.uint8)
    given[:, 0], given[0] = 1, 1
    conditions = {t: {int(d): middle[d] for d in np.flatnonzero(dims)} for t, dims in zip(times, given, strict=True)}
    inpainting, _ = parse_conditions(conditions, loop.horizon, normalizers, at=columns[1].start)
    found = {
        "test.times": np.array(times, np.int64),
        "test.observations": np.tile(middle, (len(times), 1)),
        "test.given": given,
    }
    for isa in cpu.isas():
        engine = cpu.ready(loop, batch=batch, precision=planner.precision, threads=1, isa=isa)
        result = engine(inpainting, Seeded(SEED, NUMBER), candidates=batch)
        best = result.x[result.order]
        actions, observations = (
            field.unnormalize(part, whole_array=planner.clip_scope == "array").astype(np.float32)
            for field, part in (
                (normalizers.actions, best[..., columns[0]]),
                (normalizers.observations, best[..., columns[1]]),
            )
        )
        found |= {
            f"test.{isa}.actions": actions,
            f"test.{isa}.observations": observations,
            f"test.{isa}.values": result.values[result.order],
        }
    return found

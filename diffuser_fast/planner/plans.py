"""What a planner answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Calibration(NamedTuple):
    """Milliseconds: of a plan with all denoising steps, margin included; the shortest budget that can be kept, from the
    call to the answer; the dearest step.

    A plan with a budget below ``least_ms`` runs the least there is and may be late by what is missing.
    """

    whole_ms: float
    least_ms: float
    step_ms: float


@dataclass(frozen=True, eq=False)
class Replay:
    """What has to be known to make a plan again, with the same bits: ``planner.plan(conditions, replay=plans.replay)``.

    seed, number: of its noise. rows: int32 ``[groups, most]`` of the planner's menu, or None: all denoising steps.
    last: the plan that a warm start began from, normalised ``[E, H, D]``, moved on by ``shift`` steps.
    """

    seed: int
    number: int
    rows: NDArray[np.int32] | None = None
    last: NDArray[np.float32] | None = None
    shift: int = 1
    finish: str = "full"


@dataclass(frozen=True, eq=False)
class Plans:
    """Plans in physical units, best first; float32, C-contiguous, the caller's own.

    actions: ``[B, H, A]`` (``[B, H - 1, A]`` where inverse dynamics find them between two observations);
    observations: ``[B, H, O]``; values: ``[B]``, zeros without a value network;
    latency_ms: wall time of the call; chain: ``[B, R + 1, H, D]`` (actions, observations) from noise to plan, or None;
    exactness: "exact", "close", "fast" or "approximate" (another sampler than trained, or fewer denoising steps: a warm
    start is that too); denoising_steps: how many were run;
    rows: int64, the training steps that the network saw, in order (of the trajectories that had fewest); finish:
    "full", or of a plan with a budget "strided" (fewer, from its beginning), "restrided" (it had got late),
    "finishing" (it ended at once with what the network said) or "shifted" (not one fitted into a warm start: the last
    plan moved on, under the new conditions, its values zeros); deadline_met: None without a budget; replay: makes it
    again.
    clipped: a condition lay beyond the limits of the data, and the plans hold the nearest values inside them.
    Planned for E situations at once, every array has a leading ``[E]``.
    """

    actions: NDArray[np.float32]
    observations: NDArray[np.float32]
    values: NDArray[np.float32]
    latency_ms: float
    exactness: str
    chain: NDArray[np.float32] | None = None
    clipped: bool = False
    denoising_steps: int = 0
    rows: NDArray[np.int64] | None = None
    finish: str = "full"
    deadline_met: bool | None = None
    replay: Replay | None = None

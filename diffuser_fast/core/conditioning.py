"""What a plan is conditioned on beside the denoising step, from physical units to the network's numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrays import as_numbers
from .checkpoint import Checkpoint


def conditions_of(checkpoint: Checkpoint, condition: Any) -> tuple[NDArray[np.float64] | None, int | None]:
    """``condition`` as ``[E or 1, C]`` normalised, and E if it was given for E situations (else None).

    condition: ``[history, O]`` or ``[E, history, O]`` observations in physical units (``[O]`` where history is 1) for a
    network that is told of them so, else ``[C]`` or ``[E, C]`` numbers; None for a network that takes no condition.
    Raises ValueError or TypeError naming the condition.
    """
    numbers, acting = checkpoint.unet.spec.condition, checkpoint.acting
    if not numbers:
        if condition is not None:
            raise ValueError("condition: the network takes none; observations go to conditions, {time: observation}")
        return None, None
    shape = [acting.history, checkpoint.observation_dim] if checkpoint.observes_condition else [numbers]
    if condition is None:
        raise ValueError(f"condition: missing; the network takes one of shape {shape}")
    given = as_numbers("condition", condition)
    if checkpoint.observes_condition and acting.history == 1 and given.ndim == 1:
        given = given[None]
    situations = len(given) if given.ndim == len(shape) + 1 else None
    if list(given.shape[given.ndim - len(shape) :]) != shape or given.ndim - len(shape) not in (0, 1) or not given.size:
        lead = ", ".join(map(str, ["E", *shape]))
        raise ValueError(f"condition: expected shape {shape} or [{lead}], found {list(given.shape)}")
    if checkpoint.observes_condition:
        given = checkpoint.normalizers.observations.normalize(given)
    if np.abs(given).max() > np.finfo(np.float32).max:
        raise ValueError(f"condition: {np.abs(given).max():.3g} is too large for float32 once normalised")
    return given.reshape(situations or 1, -1), situations

"""What a network is told beside x and the denoising step, from physical units to its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrays import as_numbers
from .checkpoint import Checkpoint
from .conditions import Inpainting, no_inpainting, parse_conditions


def inpainting_of(
    checkpoint: Checkpoint, conditions: Mapping[int, Any], horizon: int
) -> tuple[Inpainting, int | None]:  # fmt: skip
    """Conditions as ``parse_conditions`` takes them, where the checkpoint's plans hold observations; else none."""
    depth = checkpoint.unet.spec.transition_dim
    if not checkpoint.observes_condition:
        at = checkpoint.columns[1].start
        return parse_conditions(conditions, horizon, checkpoint.normalizers, at=at, depth=depth)
    if conditions:
        raise ValueError("conditions: the plans hold actions alone; give the last observations as condition")
    return no_inpainting(horizon, depth), None


def asked_of(checkpoint: Checkpoint) -> NDArray[np.float64] | None:
    """A condition of zeros, physical, for a plan that is made for its time alone; None where none is taken."""
    numbers, acting = checkpoint.unet.spec.condition, checkpoint.acting
    if acting.masked or not (numbers or checkpoint.observes_condition):
        return None
    return np.zeros((acting.history, checkpoint.observation_dim) if checkpoint.observes_condition else numbers)


def conditions_of(checkpoint: Checkpoint, condition: Any) -> tuple[NDArray[np.float64] | None, int | None]:
    """``condition`` as ``[E or 1, C]`` normalised, and E if it was given for E situations (else None).

    condition: ``[history, O]`` or ``[E, history, O]`` observations in physical units (``[O]`` where history is 1) for a
    network that is told of them so, else ``[C]`` or ``[E, C]`` numbers; None for a network that takes no condition, or
    one that plans themselves make. Raises ValueError or TypeError naming the condition.
    """
    numbers, acting = checkpoint.unet.spec.condition, checkpoint.acting
    if acting.masked or not (numbers or checkpoint.observes_condition):
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


def tell(
    checkpoint: Checkpoint, inpainting: Inpainting, condition: NDArray[np.float64] | None
) -> tuple[Inpainting, NDArray[np.float64] | None]:
    """What of it is numbers of a transition: the inpainting with them, and the condition that is left.

    They are given at every time: a local condition is the observations, normalised, at the first times and zeros at
    the others; which times are given is 1 where whole observations are and 0 elsewhere, and is the condition too.
    Raises ValueError where a part of an observation is given, and the network could not be told.
    """
    spec, acting = checkpoint.unet.spec, checkpoint.acting
    if not spec.given:
        return inpainting, condition
    mask, own = inpainting.mask.copy(), slice(spec.predicted_dim, spec.transition_dim)
    mask[:, own] = True
    if acting.observed == "local":
        values = np.zeros((len(condition), *mask.shape), np.float32)
        values[:, : acting.history, own] = condition.reshape(len(condition), acting.history, -1)
        return replace(inpainting, mask=mask, values=values), None
    values, observed = inpainting.values.copy(), inpainting.mask[:, checkpoint.columns[1]]
    some = np.flatnonzero(observed.any(axis=1) & ~observed.all(axis=1))
    if some.size:
        raise ValueError(
            f"conditions[{some[0]}]: a part of an observation, and the network is told of whole ones alone"
        )
    times = observed.all(axis=1)
    if spec.condition not in (0, len(times)):
        raise ValueError(f"horizon: found {len(times)}, the network is told which of {spec.condition} times are given")
    values[:, :, own] = times[:, None]
    return replace(inpainting, mask=mask, values=values), times[None].astype(np.float64) if spec.condition else None

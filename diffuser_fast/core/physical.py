"""From normalised trajectories to actions and observations in physical units."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .checkpoint import Checkpoint
from .lower import lower
from .passes import Dense


class Physical:
    """Of one checkpoint, which has statistics. whole_array: as of ``Limits.unnormalize``."""

    def __init__(self, checkpoint: Checkpoint, *, whole_array: bool = False) -> None:
        self.checkpoint, self.whole_array = checkpoint, whole_array
        inverse = checkpoint.inverse
        self.inverse = None if inverse is None else Dense(lower(inverse.spec).net, inverse.arrays)

    def __call__(self, x_n: NDArray, dtype: type = np.float32) -> tuple[NDArray, NDArray]:
        """Trajectories ``[..., H, D]`` -> actions ``[..., H, A]`` and observations ``[..., H, O]``.

        Where inverse dynamics find the actions there is one less. Where observations are a condition there are none:
        ``[..., H, 0]``.
        """
        checkpoint, normalizers = self.checkpoint, self.checkpoint.normalizers
        actions, observations = checkpoint.columns
        if checkpoint.observes_condition:
            found = normalizers.actions.unnormalize(x_n[..., actions], whole_array=self.whole_array)
            return np.ascontiguousarray(found, dtype), np.zeros((*x_n.shape[:-1], 0), dtype)
        acts_n, obs_n = x_n[..., actions], x_n[..., observations]
        if self.inverse is not None:
            pairs = np.concatenate((x_n[..., :-1, :], x_n[..., 1:, :]), axis=-1)
            acts_n = self.inverse(pairs.reshape(-1, pairs.shape[-1])).reshape(*pairs.shape[:-1], -1)
        return tuple(
            np.ascontiguousarray(field.unnormalize(part, whole_array=self.whole_array), dtype)
            for field, part in ((normalizers.actions, acts_n), (normalizers.observations, obs_n))
        )

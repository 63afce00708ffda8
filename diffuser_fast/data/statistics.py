"""The normaliser statistics that the original would have had: fitted to the steps of its paths, in its precision.

Its DatasetNormalizer sees what its SequenceDataset made of the data: the paths laid end to end, without an unfinished
tail, as float32 (Janner et al. 2022, released code). Means and deviations are summed there in float32 too, and a
network has learned with just these numbers: of a million steps they differ from exact ones in the fourth digit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..core.normalizers import Gaussian, Normalizer, Normalizers, normalizer_kind
from .episodes import Episodes


def fitted(episodes: Episodes, kind: str) -> Normalizers:
    """Normalisers of ``episodes`` as the original fits them. kind: "gaussian" (its locomotion), "limits" (its mazes),
    or one of its class names; ValueError for another. A constant dimension, by which the original would divide by
    zero, gets deviation 1, or limits one below and one above."""
    cls = normalizer_kind(kind)
    return Normalizers(*(_field(cls, getattr(episodes, name)) for name in ("observations", "actions")))


def _field(cls: type[Normalizer], data: NDArray[np.float32]) -> Normalizer:
    if cls is not Gaussian:
        return cls.fit(data)
    stds = data.std(axis=0)
    return Gaussian(data.mean(axis=0), np.where(stds > 0, stds, 1))

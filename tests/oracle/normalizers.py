"""Normalisers as the original's run-time objects carry them: numpy statistics, one number per dimension."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


class Normalizer:
    """Statistics of one field, each [dim]. `mins` and `maxs` are of the data, in physical units."""

    def __init__(self, mins: np.ndarray, maxs: np.ndarray) -> None:
        self.mins = mins
        self.maxs = maxs


class GaussianNormalizer(Normalizer):
    """(x - mean) / std per dimension."""

    def __init__(self, mins: np.ndarray, maxs: np.ndarray, means: np.ndarray, stds: np.ndarray) -> None:
        super().__init__(mins, maxs)
        self.means = means
        self.stds = stds

    def normalize(self, x: np.ndarray) -> np.ndarray:
        return (x - self.means) / self.stds

    def unnormalize(self, x: np.ndarray) -> np.ndarray:
        return x * self.stds + self.means


class LimitsNormalizer(Normalizer):
    """[min, max] -> [-1, 1] per dimension."""

    def normalize(self, x: np.ndarray) -> np.ndarray:
        return 2.0 * ((x - self.mins) / (self.maxs - self.mins)) - 1.0

    def unnormalize(self, x: np.ndarray, eps: float = 1e-4) -> np.ndarray:
        """The inverse. One element beyond +-(1 + eps), anywhere in the array, clips all of it to [-1, 1].

        Without one, whatever is outside by up to eps stays outside.
        """
        if x.max() > 1.0 + eps or x.min() < -1.0 - eps:
            x = np.clip(x, -1.0, 1.0)
        return (x + 1.0) / 2.0 * (self.maxs - self.mins) + self.mins


class DatasetNormalizer:
    """One normaliser per field: 'observations' and 'actions'."""

    def __init__(self, normalizers: Mapping[str, Normalizer]) -> None:
        self.normalizers = dict(normalizers)
        self.observation_dim = len(self.normalizers["observations"].mins)
        self.action_dim = len(self.normalizers["actions"].mins)

    def normalize(self, x: np.ndarray, key: str) -> np.ndarray:
        return self.normalizers[key].normalize(x)

    def unnormalize(self, x: np.ndarray, key: str) -> np.ndarray:
        return self.normalizers[key].unnormalize(x)

    __call__ = normalize

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


class Interpolation:
    """Linear between given points, ascending in x; with the attributes that a run-time object of the original has."""

    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        self.x = x
        self.y = y

    def __call__(self, at: np.ndarray) -> np.ndarray:
        right = np.clip(np.searchsorted(self.x, at), 1, len(self.x) - 1)
        x0, x1, y0, y1 = self.x[right - 1], self.x[right], self.y[right - 1], self.y[right]
        return y0 + (at - x0) / (x1 - x0) * (y1 - y0)


class CDFNormalizer1d:
    """2 F(x) - 1 of one dimension; F(x) is the share of the data up to x, linear between its values."""

    def __init__(self, data: np.ndarray) -> None:
        self.X = data.astype(np.float32)
        quantiles = np.unique(self.X)
        self.constant = len(quantiles) == 1
        if not self.constant:
            share = np.array([(self.X <= value).mean(dtype=np.float64) for value in quantiles])
            quantiles = quantiles.astype(np.float64)
            self.fn = Interpolation(quantiles, share)
            self.inv = Interpolation(share, quantiles)

    def normalize(self, x: np.ndarray) -> np.ndarray:
        return x if self.constant else 2.0 * self.fn(np.clip(x, self.fn.x[0], self.fn.x[-1])) - 1.0

    def unnormalize(self, x: np.ndarray) -> np.ndarray:
        return x if self.constant else self.inv(np.clip((x + 1.0) / 2.0, self.inv.x[0], self.inv.x[-1]))


class CDFNormalizer(Normalizer):
    """One distribution function per dimension, fitted to data [N, dim]."""

    def __init__(self, data: np.ndarray) -> None:
        super().__init__(data.min(axis=0), data.max(axis=0))
        self.cdfs = [CDFNormalizer1d(column) for column in data.T]

    def normalize(self, x: np.ndarray) -> np.ndarray:
        return np.stack([cdf.normalize(x[..., d]) for d, cdf in enumerate(self.cdfs)], axis=-1).astype(x.dtype)

    def unnormalize(self, x: np.ndarray) -> np.ndarray:
        return np.stack([cdf.unnormalize(x[..., d]) for d, cdf in enumerate(self.cdfs)], axis=-1).astype(x.dtype)


class DebugNormalizer(Normalizer):
    """Leaves numbers as they are."""

    def normalize(self, x: np.ndarray) -> np.ndarray:
        return x

    def unnormalize(self, x: np.ndarray) -> np.ndarray:
        return x


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

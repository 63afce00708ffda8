"""Monte Carlo arithmetic in torch (Parker 1997): float64 in which every rounding of a narrower arithmetic is thrown.

A float64 evaluation is run on a batch of equal copies. The first copy is left alone; in every other one the result of
every operation is moved by plus or minus the unit roundoff, the largest error that rounding can make, with a seeded
sign. How far the copies end from the first is the error that the arithmetic itself implies: no kernel's order of
summation, no machine and no luck is in it.
"""

from __future__ import annotations

import math
from functools import lru_cache
from random import Random
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from .arithmetic import ELEMENTARY, Arithmetic, spread_of_sum

# What moves numbers without rounding them, what rounds its result once, and elementary functions. Whatever is in none
# of them, and has no method below, is refused: a bound would silently miss its rounding.
MOVES = {
    "_local_scalar_dense", "_to_copy", "_unsafe_view", "abs", "alias", "all", "amax", "any", "as_strided",
    "bitwise_and", "cat", "clamp", "clone", "constant_pad_nd", "copy_", "detach", "empty", "empty_like", "eq", "expand",
    "fill_", "full", "isfinite", "lift_fresh", "logical_and", "logical_not", "ne", "neg", "new_zeros", "ones",
    "ones_like", "permute", "relu", "scalar_tensor", "select", "slice", "split", "split_with_sizes", "squeeze", "stack",
    "t", "transpose", "unbind", "unsqueeze", "view", "where", "zeros", "zeros_like",
}  # fmt: skip
ROUNDS = {"add", "div", "mul", "reciprocal", "rsqrt", "rsub", "sqrt", "sub"}
FUNCTIONS = {"erfc", "exp", "log", "log1p", "sigmoid", "softplus", "tanh"}

POOL = 1 << 20  # numbers thrown before any is thrown again


class MonteCarlo(TorchDispatchMode):
    """Inside it, every float64 result ``[(1 + copies) B, ...]`` is disturbed but for its first B entries.

    probe: how many times as large as the arithmetic's the disturbances are. (Those of float64 would drown in the
    rounding of this evaluation; a response is proportional, so that larger ones can be thrown and scaled back.)
    """

    def __init__(self, arithmetic: Arithmetic, copies: int, probe: float = 1.0, seed: int = 0) -> None:
        super().__init__()
        self.u, self.copies, self.probe = arithmetic, copies, probe
        self.random = Random(seed)
        self.weights: dict[tuple[int, bool], tuple[Tensor, list[Tensor]]] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else torch imports its compiler, for seconds, to say that this is not to be compiled

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        name, kwargs = func._schema.name.removeprefix("aten::"), kwargs or {}
        if (own := OWN.get(name)) is not None:
            return own(self, func, *args, **kwargs)
        result = func(*args, **kwargs)
        if name in MOVES or not (isinstance(result, Tensor) and result.is_floating_point()):
            return result
        if name in ROUNDS or name in FUNCTIONS:
            return self.rounded(result, self.u.results * (ELEMENTARY if name in FUNCTIONS else 1))
        raise NotImplementedError(f"Monte Carlo arithmetic does not know how {func} rounds: see conformance/{__name__}")

    # ------------------------------------------------------------------------------------------------ disturbances

    def rounded(self, y: Tensor, unit: float | None = None) -> Tensor:
        """y, which nobody else holds: its copies moved by +-unit |y| in place."""
        unit = self.u.results if unit is None else unit
        if unit:
            copies = self._copies(y)
            copies.addcmul_(copies, self._thrown(copies, _signs()), value=unit * self.probe)
        return y

    def narrowed(self, x: Tensor) -> Tensor:
        """x as an operand: itself, or a rounded copy of it."""
        return self.rounded(x.clone(), self.u.operands) if self.u.operands else x

    def summed(self, y: Tensor, squares: Tensor, terms: int) -> Tensor:
        """A sum, and of the first copy alone the sum of its terms' squares: moved by what summation implies."""
        copies = self._copies(y)
        spread = spread_of_sum(y[: squares.shape[0]], squares, terms).expand(self.copies, *squares.shape)
        thrown = self._thrown(copies, _normals())
        copies.addcmul_(spread.reshape(copies.shape), thrown, value=self.u.sums * self.probe)
        return y

    def first(self, x: Tensor) -> Tensor:
        """The copy that is left alone."""
        return x[: x.shape[0] // (1 + self.copies)]

    def _copies(self, y: Tensor) -> Tensor:
        one, rest = divmod(y.shape[0], 1 + self.copies)
        assert not rest, f"{tuple(y.shape)} is not a batch of {1 + self.copies} copies"
        return y[one:]

    def _thrown(self, like: Tensor, pool: Tensor) -> Tensor:
        size = like.numel()
        if size > POOL:
            pool = pool.repeat(1 + size // POOL)
        at = int(self.random.random() * (pool.shape[0] - size))
        return pool[at : at + size].view(like.shape).to(like.device)

    # ---------------------------------------------------------------------------------------- operations of many sums

    def convolution(self, func, x, w, bias, stride, pad, dilation, transposed, output_pad, groups):
        """A sum of taps times channels; then the bias."""
        shape = (stride[0], pad[0], transposed, output_pad[0])
        assert (dilation[0], groups) == (1, 1), "no op of core/ops.py has them"
        grid = self.u.grid
        gridded = grid is not None and grid.holds(x.shape[1], w.shape[2])
        x = self._gridded(x) if gridded else self.narrowed(x)
        if self.u.weights or gridded:
            each = zip(x.chunk(1 + self.copies), self._rounded_weights(w, gridded, transposed), strict=True)
            y = torch.cat([_convolved(one, its, *shape) for one, its in each])
        else:
            y = _convolved(x, w, *shape)
        terms = w.shape[0] * -(-w.shape[2] // stride[0]) if transposed else w.shape[1] * w.shape[2]
        y = self.summed(y, _convolved(self.first(x) ** 2, w * w, *shape), terms)
        return y if bias is None else self.rounded(y + bias[:, None])

    def _gridded(self, x: Tensor) -> Tensor:
        """x as whole numbers: a copy of it, moved by half a step of each sample's grid."""
        x = x.clone()
        copies = self._copies(x)
        steps = (copies.amax((1, 2), keepdim=True).clamp(min=0) - copies.amin((1, 2), keepdim=True).clamp(max=0)) / (
            self.u.grid.steps
        )
        copies.addcmul_(steps, self._thrown(copies, _signs()), value=self.probe / 2)
        return x

    def _rounded_weights(self, w: Tensor, gridded: bool, transposed: bool) -> list[Tensor]:
        """The weights of each copy, rounded once for all; to whole numbers, once for each direction."""
        key = w.data_ptr(), gridded, gridded and transposed
        if key not in self.weights:
            sizes = w * self.u.weights
            if gridded:
                sizes = w.abs().amax((0 if transposed else 1, 2), keepdim=True) / (2 * self.u.grid.weights)
            thrown = [self._thrown(w, _signs()) for _ in range(self.copies)]
            made = [w, *(torch.addcmul(w, sizes, sign, value=self.probe) for sign in thrown)]
            self.weights[key] = w, made  # w is kept, so that its address stays its own
        return self.weights[key][1]

    def bmm(self, func, a, b):
        """Matrix products of activations."""
        a, b = self.narrowed(a), self.narrowed(b)
        return self.summed(func(a, b), func(self.first(a) ** 2, self.first(b) ** 2), a.shape[-1])

    def mean(self, func, x, dims, keepdim=False, **_):
        y = self._mean(x, dims)
        return y if keepdim else y.squeeze(dims)

    def var_mean(self, func, x, dims, *, correction=1, keepdim=False):
        assert not correction, "the variance of a whole population"
        mean, _, variance = self._moments(x, dims)
        return (variance, mean) if keepdim else (variance.squeeze(dims), mean.squeeze(dims))

    def _sum(self, x: Tensor, dims: list[int]) -> Tensor:
        squares = (self.first(x) ** 2).sum(dims, keepdim=True)
        return self.summed(x.sum(dims, keepdim=True), squares, math.prod(x.shape[d] for d in dims))

    def _mean(self, x: Tensor, dims: list[int]) -> Tensor:
        return self.rounded(self._sum(x, dims) / math.prod(x.shape[d] for d in dims))

    def _moments(self, x: Tensor, dims: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, what is left without it, and the variance, in two passes."""
        mean = self._mean(x, dims)
        centred = self.rounded(x - mean)
        return mean, centred, self._mean(self.rounded(centred * centred), dims)

    def _normalized(self, x: Tensor, dims: list[int], eps: float) -> tuple[Tensor, Tensor, Tensor]:
        mean, centred, variance = self._moments(x, dims)
        root = self.rounded(torch.rsqrt(self.rounded(variance + eps)))
        return self.rounded(centred * root), mean, root

    def native_group_norm(self, func, x, gamma, beta, batch, channels, length, groups, eps):
        y, mean, root = self._normalized(x.reshape(batch, groups, -1), [-1], eps)
        y = self.rounded(y.reshape(batch, channels, -1) * gamma[:, None])
        return self.rounded(y + beta[:, None]).reshape(x.shape), mean.reshape(batch, -1), root.reshape(batch, -1)

    def native_layer_norm(self, func, x, shape, gamma, beta, eps):
        y, mean, root = self._normalized(x, [-1], eps)
        return self.rounded(self.rounded(y * gamma) + beta), mean, root

    def softmax(self, func, x, dim, half):
        e = self.rounded(self.rounded(x - x.amax(dim, keepdim=True)).exp(), ELEMENTARY * self.u.results)
        return self.rounded(e / self._sum(e, [dim]))

    def mish(self, func, x):
        """x tanh(log(1 + e^x)), a function at a time."""
        y = x
        for function in (torch.exp, torch.log1p, torch.tanh):
            y = self.rounded(function(y), ELEMENTARY * self.u.results)
        return self.rounded(x * y)

    def silu(self, func, x):
        """x / (1 + e^-x)."""
        e = self.rounded(torch.exp(-x), ELEMENTARY * self.u.results)
        return self.rounded(x / self.rounded(1 + e))


OWN = {
    "convolution": MonteCarlo.convolution,
    "bmm": MonteCarlo.bmm,
    "mean": MonteCarlo.mean,
    "var_mean": MonteCarlo.var_mean,
    "native_group_norm": MonteCarlo.native_group_norm,
    "native_layer_norm": MonteCarlo.native_layer_norm,
    "_softmax": MonteCarlo.softmax,
    "mish": MonteCarlo.mish,
    "silu": MonteCarlo.silu,
}


def _convolved(x: Tensor, w: Tensor, stride: int, pad: int, transposed: bool, output_pad: int) -> Tensor:
    """A convolution as one matrix product: torch's own, in float64, take five times as long."""
    k = w.shape[2]
    if transposed:  # of x with zeros between its numbers, by the taps in reverse
        spaced = x.new_zeros(*x.shape[:2], (x.shape[2] - 1) * stride + 1)
        spaced[..., ::stride] = x
        x, w, stride = F.pad(spaced, (k - 1 - pad, k - 1 - pad + output_pad)), w.flip(2).transpose(0, 1), 1
    else:
        x = F.pad(x, (pad, pad))
    windows = x.unfold(2, k, stride)  # [B, C, length, k]
    columns = windows.permute(1, 3, 0, 2).reshape(-1, len(x) * windows.shape[2])
    return (w.reshape(len(w), -1) @ columns).view(len(w), len(x), -1).transpose(0, 1)


@lru_cache(maxsize=1)
def _normals() -> Tensor:
    """Numbers to throw; every use takes a stretch of them. numpy's, which are the same everywhere."""
    return torch.from_numpy(np.random.default_rng(0).standard_normal(POOL))


@lru_cache(maxsize=1)
def _signs() -> Tensor:
    return torch.sign(_normals())

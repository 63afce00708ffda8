"""Seeded numbers for tests, none of them drawn from torch's global generator."""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import Tensor, nn

Net = TypeVar("Net", bound=nn.Module)


def normal(seed: int, *shape: int) -> Tensor:
    """Standard normal numbers of `shape`, float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def randomize(net: Net, seed: int, dtype: torch.dtype = torch.float64) -> Net:
    """Fill every parameter from `seed` so that none is trivially zero or one, move to `dtype`, freeze.

    Weights of layers are N(0, 1 / fan_in), so activations keep their size through the depth; scales of norms
    are N(1, 0.3^2); biases and shifts are N(0, 0.3^2), where fresh networks would have zeros.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in net.named_parameters():
        draw = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        is_norm_scale = name.endswith("norm.g") or (parameter.ndim == 1 and name.endswith("weight"))
        if is_norm_scale:
            value = 1.0 + 0.3 * draw
        elif name.endswith("bias") or name.endswith("norm.b"):
            value = 0.3 * draw
        else:
            value = draw / math.sqrt(math.prod(parameter.shape[1:]))
        with torch.no_grad():
            parameter.copy_(value)
    return net.to(dtype).eval().requires_grad_(False)

"""The numbers that the original would draw from torch's global generator, in its order."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def torch_tape(diffusion: Any, plans: int, horizon: int, steps: int) -> NDArray[np.float32]:
    """The noise of so many plans, ``[steps + 1, plans, H, D]``.

    It asks for noise "like x", and what torch then draws depends on how x lies in memory: as ``[B, H, D]`` in the first
    denoising step. From then on x lies as x0 does: as the network's output, whose memory is ``[B, D, H]``; or where the
    network predicts noise, and x0 is x less a multiple of that, as x.
    """
    import torch

    shape = (plans, horizon, int(diffusion.transition_dim))
    plain = torch.empty(shape, device=diffusion.betas.device)
    like_output = torch.empty((shape[0], shape[2], shape[1]), device=plain.device).transpose(1, 2)
    later = plain if diffusion.predict_epsilon else like_output
    entries = [torch.randn(shape, device=plain.device), torch.randn_like(plain)]
    entries += [torch.randn_like(later) for _ in range(steps - 1)]
    return np.stack([entry.cpu().numpy() for entry in entries])

"""A small guided loop with random weights: something to ask backends about, where no checkpoint was named."""

from __future__ import annotations

import numpy as np

from ..core.checkpoint import Checkpoint, Weights
from ..core.guidance import Guide
from ..core.loop import SamplingLoop, sampling_loop
from ..core.lower import lower
from ..core.samplers import ddpm
from ..core.schedule import cosine
from ..core.spec import Spec, UNetSpec, ValueSpec


def sample_loop() -> SamplingLoop:
    """Horizon 8, transitions of 5, two levels, one guide step, two rows."""
    sizes = {"horizon": 8, "transition_dim": 5, "dim": 16, "dim_mults": (1, 2)}
    schedule = cosine(2)
    checkpoint = Checkpoint(
        _random(UNetSpec(**sizes)), schedule, action_dim=2, value=_random(ValueSpec(**sizes, groups=4))
    )
    return sampling_loop(checkpoint, ddpm(schedule), guide=Guide(n_steps=1, t_stopgrad=0))


def _random(spec: Spec) -> Weights:
    rng = np.random.default_rng(0)
    return Weights(spec, {n: rng.normal(0, 0.1, s).astype(np.float32) for n, s in lower(spec).weights.items()})

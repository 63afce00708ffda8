"""What the engine's tests share: the instruction sets to test, networks, weights, a sampling loop without torch."""

from types import MappingProxyType

import numpy as np
import pytest

from diffuser_fast.backends import cpu
from diffuser_fast.core.conditions import Inpainting
from diffuser_fast.core.loop import Network, SamplingLoop, TimeTables
from diffuser_fast.core.lower import lower
from diffuser_fast.core.passes import fuse, vjp
from diffuser_fast.core.samplers import StepTable
from diffuser_fast.core.spec import UNetSpec, ValueSpec
from diffuser_fast.settings import SETTINGS

ISAS = [SETTINGS.isa] if SETTINGS.isa else cpu.isas()
every_isa = pytest.mark.parametrize("isa", ISAS)
needs_engine = pytest.mark.skipif(cpu.why_not() is not None, reason=str(cpu.why_not()))

HOPPER = UNetSpec(32, 14), ValueSpec(32, 14)
CHEETAH = UNetSpec(4, 23, dim_mults=(1, 4, 8), attention=True), ValueSpec(4, 23, dim_mults=(1, 4, 8))
SMALL = (
    UNetSpec(12, 7, dim=24, dim_mults=(1, 2, 3), kernel_size=3),
    ValueSpec(12, 7, dim=24, dim_mults=(1, 2, 3), middle="none", kernel_size=3),
)
UNEVEN = UNetSpec(20, 5, dim=8, dim_mults=(1, 3), groups=4), ValueSpec(20, 5, dim=16, dim_mults=(1, 3), groups=4)


def random_weights(shapes, seed=0):
    """Name -> float32 weights under which activations keep their size."""
    rng = np.random.default_rng(seed)
    made = {}
    for name, shape in shapes.items():
        scale = 0.2 if len(shape) == 1 else 1 / np.sqrt(np.prod(shape[1:]))
        center = 1.0 if name.endswith("norm.weight") else 0.0
        made[name] = (center + scale * rng.standard_normal(shape)).astype(np.float32)
    return made


def random_network(spec, horizon, rows, seed, with_gradient=False):
    program = lower(spec, horizon).net
    rng = np.random.default_rng(seed)
    return Network(
        program=program,
        weights=MappingProxyType(random_weights(program.weights, seed)),
        tables=TimeTables(rng.standard_normal((rows, 1, program.table_width))),
        fused=fuse(program),
        gradient=fuse(vjp(program)) if with_gradient else None,
    )


def random_loop(specs=SMALL, rows=3, guide_steps=(2, 1, 0), g0=0.0, clip=False, seed=0, guided=True):
    """A sampling loop with coefficients of a plausible size in every column."""
    unet, value = specs
    k = np.arange(rows) / max(rows, 1)
    steps = StepTable(
        t=np.arange(rows)[::-1], p=0.1 * k, q=0.9 - 0.2 * k, a=0.5 + 0.3 * k, b=0.4 - 0.2 * k, d=0.05 * k,
        s=0.3 * (k < k.max(initial=0)), variance=0.0, sqrt_abar=0.0, sqrt_one_minus_abar=0.0, gx=0.2 - 0.05 * k, g0=g0,
        guide_steps=np.resize(guide_steps, rows) if guided else 0,
    )  # fmt: skip
    depth = unet.transition_dim
    return SamplingLoop(
        denoiser=random_network(unet, unet.horizon, rows, seed),
        guide=random_network(value, unet.horizon, rows, seed + 1, with_gradient=True) if guided else None,
        steps=steps,
        horizon=unet.horizon,
        transition_dim=depth,
        clip=(np.full(depth, -0.8, np.float32), np.linspace(0.5, 1, depth, dtype=np.float32)) if clip else None,
    )


def random_inpainting(loop, samples=1, seed=5):
    """The first moment is given, and two numbers of the last."""
    mask = np.zeros((loop.horizon, loop.transition_dim), bool)
    mask[0, 1:] = mask[-1, :2] = True
    values = np.random.default_rng(seed).standard_normal((samples, *mask.shape))
    return Inpainting(mask, np.where(mask, values, 0).astype(np.float32))


def random_tape(loop, samples, seed=6):
    shape = (loop.rows + 1, samples, loop.horizon, loop.transition_dim)
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)

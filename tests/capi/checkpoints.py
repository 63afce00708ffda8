"""Small planners to export, without torch, and bundles of them."""

import functools

import numpy as np
from csrc.engines import random_weights

import diffuser_fast as dfx
from diffuser_fast.core.checkpoint import Acting, Checkpoint, Weights
from diffuser_fast.core.lower import lower
from diffuser_fast.core.normalizers import CDF, Affine, Gaussian, Limits, Normalizers
from diffuser_fast.core.schedule import cosine
from diffuser_fast.core.spec import UNetSpec, ValueSpec

H, A, O, T = 8, 2, 3, 6
GUIDE = dfx.Guide(0.3, 2, 1)


def network(spec, seed, gain=1.0):
    """gain: of what the last convolution makes."""
    arrays = random_weights(lower(spec).weights, seed)
    return Weights(
        spec, arrays | {name: a * np.float32(gain) for name, a in arrays.items() if name.startswith("head.out")}
    )


def normalizer(kind, dim, seed):
    """Of no round numbers; a dimension of a cdf has one value."""
    data = np.random.default_rng(seed).normal(0.3, 1.7, (50, dim))
    if kind is CDF:
        data[:, dim - 1] = 0.25
        data[:20] = data[20:40]
    return kind.fit(data)


@functools.cache
def checkpoint(guided=True, kind=Limits, clip=False, attention=False, gain=1.0, observed="after"):
    unet = UNetSpec(H, A + O, dim=32, dim_mults=(1, 2), attention=attention)
    value = ValueSpec(H, A + O, dim=16, dim_mults=(1, 4)) if guided else None
    return Checkpoint(
        unet=network(unet, 1, gain), schedule=cosine(T), action_dim=A, clip_denoised=clip,
        value=network(value, 2) if guided else None, guide=GUIDE, acting=Acting(observed=observed),
        normalizers=Normalizers(normalizer(kind, O, 3), normalizer(kind, A, 4)),
        metadata={"source": 'of "tests"\n\\ and ünïcode'},
    )  # fmt: skip


def planner(guided=True, kind=Limits, clip=False, attention=False, gain=1.0, observed="after", **options):
    return dfx.Planner(
        checkpoint(guided, kind, clip, attention, gain, observed), "cpu", **{"batch_size": 3, "threads": 1, **options}
    )


def exported(folder, made=None, **options):
    """The bytes of a planner's bundle."""
    path = dfx.export(made or planner(), folder / "planner.dfb", **options)
    return path.read_bytes()


class Limited(Affine):
    """An affine normaliser with limits; ``fit`` gives one of its parent class."""

    @classmethod
    def fit(cls, data):
        found = Affine.fit(data)
        return Affine(found.scale, found.offset, np.full(found.dim, 1.5))


KINDS = (Gaussian, Limits, CDF, Affine, Limited)

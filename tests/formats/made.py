"""Checkpoints made for tests, without torch."""

import numpy as np
import pytest

from diffuser_fast.core.checkpoint import Checkpoint, Weights
from diffuser_fast.core.guidance import Guide
from diffuser_fast.core.lower import lower
from diffuser_fast.core.normalizers import Limits, Normalizers
from diffuser_fast.core.schedule import cosine
from diffuser_fast.core.spec import UNetSpec, ValueSpec
from diffuser_fast.formats import load

UNET = UNetSpec(8, 5, dim=8, dim_mults=(1, 2), attention=True)
VALUE = ValueSpec(8, 5, dim=8, dim_mults=(1, 4))


def weights(spec, seed=0):
    """Random float32 weights of a spec."""
    rng = np.random.default_rng(seed)
    return Weights(spec, {n: rng.normal(0, 0.3, s).astype(np.float32) for n, s in lower(spec).weights.items()})


def checkpoint(**changes):
    """A small guided checkpoint whose every field differs from its default."""
    rng = np.random.default_rng(7)
    fields = {
        "unet": weights(UNET),
        "value": weights(VALUE, 1),
        "schedule": cosine(6),
        "action_dim": 2,
        "prediction": "epsilon",
        "clip_denoised": True,
        "guide": Guide(scale=1 / 3, n_steps=3, t_stopgrad=1, scale_by_variance=False),
        "normalizers": Normalizers(Limits.fit(rng.normal(size=(9, 3))), Limits.fit(rng.normal(size=(9, 2)))),
        "metadata": {"env": "maze2d-umaze-v1", "nested": {"a": [1, 2.5, None]}, "word": "überprüft"},
    }
    return Checkpoint(**{**fields, **changes})


def same(one, other):
    """Assert that two checkpoints are equal in every bit."""
    for name in ("action_dim", "prediction", "clip_denoised", "guide", "metadata"):
        assert getattr(one, name) == getattr(other, name), name
    for name in ("unet", "value"):
        a, b = getattr(one, name), getattr(other, name)
        assert (a is None) == (b is None)
        if a is not None:
            assert a.spec == b.spec and a.arrays.keys() == b.arrays.keys()
            for key in a.arrays:
                np.testing.assert_array_equal(a.arrays[key].view(np.uint32), b.arrays[key].view(np.uint32))
    for name in one.schedule.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(one.schedule, name), getattr(other.schedule, name))
    assert (one.normalizers is None) == (other.normalizers is None)
    if one.normalizers is not None:
        assert one.normalizers.to_json() == other.normalizers.to_json()


def refuses(path, message, *, error=ValueError, **arguments):
    """Assert that load raises one sentence that matches; returns it."""
    with pytest.raises(error, match=message) as caught:
        load(path, **arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)

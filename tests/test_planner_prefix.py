"""Rows of a plan that are given come back as they were, whatever the guide does; warm starts move by any shift."""

import numpy as np
import pytest
from csrc.engines import needs_engine

import diffuser_fast as dfx
from diffuser_fast import conformance as c
from diffuser_fast.core.spec import UNetSpec, ValueSpec

H, A, O = 8, 2, 4
OBS = np.linspace(-1, 1, O)
RNG = np.random.default_rng(3)
BACKENDS = pytest.mark.parametrize("backend", [pytest.param("cpu", marks=needs_engine), "reference"])


def planner(backend="reference", guided=True, normalizer="gaussian", **options):
    checkpoint = c.random_checkpoint(
        UNetSpec(H, A + O, dim=16, dim_mults=(1, 2)),
        ValueSpec(H, A + O, dim=16, dim_mults=(1, 8)) if guided else None,
        action_dim=A, n_train=6, guide=dfx.Guide(0.5, 2, 1), normalizer=normalizer,
    )  # fmt: skip
    return dfx.Planner(checkpoint, backend, **{"batch_size": 2, "threads": 1, **options})


@BACKENDS
@pytest.mark.parametrize("normalizer", ["gaussian", "limits"])
@pytest.mark.parametrize("budget_ms", [None, 0.0])
def test_rows_come_back_exactly(backend, normalizer, budget_ms):
    made = planner(backend, normalizer=normalizer)
    low, high = made.checkpoint.normalizers.actions.unnormalize(np.array([[-0.5] * A, [0.5] * A]))
    actions = np.linspace(low, high, 3).astype(np.float32)
    low, high = made.checkpoint.normalizers.observations.unnormalize(np.array([[-0.5] * O, [0.5] * O]))
    observations = np.linspace(low, high, 3).astype(np.float32)
    options = {"number": 2, "budget_ms": budget_ms}
    plans = made.plan({0: low}, prefix=dfx.Prefix(actions, None), **options)
    np.testing.assert_array_equal(plans.actions[:, :3], np.stack([actions] * 2))
    both = made.plan({0: low}, prefix=dfx.Prefix(actions, observations, at=1), **options)
    np.testing.assert_array_equal(both.actions[:, 1:4], np.stack([actions] * 2))
    np.testing.assert_array_equal(both.observations[:, 1:4], np.stack([observations] * 2))
    free = made.plan({0: low}, **options)
    assert not np.array_equal(free.actions[:, 4:], both.actions[:, 4:])  # the rest follows what is given
    assert np.isfinite(both.values).all() and both.values.any()


@needs_engine
def test_the_engines_agree_on_a_prefix():
    prefix = dfx.Prefix(np.full((3, A), 0.3))
    ours, law = (planner(backend).plan({0: OBS}, prefix=prefix, number=1) for backend in ("cpu", "reference"))
    for field in ("actions", "observations", "values"):
        np.testing.assert_allclose(getattr(ours, field), getattr(law, field), rtol=1e-3, atol=1e-3)


def test_a_prefix_for_each_situation():
    made = planner()
    prefix = dfx.Prefix(RNG.normal(size=(3, 2, A)).astype(np.float32))
    plans = made.plan({-1: OBS}, prefix=prefix, number=0)
    assert plans.actions.shape == (3, 2, H, A)
    np.testing.assert_array_equal(plans.actions[:, :, :2], np.stack([prefix.actions] * 2, axis=1).astype(np.float32))
    for e in range(3):
        one = made.plan({-1: OBS}, prefix=dfx.Prefix(prefix.actions[e]), number=e)
        np.testing.assert_allclose(one.actions, plans.actions[e], rtol=1e-4, atol=1e-4)


@BACKENDS
def test_warm_starts_move_by_a_shift(backend):
    made = planner(backend, guided=False, warm_start=3, batch_size=1)
    first = made.plan({0: OBS}, number=0)
    plans = made.plan({0: OBS}, warm=True, shift=4, number=1)
    replay = plans.replay
    assert replay.shift == 4 and replay.last is not None
    again = made.plan({0: OBS}, replay=replay)
    np.testing.assert_array_equal(again.observations, plans.observations)
    other = made.plan({0: OBS}, replay=type(replay)(**{**vars(replay), "shift": 1}))
    assert not np.array_equal(other.observations, plans.observations)
    assert first.replay.last is None


@pytest.mark.parametrize(
    ("prefix", "complaint"),
    [
        (lambda: dfx.Prefix(np.zeros((3, A + 1))), "prefix: actions: found 3 numbers a row, expected 2"),
        (lambda: dfx.Prefix(np.zeros(A)), "prefix: actions: found shape"),
        (lambda: dfx.Prefix(np.full((1, A), np.nan)), "prefix: actions"),
        (lambda: dfx.Prefix(np.zeros((2, A)), np.zeros((3, O))), "prefix: actions and observations: found lengths"),
        (lambda: dfx.Prefix(np.zeros((H, A)), at=1), "prefix: rows 1 .. 8 do not lie in the horizon 8"),
        (lambda: dfx.Prefix(None, np.zeros((2, O))), "prefix: observations: some of its rows are given"),
        (lambda: dfx.Prefix(np.zeros((1, A)), at=-1), "at: found -1"),
    ],
)
def test_what_is_refused(prefix, complaint):
    with pytest.raises(ValueError, match=complaint):
        planner().plan({0: OBS}, prefix=prefix())
    with pytest.raises(TypeError, match="prefix: expected a Prefix"):
        planner().plan({0: OBS}, prefix=3)

"""A cost as a network is the formula, and its gradient the formula's."""

from dataclasses import replace

import numpy as np
import pytest
from core.interpreter import run

import diffuser_fast as dfx
from diffuser_fast import conformance as c
from diffuser_fast.core.checkpoint import Acting
from diffuser_fast.core.cost import Form
from diffuser_fast.core.cost_network import with_cost
from diffuser_fast.core.normalizers import CDF, Affine, Gaussian, Limits, Normalizers
from diffuser_fast.core.passes import vjp
from diffuser_fast.core.spec import UNetSpec

H, A, O = 8, 2, 4
OBS, ACT = dfx.Cost.observation, dfx.Cost.action
DATA = np.random.default_rng(5).normal(0.3, 1.4, (200, O))


def checkpoint(kind=Gaussian, observed="after"):
    made = c.random_checkpoint(UNetSpec(H, A + O, dim=16, dim_mults=(1, 2)), action_dim=A, n_train=6)
    return replace(
        made, normalizers=Normalizers(kind.fit(DATA), kind.fit(DATA[:, :A])), acting=Acting(observed=observed)
    )


def fourth():
    """Bends three deep, of observations and actions, one of them used twice."""
    near = (OBS(0) - 0.5) ** 2 + 2 * (OBS(1) + ACT(0)) ** 2
    deep = (3 - near).hinge() ** 2 - near / 4 + ACT(1) * 0.5 + 7
    return dfx.Cost(deep, 0.3) + dfx.Cost(near, 2.0, at=[0, -1])


COSTS = {
    "straight": dfx.Cost(2 * OBS(3) - ACT(1) + 1, 0.7, at=3),
    "keep out": dfx.Cost.keep_out((0.2, -0.1), 1.5, 4.0),
    "waypoint": dfx.Cost.waypoint((1.0, 0.5, -0.2), -2, 3.0, dims=(0, 1, 3)),
    "speed limit": dfx.Cost.speed_limit(0.8, 2.0),
    "step limit": dfx.Cost.step_limit(0.9, 2.0),
    "later": dfx.Cost(
        (((OBS(0).next().next() - ACT(1)) ** 2 - 2).hinge().next() + OBS(2).next()) ** 2 - OBS(1).next(), 0.2
    ),
    "deep": fourth(),
    "all": dfx.Cost.keep_out((0.2, -0.1), 1.5) + dfx.Cost.speed_limit(0.8) + fourth(),
}


def made(cost, ckpt, gradient=False):
    program, weights = with_cost(None, cost, ckpt, H)
    program = vjp(program) if gradient else program
    return program, {name: array.astype(np.float64) for name, array in weights.items()}


def compiled(cost, kind=Gaussian, **changes):
    return with_cost(None, cost, replace(checkpoint(kind), **changes), H)


def plans(ckpt, count=3, seed=1):
    """Normalised, and as observations and actions."""
    x = np.random.default_rng(seed).uniform(-0.95, 0.95, (count, H, A + O))
    actions, observations = ckpt.columns
    n = ckpt.normalizers
    return x, n.observations.unnormalize(x[..., observations]), n.actions.unnormalize(x[..., actions])


@pytest.mark.parametrize("observed", ["after", "before"])
@pytest.mark.parametrize("kind", [Gaussian, Limits, Affine])
@pytest.mark.parametrize("name", COSTS)
def test_the_network_is_the_formula(name, kind, observed):
    ckpt, cost = checkpoint(kind, observed), COSTS[name]
    program, weights = made(cost, ckpt)
    x, observations, actions = plans(ckpt)
    y = run(program, weights, {"x": x.transpose(0, 2, 1)})["y"]
    wanted = cost(observations, actions)
    assert np.ptp(wanted) > 0.1
    np.testing.assert_allclose(-y[:, 0, 0], wanted, rtol=1e-5, atol=1e-5)  # weights are float32


@pytest.mark.parametrize("name", COSTS)
def test_its_gradient_is_that_of_finite_differences(name):
    ckpt, cost = checkpoint(), COSTS[name]
    program, weights = made(cost, ckpt, gradient=True)
    x, step = plans(ckpt, 1)[0], 1e-6
    dx = run(program, weights, {"x": x.transpose(0, 2, 1), "dy": np.ones((1, 1, 1))})["dx"]
    moved = x + step * np.eye(x.size).reshape(x.size, H, A + O)
    back = x - step * np.eye(x.size).reshape(x.size, H, A + O)
    forward, _ = made(cost, ckpt)
    y, y_back = (run(forward, weights, {"x": many.transpose(0, 2, 1)})["y"][:, 0, 0] for many in (moved, back))
    wanted = ((y - y_back) / (2 * step)).reshape(H, A + O)
    assert np.abs(wanted).max() > 0.1
    np.testing.assert_allclose(dx[0].T, wanted, rtol=1e-6, atol=1e-6)


def test_what_is_not_inside_costs_nothing():
    cost = dfx.Cost.keep_out((0.0, 0.0), 1.0, 5.0)
    still = np.zeros((H, A))
    far, near = np.full((H, O), 2.0), np.full((H, O), 0.5)
    assert cost(far, still) == 0
    np.testing.assert_allclose(cost(near, still), 5 * H * 0.5)


def test_forms_are_plain_arithmetic():
    x = OBS(0)
    assert x - x == Form() and x + x == 2 * x and 1 - x == -(x - 1) and x / 2 == 0.5 * x
    assert np.float32(3) + x == x + 3 and (x * 0).terms == ()
    assert x.next().next().reach == 2 and (x.next() - x).next() == x.next().next() - x.next()
    assert dfx.Cost(x**2) + dfx.Cost(x) == dfx.Cost(x**2) + dfx.Cost(x) != dfx.Cost(x)


@pytest.mark.parametrize(
    ("wrong", "error", "sentence"),
    [
        (lambda: OBS(0) * OBS(1), TypeError, "form: a product of two forms is no form"),
        (lambda: OBS(0) ** 3, ValueError, "power: found 3, expected 2"),
        (lambda: OBS(0) + "far", ValueError, "form: found .far., expected a finite number"),
        (lambda: OBS(-1), ValueError, "dim: found -1"),
        (lambda: dfx.Cost(3.0), TypeError, "form: expected a form of Cost.observation and Cost.action, found float"),
        (lambda: dfx.Cost(OBS(0), np.nan), ValueError, "weight: "),
        (lambda: dfx.Cost.keep_out((1, 2, 3), 1), ValueError, "center: found .3. numbers, expected one for each of"),
        (lambda: compiled(dfx.Cost(OBS(0), at=H)), ValueError, "at: time 8 is outside the horizon 8"),
        (lambda: compiled(dfx.Cost(OBS(0).next(), at=-1)), ValueError, "at: the form is of what comes 1 later, so"),
        (lambda: with_cost(None, dfx.Cost(OBS(0).next()), checkpoint(), 1), ValueError, "form: it is of what comes 1"),
        (lambda: compiled(dfx.Cost(ACT(2))), ValueError, "cost: action 2 of plans that hold 2"),
        (lambda: compiled(dfx.Cost(OBS(0)), kind=CDF), ValueError, "cost: the observation's normaliser .CDF. is not"),
        (lambda: compiled(dfx.Cost(OBS(0)), normalizers=None), ValueError, "cost: the checkpoint has no normaliser"),
    ],
)  # fmt: skip
def test_what_is_refused(wrong, error, sentence):
    with pytest.raises(error, match=sentence):
        wrong()

"""Arguments of another kind, and numbers beyond an end: what has no name in numpy's or Python's own words."""

import re

import numpy as np
import pytest
from test_planner import obs, planner

import diffuser_fast as dfx


def test_arguments_of_another_kind_are_named():
    one = planner()
    for call, error, sentence in [
        (lambda: one.act(obs(), [1]), TypeError, "conditions: expected {time: observation}, found list"),
        (lambda: planner(cores=1), (TypeError, ValueError), "cores: "),
        (
            lambda: planner(batch_size=2**40),
            ValueError,
            "batch_size: found 1099511627776, expected a whole",
        ),
        (lambda: planner(threads=2**40), ValueError, "threads: found"),
        (lambda: planner(guide=np.zeros(3)), TypeError, "guide: expected 'auto', None or a Guide"),
        (lambda: planner(preset=["paper"]), ValueError, "preset: found ['paper'], expected a word"),
        (lambda: dfx.Guide(factor=["a"]), ValueError, "factor: found"),
        (lambda: dfx.load(None), TypeError, "path: expected a path"),
        (lambda: dfx.load("maze2d-umaze", normalizer={}), TypeError, "normalizer: expected the path"),
        (lambda: dfx.Executor(None, dt=0.02, delay=4), TypeError, "planner: expected a Planner, found NoneType"),
        (lambda: one.plan({0: [10**400, *obs()[1:]]}), (TypeError, ValueError), "conditions[0]: expected"),
    ]:
        with pytest.raises(error, match=re.escape(sentence)):
            call()


def test_the_last_number_of_a_seed():
    one, last = planner(), 2**32 - 1
    one.plan({0: obs()}, number=last)
    with pytest.raises(ValueError, match=f"number: plans of a seed end with {last}, found {last + 1}"):
        one.plan({0: np.stack([obs(), obs()])}, number=last)


@pytest.mark.parametrize("lead", [1, 2])
def test_a_prefix_for_one_situation_is_for_all(lead):
    one = planner(batch_size=2)
    width = one.checkpoint.action_dim
    rows = np.full((lead, 3, width), 0.25)
    plans = one.plan({0: np.stack([obs(), obs()])}, prefix=dfx.Prefix(actions=rows))
    assert plans.actions.shape[:2] == (2, 2) and np.all(plans.actions[:, :, :3] == 0.25)
    with pytest.raises(ValueError, match="prefix: actions: for 0 situations, expected at least one"):
        one.plan({0: obs()}, prefix=dfx.Prefix(actions=rows[:0]))


def test_costs_take_tensors():
    torch = pytest.importorskip("torch")
    cost, x = dfx.Cost.keep_out((0.0, 0.0), 1.0), torch.zeros(5, 4, requires_grad=True)
    assert cost(x, torch.zeros(5, 2)) == cost(np.zeros((5, 4)), np.zeros((5, 2)))
    with pytest.raises(ValueError, match=r"observations: expected shape \[..., H, D\], found \[4\]"):
        cost(np.zeros(4), np.zeros(2))

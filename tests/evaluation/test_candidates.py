"""Candidates beside what they lead to: true ones have no distance, and values that are returns rank them."""

import numpy as np
import pytest

from diffuser_fast import load
from diffuser_fast.control.behavior import actors_of
from diffuser_fast.envs.locomotion import make_body
from evaluation import candidates

pytest.importorskip("gymnasium")
NAME = "hopper-medium"


@pytest.fixture(scope="module")
def body():
    return candidates.Body(make_body(NAME), actors_of(NAME)[0][1], 0.9, -10.0)


class Oracle:
    """Candidates are what the body does under random actions, values what it returns."""

    def __init__(self, body, worth=1.0):
        self.body, self.worth, self.checkpoint = body, worth, load(NAME)

    def plan(self, conditions, number):
        state = self.body.env.data.qpos.copy(), self.body.env.data.qvel.copy()
        actions = np.random.default_rng(number).uniform(-1, 1, (6, candidates.PLAYED, 3)).astype(np.float32)
        states = [[conditions[0], *self.body.played(state, one)] for one in actions]
        values = [self.worth * self.body.returned(state, conditions[0], one, 0, 30) for one in actions]
        made = type("Plans", (), {})()
        made.actions, made.observations, made.values = actions, np.array(states), np.array(values)
        return made


@pytest.mark.parametrize("worth", [1.0, -1.0])
def test_an_oracle(body, worth):
    """And one that says the opposite."""
    them = candidates.found(Oracle(body, worth), body, 3, 1, 30)
    assert them["errors"].shape == (3, candidates.PLAYED) and them["errors"].max() < 1e-9
    np.testing.assert_allclose(them["values"], worth * them["returns"][..., 0], rtol=1e-12)
    assert (them["returns"].std(axis=1) > 0.01).all()


def test_a_state_is_gone_back_to(body):
    (obs, state), *_ = list(body.states(2))
    once, again = (body.returned(state, obs, np.zeros((2, 3)), 5, 40) for _ in range(2))
    assert once == again != body.returned(state, obs, np.ones((2, 3)), 5, 40)


def test_the_penalty_and_the_discount(body):
    """Of a fall: all of it, discounted from the step it happens in."""
    (obs, state), *_ = list(body.states(1))
    down = np.ones((200, 3))
    body.env.set_state(*state)
    fell = next(step for step, action in enumerate(down) if body.env.step(action)[2])
    mild = candidates.Body(body.env, body.actor, 0.9, 0.0)
    difference = body.returned(state, obs, down, 0, 200) - mild.returned(state, obs, down, 0, 200)
    assert difference == pytest.approx(-10 * 0.9**fell, rel=1e-9)


def test_the_command_prints_every_row():
    sheet = candidates.measured(NAME, 2, 2, 2, 1, steps=20)
    assert len(sheet.rows) == 11 and all(len(row) == len(sheet.columns) for row in sheet.rows)
    with pytest.raises(ValueError, match="no value network"):
        candidates.measured("maze2d-umaze", 2, 2, 1, 1, steps=20)

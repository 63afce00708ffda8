"""How far plans are from the policy that made their data: not at all where they are its own, else by how much."""

import numpy as np
import pytest

from diffuser_fast.control.behavior import actors_of
from evaluation import imitation

pytest.importorskip("gymnasium")


class Plans:
    def __init__(self, actions):
        self.actions = actions


class Stand:
    """Plans whose first actions are the policy's own, moved and spread."""

    batch_size = 400

    def __init__(self, actor, moved=0.0, spread=1.0):
        self.actor, self.moved, self.spread = actor, moved, spread

    def plan(self, conditions, number):
        draws = np.random.default_rng(100 + number).standard_normal((self.batch_size, self.actor.action_dim))
        actions = [self.actor.act(conditions[0], self.spread * d) + self.moved for d in draws]
        return Plans(np.array(actions)[:, None])


@pytest.fixture(scope="module")
def actor():
    return actors_of("hopper-medium")[0][1]


@pytest.fixture(scope="module")
def states(actor):
    return imitation.episodes(actor, "hopper", 1.0, 2, steps=300)[1][:20]


def test_the_policy_itself(actor, states):
    found = imitation.first_actions(Stand(actor), actor, states)
    assert (found["apart"] < 0.03).all() and (found["policy"] > 0.05).all()
    np.testing.assert_allclose(found["plans"], found["policy"], rtol=0.05)


def test_actions_that_are_moved_or_steadier(actor, states):
    moved = imitation.first_actions(Stand(actor, moved=-0.1), actor, states)
    assert ((moved["apart"] > 0.04) & (moved["apart"] < 0.12)).all()  # less where the motors' range cuts them off
    steady = imitation.first_actions(Stand(actor, spread=0.5), actor, states)
    assert (steady["plans"] < 0.7 * steady["policy"]).all()


def test_episodes_are_addressed_by_their_seed(actor):
    noisy, visited = imitation.episodes(actor, "hopper", 1.0, 2, steps=40)
    again, _ = imitation.episodes(actor, "hopper", 1.0, 2, steps=40)
    still, _ = imitation.episodes(actor, "hopper", 0.0, 2, steps=40)
    assert noisy.tolist() == again.tolist() != still.tolist() and visited.shape[1] == 11


def test_the_command_prints_every_row(capsys, tmp_path):
    sheet = imitation.measured("hopper-medium", 2, 2, 2, 1, steps=30)
    assert [row[0] for row in sheet.rows[:2]] == [
        "return of the policy, its noise times 1", "return of the policy, its noise times 0.7",
    ]  # fmt: skip
    assert len(sheet.rows) == len(imitation.SCALES) + 9 and all(np.isfinite(row[1]) for row in sheet.rows)

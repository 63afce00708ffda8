"""Behaviour policies: the formula written out, files that read back, one error for each that does not."""

import itertools
import json

import numpy as np
import pytest
from safetensors import numpy as safetensors

from diffuser_fast.control.actor import FORMAT, Actor, load_actors, save_actors
from diffuser_fast.envs.locomotion import BODIES
from diffuser_fast.pretrained import actors as bundled


def made(seed=0, obs=5, act=2, activation="tanh", squash=False, **changes):
    rng = np.random.default_rng(seed)
    sizes = [obs, 8, 8, 2 * act]
    fields = {
        "means": rng.normal(size=obs),
        "stds": rng.uniform(0.5, 2, obs),
        "weights": tuple(rng.normal(0, 0.5, (b, a)).astype(np.float32) for a, b in itertools.pairwise(sizes)),
        "biases": tuple(rng.normal(0, 0.5, b).astype(np.float32) for b in sizes[1:]),
    }
    fields |= {name: fields[name].astype(np.float32) for name in ("means", "stds")}
    return Actor(**{**fields, "activation": activation, "squash": squash, **changes})


@pytest.mark.parametrize(("activation", "squash"), [("tanh", False), ("relu", True)])
def test_an_action_is_the_formula(activation, squash):
    actor, rng = made(activation=activation, squash=squash), np.random.default_rng(1)
    for _ in range(20):
        obs, noise = rng.normal(0, 2, 5), rng.normal(size=2)
        x = [(o - m) / s for o, m, s in zip(obs, actor.means.astype(float), actor.stds.astype(float))]
        for k, (w, b) in enumerate(zip(actor.weights, actor.biases)):
            x = [sum(float(w[i, j]) * x[j] for j in range(len(x))) + float(b[i]) for i in range(len(b))]
            if k < 2:
                x = [np.tanh(v) if activation == "tanh" else max(v, 0.0) for v in x]
        sample = [x[i] + np.exp(np.clip(x[2 + i], -20, 2)) * noise[i] for i in range(2)]
        expected = np.tanh(sample) if squash else np.clip(sample, -1, 1)
        action = actor.act(obs, noise)
        assert action.dtype == np.float32
        np.testing.assert_allclose(action, expected, rtol=2e-5, atol=2e-6)


def test_deviations_are_clipped_where_soft_actor_critic_clips_them():
    biases = (np.zeros(8, np.float32), np.zeros(8, np.float32), np.array([0, 0, 9, -99], np.float32))
    actor = made(biases=biases, weights=tuple(np.zeros_like(w) for w in made().weights))
    sample = actor.act(np.zeros(5), [0.1, 1.0])
    np.testing.assert_allclose(sample, [0.1 * np.e**2, np.e**-20], rtol=1e-6)


def test_files_read_back(tmp_path):
    actors = [made(0), made(1)]
    path = save_actors(tmp_path / "two.safetensors", actors, {"name": "two"})
    found, card = load_actors(path)
    assert card == {"name": "two"} and len(found) == 2 and [f.name for f in tmp_path.iterdir()] == ["two.safetensors"]
    for a, b in zip(actors, found):
        for name in ("means", "stds"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        assert all((x == y).all() for x, y in zip((*a.weights, *a.biases), (*b.weights, *b.biases)))
    with pytest.raises(ValueError, match="one kind in a file"):
        save_actors(path, [made(0), made(0, squash=True)], {})


def test_files_that_are_something_else(tmp_path):
    path = tmp_path / "x.safetensors"
    with pytest.raises(FileNotFoundError):
        load_actors(path)
    safetensors.save_file({"a": np.zeros(2, np.float32)}, path)
    with pytest.raises(ValueError, match=r"x\.safetensors: found no record"):
        load_actors(path)
    record = {"version": 1, "actors": 1, "layers": 1, "activation": "tanh", "squash": False, "card": {}}
    path.write_bytes(safetensors.save({"0.means": np.zeros(2, np.float32)}, metadata={FORMAT: json.dumps(record)}))
    with pytest.raises(ValueError, match=r"x\.safetensors: .*0\.stds"):
        load_actors(path)
    save_actors(path, [made()], {})
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"x\.safetensors: "):
        load_actors(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activation": "gelu"}, "activation: found 'gelu'"),
        ({"means": np.zeros(4, np.float32)}, r"weight0: found shape \[8, 5\], expected \[8, 4\]"),
        ({"stds": np.zeros(5, np.float32)}, "positive deviation"),
        ({"means": np.full(5, np.nan, np.float32)}, "means: found float32"),
        ({"means": np.zeros(5)}, "means: found float64"),
    ],
)
def test_sizes_must_fit(changes, message):
    with pytest.raises(ValueError, match=message):
        made(**changes)


@pytest.mark.parametrize("name", bundled.names())
def test_bundled_policies_fit_their_bodies_and_cards(name):
    actors, card = load_actors(bundled.path(name))
    body = BODIES[name.partition("-")[0]]
    assert card == json.loads(bundled.path(name).with_suffix(".json").read_text(encoding="utf-8"))
    assert card["name"] == name and card["env"] == body.env_id and len(card["policies"]) == len(actors)
    for actor in actors:
        assert (actor.observation_dim, actor.action_dim) == (body.observation_dim, body.action_dim)


def test_unknown_names_list_the_known():
    with pytest.raises(ValueError, match="hopper-medium"):
        bundled.path("hopper-superb")

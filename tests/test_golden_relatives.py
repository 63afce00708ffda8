"""Traces recorded from diffusers and lerobot, through the public API: load a folder, plan on its noise."""

import json
from dataclasses import replace

import numpy as np
import pytest
from oracle.goldens import FOLDER

import diffuser_fast as dfx

RELATIVES = FOLDER / "relatives"
BACKENDS = ["reference", "cpu"]
LIMIT = 1e-4  # of a field's largest number, as they were recorded in float32


def near(found, expected):
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= LIMIT * np.abs(expected).max()


def golden(name):
    with np.load(RELATIVES / name / "golden.npz") as file:
        return dict(file)


def pipeline(tmp_path):
    """The checkpoint of diffusers; its statistics are one mean and one standard deviation for each field."""
    g = golden("diffusers")
    sizes = {"observations": g["obs"].size, "actions": g["tape"].shape[-1] - g["obs"].size}
    fields = {
        name: {"means": [float(g["means"][i])] * size, "stds": [float(g["stds"][i])] * size}
        for i, (name, size) in enumerate(sizes.items())
    }
    (tmp_path / "stats.json").write_text(json.dumps({"normalizer": "GaussianNormalizer", "fields": fields}))
    return g, dfx.load(RELATIVES / "diffusers", normalizer=tmp_path / "stats.json", horizon=g["tape"].shape[2])


@pytest.mark.parametrize("backend", BACKENDS)
def test_diffusers(backend, tmp_path):
    g, checkpoint = pipeline(tmp_path)
    planner = dfx.Planner(checkpoint, backend, batch_size=g["tape"].shape[1], threads=1)
    plans = planner.plan({0: g["obs"]}, noise=g["tape"])  # which ends where no more is drawn
    order = np.argsort(-g["values_sample_order"].ravel(), kind="stable")
    x, split = g["plans_sample_order"][order], checkpoint.action_dim
    near(plans.values, g["values_sample_order"].ravel()[order])
    near(plans.actions, x[..., :split] * g["stds"][1] + g["means"][1])
    near(plans.observations, x[..., split:] * g["stds"][0] + g["means"][0])
    near(plans.actions[0, 0], g["action"])
    unguided = dfx.Planner(checkpoint, backend, batch_size=4, guide=None).plan({0: g["obs"]}, noise=g["tape"])
    near(unguided.actions, g["unguided_sample_order"][..., :split] * g["stds"][1] + g["means"][1])


MISREADINGS = {
    "the original's factor": {"factor": None},
    "exp of the variance": {"factor": "exp_half_variance"},
    "guided to the end": {"t_stopgrad": 0},
}


@pytest.mark.parametrize("misread", MISREADINGS)
def test_another_guide_does_not_reproduce_it(misread, tmp_path):
    g, checkpoint = pipeline(tmp_path)
    guide = replace(checkpoint.guide, **MISREADINGS[misread])
    plans = dfx.Planner(checkpoint, "reference", batch_size=4, guide=guide).plan({0: g["obs"]}, noise=g["tape"])
    with pytest.raises(AssertionError):
        near(np.sort(plans.values), np.sort(g["values_sample_order"].ravel()))


@pytest.mark.parametrize("backend", BACKENDS)
def test_lerobot(backend):
    g, checkpoint = golden("lerobot"), dfx.load(RELATIVES / "lerobot")
    planner = dfx.Planner(checkpoint, backend, batch_size=1, threads=1)
    seen = np.concatenate((g["obs_state"], g["obs_env"]), axis=-1)  # [situations, history, O]
    plans = planner.plan({}, noise=g["tape"][:, :, None], condition=seen)
    near(plans.actions[:, 0, planner.executed], g["actions"])


def test_the_actions_of_a_chunk_come_one_after_another():
    g, checkpoint = golden("lerobot"), dfx.load(RELATIVES / "lerobot")
    planner, other = (dfx.Planner(checkpoint, "cpu", seed=4, threads=1) for _ in range(2))
    seen = np.concatenate((g["obs_state"], g["obs_env"]), axis=-1).reshape(-1, 7)
    acted = [planner.act(obs) for obs in np.tile(seen, (2, 1))[:10]]
    first = other.plan({}, condition=seen[[0, 0]]).actions[0, other.executed]
    second = other.plan({}, condition=np.tile(seen, (2, 1))[7:9]).actions[0, other.executed]
    np.testing.assert_array_equal(acted, [*first, *second[:2]])
    planner.reset(number=0)
    np.testing.assert_array_equal(planner.act(seen[0]), first[0])  # the history and what was ahead are forgotten

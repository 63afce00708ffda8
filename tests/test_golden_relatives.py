"""Traces recorded from the original's relatives, through the public API: load what they saved, plan on their noise."""

import json
from dataclasses import replace

import numpy as np
import pytest
from bounds import within
from oracle.goldens import FOLDER

import diffuser_fast as dfx
from diffuser_fast import backends
from diffuser_fast import conformance as c
from diffuser_fast.core.conditions import no_inpainting
from diffuser_fast.core.loop import PlanTables, SamplingLoop, TimeTables, network
from diffuser_fast.core.passes import vjp
from diffuser_fast.core.samplers import StepTable

RELATIVES = FOLDER / "relatives"
BACKENDS = ["reference", "cpu"]
LIMIT = 1e-4  # of a field's largest number, as they were recorded in float32


def near(found, expected):
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= LIMIT * np.abs(expected).max()


def golden(name):
    with np.load(RELATIVES / name / "golden.npz") as file:
        return dict(file)


def statistics(tmp_path, **fields):
    """Gaussian statistics of these means and standard deviations, as a file that load takes."""
    record = {name: {"means": list(means), "stds": list(stds)} for name, (means, stds) in fields.items()}
    (tmp_path / "stats.json").write_text(json.dumps({"normalizer": "GaussianNormalizer", "fields": record}))
    return tmp_path / "stats.json"


def identity(tmp_path, observations, actions):
    return statistics(
        tmp_path,
        observations=(np.zeros(observations), np.ones(observations)),
        actions=(np.zeros(actions), np.ones(actions)),
    )


def pipeline(tmp_path):
    """The checkpoint of diffusers; its statistics are one mean and one standard deviation for each field."""
    g = golden("diffusers")
    sizes = {"observations": g["obs"].size, "actions": g["tape"].shape[-1] - g["obs"].size}
    fields = {
        name: ([float(g["means"][i])] * size, [float(g["stds"][i])] * size)
        for i, (name, size) in enumerate(sizes.items())
    }
    stats = statistics(tmp_path, **fields)
    return g, dfx.load(RELATIVES / "diffusers", normalizer=stats, horizon=g["tape"].shape[2])


def checkpoint_of(name, tmp_path):
    """The checkpoint of a trace; what is normalised in the trace stays so."""
    if name == "diffusers":
        return pipeline(tmp_path)[1]
    stats = {} if name in ("lerobot", "diffusion_policy") else {"normalizer": identity(tmp_path, 4, 2)}
    return dfx.load(RELATIVES / name, **stats)


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
def test_cleandiffuser(backend, tmp_path):
    """Each of its samples has a prior of its own: a situation each. Observations stand first, and ``log_p`` ranks."""
    g, checkpoint = golden("cleandiffuser"), checkpoint_of("cleandiffuser", tmp_path)
    planner = dfx.Planner(checkpoint, backend, batch_size=1, threads=1)
    (known,) = np.flatnonzero(g["fix_mask"].any(axis=1))
    seen = {int(known): g["prior"][:, known, :4]}
    plans = planner.plan(seen, noise=g["tape"][:, :, None], return_chain=True)
    near(plans.observations[:, 0], g["sample"][..., :4])
    near(plans.actions[:, 0], np.clip(g["sample"][..., 4:], -1, 1))  # as its pipelines execute them
    near(plans.values, g["log_p"])
    near(plans.chain[:, 0, : len(g["history"])][..., 2:], np.moveaxis(g["history"], 0, 1)[..., :4])
    unguided = dfx.Planner(checkpoint, backend, guide=None, threads=1).plan(seen, noise=g["tape"][:, :, None])
    near(unguided.observations[:, 0], g["unguided_sample"][..., :4])


@pytest.mark.parametrize("backend", BACKENDS)
def test_diffusion_policy(backend):
    g, checkpoint = golden("diffusion_policy"), dfx.load(RELATIVES / "diffusion_policy")
    planner = dfx.Planner(checkpoint, backend, batch_size=1, threads=1)
    plans = planner.plan({}, noise=g["tape"][:, :, None], condition=g["obs"])
    near(plans.actions[:, 0], g["action_pred"])
    near(plans.actions[:, 0, planner.executed], g["action"])


@pytest.mark.parametrize("backend", BACKENDS)
def test_lerobot(backend):
    g, checkpoint = golden("lerobot"), dfx.load(RELATIVES / "lerobot")
    planner = dfx.Planner(checkpoint, backend, batch_size=1, threads=1)
    seen = np.concatenate((g["obs_state"], g["obs_env"]), axis=-1)  # [situations, history, O]
    plans = planner.plan({}, noise=g["tape"][:, :, None], condition=seen)
    near(plans.actions[:, 0, planner.executed], g["actions"])


@pytest.mark.parametrize("backend", BACKENDS)
def test_decision_diffuser(backend, tmp_path):
    g, checkpoint = golden("decision_diffuser"), checkpoint_of("decision_diffuser", tmp_path)
    given = {0: g["obs_normalised"]}, {"noise": g["tape"][:, :, None], "condition": g["returns"]}
    plans = dfx.Planner(checkpoint, backend, batch_size=1, threads=1).plan(given[0], return_chain=True, **given[1])
    near(plans.observations[:, 0], g["sample"])
    near(plans.actions[:, 0, 0], g["action_normalised"])  # by inverse dynamics
    near(plans.chain[:, 0], g["chain"])
    alone = replace(checkpoint, condition_weight=1.0)
    plans = dfx.Planner(alone, backend, batch_size=1, threads=1).plan(given[0], **given[1])
    near(plans.observations[:, 0], g["sample_w1"])


def test_the_normaliser_of_decision_diffuser():
    g = golden("decision_diffuser")
    from diffuser_fast.core.normalizers import CDF

    fitted = CDF.fit(g["cdf_data"])
    near(fitted.normalize(g["cdf_in"]), g["cdf_normalised"])
    near(fitted.unnormalize(g["cdf_back_in"]), g["cdf_unnormalised"])


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


# Of each trace, what its networks made of one input: part, result, gradient, and the condition (None: without).
FORWARD = {
    "diffusers": [("unet", "forward_out", None, None), ("value", "value_out", "value_grad", None)],
    "cleandiffuser": [("unet", "forward_out", None, None), ("value", "classifier_out", "classifier_grad", None)],
    "diffusion_policy": [("unet", "forward_out", None, "forward_global_cond")],
    "lerobot": [("unet", "forward_out", None, "forward_global_cond")],
    "decision_diffuser": [("unet", "forward_cond", None, "forward_returns"), ("unet", "forward_uncond", None, None)],
}
CASES = [(name, *case) for name, cases in FORWARD.items() for case in cases]


def at_its_input(weights, g, condition):
    """A network, and what each sample sees of its step and condition: ``[B, S]``."""
    steps = StepTable(g["forward_t"], **dict.fromkeys(("p", "q", "a", "b", "d", "s"), 0.0), variance=0.0, sqrt_abar=1.0,
                      sqrt_one_minus_abar=0.0)  # fmt: skip
    net = network(weights, steps, weights.spec.horizon)
    table = net.tables.per_step[:, 0].astype(np.float64)
    return net, table if condition is None else table + net.condition(g[condition])


@pytest.mark.parametrize(
    ("name", "part", "out", "grad", "condition"), CASES, ids=[f"{n}-{out}" for n, _, out, *_ in CASES]
)
def test_its_networks(name, part, out, grad, condition, tmp_path):
    """The library's own result, and the CPU engine's, are within what float32 implies for the network."""
    g, weights = golden(name), getattr(checkpoint_of(name, tmp_path), part)
    net, table = at_its_input(weights, g, condition)
    x = {"x": np.moveaxis(g["forward_x"], 1, 2)}
    implied = c.implied_by_program(net.program, net.weights, x, table)["y"]
    found = g[out]
    within(np.moveaxis(found, 1, 2) if part == "unet" else found[..., None], implied, out)
    if grad:
        given = x | {"dy": np.ones((len(found), 1, 1))}
        within(
            np.moveaxis(g[grad], 1, 2), c.implied_by_program(vjp(net.program), net.weights, given, table)["dx"], grad
        )
        return
    still = StepTable(np.zeros(1, int), p=0.0, q=1.0, a=1.0, b=0.0, d=0.0, s=0.0, variance=0.0, sqrt_abar=1.0,
                      sqrt_one_minus_abar=0.0)  # fmt: skip
    size = g["forward_x"].shape
    loop = SamplingLoop(replace(net, tables=TimeTables(net.tables.per_step[:1])), None, still, *size[1:])
    engine = backends.get("cpu").ready(loop, batch=size[0], precision="float32", threads=1)
    tables = PlanTables(TimeTables(table[None].astype(np.float32)))
    result = engine(no_inpainting(*size[1:]), np.zeros((2, *size), np.float32), x=g["forward_x"], tables=tables)
    within(np.moveaxis(result.x, 1, 2), implied, "cpu")

"""The reference in float64 beside the oracle, which was written from the paper: two independent readings.

Both are within what float64 implies for the computation, and so within twice that of each other.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from oracle import samplers as printed
from oracle.diffusion import GaussianDiffusion, ValueDiffusion, n_step_guided_p_sample
from oracle.draws import normal, randomize
from oracle.networks import Maze2dTemporalUnet, TemporalUnet, TemporalValue, ValueFunction
from oracle.policies import ValueGuide

from diffuser_fast import conformance as c
from diffuser_fast.backends import reference
from diffuser_fast.core.checkpoint import Checkpoint
from diffuser_fast.core.conditions import Inpainting
from diffuser_fast.core.guidance import Guide
from diffuser_fast.core.loop import PlanTables, TimeTables, sampling_loop
from diffuser_fast.core.lower import lower
from diffuser_fast.core.passes import fuse, time_tables, vjp
from diffuser_fast.core.samplers import step_table
from diffuser_fast.core.schedule import Schedule
from diffuser_fast.core.spec import UNetSpec
from diffuser_fast.formats import janner_keys

UNETS = {
    "hopper": (TemporalUnet, 32, 14, {"dim": 32}),
    "halfcheetah": (TemporalUnet, 4, 23, {"dim": 16, "dim_mults": (1, 4, 8), "attention": True}),
    "attention at a longer horizon": (TemporalUnet, 16, 6, {"dim": 16, "dim_mults": (1, 2), "attention": True}),
    "maze2d": (Maze2dTemporalUnet, 64, 6, {"dim": 16, "dim_mults": (1, 4, 8)}),
    "five levels": (TemporalUnet, 16, 5, {"dim": 16, "dim_mults": (1, 2, 2, 2, 4)}),
    "one level of odd length": (TemporalUnet, 5, 3, {"dim": 48, "dim_mults": (1,)}),
}
VALUES = {
    "hopper": (ValueFunction, 32, 14, {"dim": 32}),
    "halfcheetah": (ValueFunction, 4, 23, {"dim": 16, "dim_mults": (1, 4, 8)}),
    "lengths 20 10 5 3 2 1": (ValueFunction, 20, 6, {"dim": 16, "dim_mults": (1, 2, 4)}),
    "lengths 12 6 3 2 1 1": (ValueFunction, 12, 6, {"dim": 16, "dim_mults": (1, 2, 4)}),
    "maze2d": (TemporalValue, 32, 6, {"dim": 16, "dim_mults": (1, 4, 8)}),
    "length 1": (TemporalValue, 1, 6, {"dim": 24, "dim_mults": (1, 2)}),
}


def network(kind, horizon, depth, options, seed=0):
    """An oracle network in float64 whose weights float32 can hold, and the same weights under our names."""
    net = randomize(kind(horizon, depth, 1, **options), seed, torch.float32).double()
    state = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
    value = isinstance(net, ValueFunction | TemporalValue)
    return net, janner_keys.value_weights(state, horizon, None) if value else janner_keys.unet_weights(state, horizon)


def tables(weights, t):
    """Time tables ``[R, S]`` in float64: the loop's own are rounded, as engines take them."""
    return time_tables(lower(weights.spec).time, weights.arrays, np.asarray(t), weights.spec.time)


def tensors(weights):
    return {name: torch.tensor(array, dtype=torch.float64) for name, array in weights.arrays.items()}


def agree(implied, *results):
    """All of these results, of whatever shape, are within the bound of float64."""
    for result in results:
        verdict = c.judge(np.asarray(result).reshape(implied.exact.shape), implied, sides=2)
        assert verdict.passed, verdict


FLOAT64 = c.ARITHMETIC["float64"]


def evaluated(program, weights, inputs, table):
    """A program in float64, and what float64 implies for it: outputs by name. table: ``[S]``, or of each sample."""
    weights, inputs = (
        {name: array.detach() if torch.is_tensor(array) else torch.from_numpy(np.asarray(array, np.float64))
         for name, array in arrays.items()} for arrays in (weights, inputs)
    )  # fmt: skip
    implied = c.implied_by_program(
        program, {name: w.numpy() for name, w in weights.items()}, {name: x.numpy() for name, x in inputs.items()},
        table, FLOAT64,
    )  # fmt: skip
    return reference.run(program, weights, inputs, torch.from_numpy(np.asarray(table))), implied


@pytest.mark.parametrize("horizon", [None, "double"])
@pytest.mark.parametrize("name", UNETS)
def test_denoisers(name, horizon):
    kind, trained, depth, options = UNETS[name]
    net, weights = network(kind, trained, depth, options)
    length = 2 * trained if horizon else trained
    x, t = normal(1, 3, length, depth), [0, 7, 99]
    program = lower(weights.spec, length).net
    found, implied = evaluated(program, weights.arrays, {"x": x.transpose(1, 2)}, tables(weights, t))
    agree(implied["y"], found["y"], net(x, {}, torch.tensor(t)).transpose(1, 2))


@pytest.mark.parametrize("fused", [False, True], ids=["plain", "fused"])
@pytest.mark.parametrize("name", VALUES)
def test_values_and_their_gradient(name, fused):
    """The gradient as a Program, against autograd of the oracle; plans of a batch are at different steps."""
    net, weights = network(*VALUES[name])
    x, t = normal(2, 3, *VALUES[name][1:3]), torch.tensor([0, 3, 19])
    leaf = x.clone().requires_grad_()
    values = net(leaf, {}, t)
    (slope,) = torch.autograd.grad(values.sum(), leaf)
    program, table = vjp(lower(weights.spec).net), tables(weights, t.numpy())
    inputs = {"x": x.transpose(1, 2), "dy": torch.ones(3, 1, 1, dtype=torch.float64)}
    found, implied = evaluated(fuse(program) if fused else program, weights.arrays, inputs, table)
    # And differentiated by torch itself: the reference is what training runs through.
    again = reference.run(
        lower(weights.spec).net, tensors(weights), {"x": leaf.transpose(1, 2)}, torch.from_numpy(table)
    )["y"]
    (its_slope,) = torch.autograd.grad(again.sum(), leaf)
    agree(implied["y"], found["y"], values.detach(), again.detach())
    agree(implied["dx"], found["dx"], slope.transpose(1, 2), its_slope.transpose(1, 2))


@pytest.mark.parametrize("case", c.loop_cases(), ids=lambda case: case.name)
def test_fused_programs_compute_the_same(case):
    """In float64, on the networks of the case table: the denoiser, the guide and its gradient."""
    plain = [(case.loop.denoiser, case.loop.denoiser.program, case.loop.denoiser.fused)]
    if case.loop.guide:
        plain += [
            (case.loop.guide, case.loop.guide.program, case.loop.guide.fused),
            (case.loop.guide, vjp(case.loop.guide.program), case.loop.guide.gradient),
        ]
    rng = np.random.default_rng(0)
    for part, program, fused in plain:
        inputs = {name: rng.normal(size=(2, *program.shapes[v])) for name, v in program.inputs.items()}
        table = part.tables.step(0)[0].astype(np.float64)
        assert len(fused.ops) < len(program.ops)
        found, _ = evaluated(fused, part.weights, inputs, table)
        _, implied = evaluated(program, part.weights, inputs, table)
        for name, bound in implied.items():
            agree(bound, found[name])


# ------------------------------------------------------------------------------------------- whole sampling loops

HORIZON, ACTIONS, OBSERVATIONS, STEPS = 8, 2, 4, 12


def both(prediction="x0", clip=False, guided=True, attention=False):
    """The oracle's diffusion and guide, and the same as our Checkpoint, on a schedule that is exact to float64."""
    depth = ACTIONS + OBSERVATIONS
    unet, ours = network(TemporalUnet, HORIZON, depth, {"dim": 16, "dim_mults": (1, 2), "attention": attention}, seed=5)
    value, its = network(ValueFunction, HORIZON, depth, {"dim": 16, "dim_mults": (1, 2, 4)}, seed=6)
    sizes = {"horizon": HORIZON, "observation_dim": OBSERVATIONS, "action_dim": ACTIONS, "n_timesteps": STEPS}
    diffusion = GaussianDiffusion(
        unet, predict_epsilon=prediction == "epsilon", clip_denoised=clip, dtype=torch.float64, **sizes
    )
    guide = ValueGuide(ValueDiffusion(value, loss_type="value_l2", dtype=torch.float64, **sizes))
    buffers = {name: tensor.numpy() for name, tensor in diffusion.named_buffers() if "." not in name}
    checkpoint = Checkpoint(
        ours, Schedule.from_buffers(buffers), ACTIONS, prediction, clip, value=its if guided else None
    )
    return diffusion, guide, checkpoint


def conditions(batch):
    """For the oracle a mapping, for ours Inpainting; each plan its own, at the first and the last time but one."""
    obs = {t: normal(20 + t, batch, OBSERVATIONS).float() for t in (0, HORIZON - 2)}
    mask, values = np.zeros((HORIZON, ACTIONS + OBSERVATIONS), bool), np.zeros((batch, HORIZON, ACTIONS + OBSERVATIONS))
    for t, numbers in obs.items():
        mask[t, ACTIONS:], values[:, t, ACTIONS:] = True, numbers.numpy()
    return {t: numbers.double() for t, numbers in obs.items()}, Inpainting(mask, values)


def exact_tables(checkpoint, t, *, guided):
    """Time tables of a plan in float64."""
    networks = (checkpoint.unet, checkpoint.value if guided else None)
    return PlanTables(*(n and TimeTables(tables(n, t)[:, None], dtype=np.float64) for n in networks))


def ours(checkpoint, steps, given, tape, guide=None):
    """Our float64 result, with time tables in float64 too, and what float64 implies for it."""
    loop = sampling_loop(checkpoint, steps, guide=guide)
    engine = reference.ready(loop, batch=tape.shape[1], precision="float64")
    exact = exact_tables(checkpoint, steps.t, guided=guide is not None)
    implied = c.implied_by_plan(loop, given, tape.numpy(), tables=exact, arithmetic=FLOAT64)
    return engine(given, tape.numpy(), tables=exact, chain=True), implied


GUIDES = {
    "unguided": None,
    "two steps": Guide(0.5, 2, 2),
    "one step, not scaled": Guide(0.02, 1, 0, scale_by_variance=False),
    "three steps to the end": Guide(0.3, 3, 0),
    "only ranked": Guide(n_steps=0),
}


@pytest.mark.parametrize("guide", GUIDES)
@pytest.mark.parametrize("clip", [False, True], ids=["free", "clipped"])
@pytest.mark.parametrize("prediction", ["x0", "epsilon"])
def test_guided_loops(prediction, clip, guide):
    diffusion, its_guide, checkpoint = both(prediction, clip, attention=guide == "unguided")
    cond, given = conditions(3)
    tape, g = normal(9, STEPS + 1, 3, HORIZON, ACTIONS + OBSERVATIONS), GUIDES[guide]
    how = {} if g is None else {
        "sample_fn": n_step_guided_p_sample, "guide": its_guide, "scale": g.scale, "n_guide_steps": g.n_steps,
        "t_stopgrad": g.t_stopgrad, "scale_grad_by_std": g.scale_by_variance,
    }  # fmt: skip
    wanted = diffusion(cond, tape=tape, return_chain=True, **how)
    found, implied = ours(
        checkpoint, step_table("ddpm", checkpoint.schedule, prediction=prediction, n_steps=None), given, tape, g
    )
    assert found.x.dtype == found.values.dtype == found.chain.dtype == np.float64
    agree(implied.chain, found.chain, wanted.chains)
    ranked = implied.ranked()
    agree(ranked.x, found.x[found.order], wanted.trajectories)
    agree(ranked.values, found.values[found.order], wanted.values)
    if g is not None:
        assert np.ptp(found.values) > 1e-2


@pytest.mark.parametrize("guided", [False, True], ids=["unguided", "guided"])
@pytest.mark.parametrize("prediction", ["x0", "epsilon"])
@pytest.mark.parametrize("sampler", ["ddim", "ddim with noise", "dpm_solver_pp_2m"])
def test_strided_samplers(sampler, prediction, guided):
    diffusion, its_guide, checkpoint = both(prediction, clip=True)
    cond, given = conditions(3)
    tape = normal(9, 6, 3, HORIZON, ACTIONS + OBSERVATIONS)
    name, _, noisy = sampler.partition(" with ")
    options = {"eta": 0.7} if noisy else {}
    g = Guide(0.5, 2, 1) if guided else None
    guidance = printed.Guidance(its_guide, 0.5, 1, 2) if guided else None
    grid = printed.strided_grid(STEPS, 5)
    wanted = getattr(printed, name)(diffusion, cond, tape, grid, **options, guidance=guidance)
    steps = step_table(name, checkpoint.schedule, prediction=prediction, n_steps=5, **options)
    found, implied = ours(checkpoint, steps, given, tape, g)
    agree(implied.chain, found.chain, wanted.chain)
    agree(implied.x, found.x, wanted.x)
    if guided:
        agree(implied.values, found.values, wanted.values)


def test_a_gradient_added_to_x0():
    """The g0 column, where CleanDiffuser has it, written out: x0 + g0 dvalue/dx, clipped, then the update."""
    diffusion, its_guide, checkpoint = both(clip=True)
    (cond, given), tape, t = conditions(3), normal(9, 2, 3, HORIZON, ACTIONS + OBSERVATIONS), STEPS // 2
    steps = step_table("ddpm", checkpoint.schedule, prediction="x0", n_steps=None)
    row = steps.only([STEPS - 1 - t])
    row = replace(row, g0=np.array([0.8]))
    loop = sampling_loop(checkpoint, row, guide=Guide(n_steps=0))
    loop = replace(loop, steps=replace(loop.steps, g0=row.g0))
    exact = exact_tables(checkpoint, [t], guided=True)
    found = reference.ready(loop, batch=3, precision="float64")(given, tape.numpy(), tables=exact)
    implied = c.implied_by_plan(loop, given, tape.numpy(), tables=exact, arithmetic=FLOAT64)
    x = tape[0].clone()
    for time, obs in cond.items():
        x[:, time, ACTIONS:] = obs
    steps_t = torch.full((3,), t)
    values, slope = its_guide.gradients(x, cond, steps_t)
    x0 = (diffusion.model(x, cond, steps_t) + 0.8 * slope).clamp(-1, 1)
    wanted = row.a[0] * x0 + row.b[0] * x + row.s[0] * tape[1]
    for time, obs in cond.items():
        wanted[:, time, ACTIONS:] = obs
    agree(implied.x, found.x, wanted)
    agree(implied.values, found.values, values)


# ------------------------------------------------------------------------------------------------ the engine itself


def test_a_batch_of_one_with_one_number_per_group():
    case = c.LoopCase("thin", UNetSpec(1, 3, dim=8, dim_mults=(1,)), batch=1, mask="nothing")
    assert np.isfinite(case.plan(reference.ready(case.loop, batch=1)).x).all()


def test_precisions_and_devices():
    loop = c.loop_cases()[0].loop
    with pytest.raises(ValueError, match="precision: the reference backend has float32, float64, found 'fp16'"):
        reference.ready(loop, batch=1, precision="fp16")
    assert reference.why_not(loop, None) is None and reference.why_not(loop, "cpu") is None
    assert "torch cannot use device 'no-such-device'" in reference.why_not(loop, "no-such-device")

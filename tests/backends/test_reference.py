"""The reference in float64 against the oracle, which was written from the paper: two independent readings, to 1e-10."""

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
from diffuser_fast.core.loop import sampling_loop
from diffuser_fast.core.lower import lower
from diffuser_fast.core.passes import fuse, time_tables, vjp
from diffuser_fast.core.samplers import step_table
from diffuser_fast.core.schedule import Schedule
from diffuser_fast.core.spec import UNetSpec
from diffuser_fast.formats import janner_keys

torch.set_num_threads(1)

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
    """Time tables in float64: the loop's own are rounded, as engines take them."""
    return time_tables(lower(weights.spec).time, weights.arrays, np.asarray(t), weights.spec.dim)


def tensors(weights):
    return {name: torch.tensor(array, dtype=torch.float64) for name, array in weights.arrays.items()}


def close(found, expected, tolerance=1e-10):
    expected = np.asarray(expected)
    np.testing.assert_allclose(np.asarray(found), expected, rtol=0, atol=tolerance * max(1e-30, np.abs(expected).max()))


@pytest.mark.parametrize("horizon", [None, "double"])
@pytest.mark.parametrize("name", UNETS)
def test_denoisers(name, horizon):
    kind, trained, depth, options = UNETS[name]
    net, weights = network(kind, trained, depth, options)
    length = 2 * trained if horizon else trained
    x, t = normal(1, 3, length, depth), [0, 7, 99]
    (y,) = reference.run(
        lower(weights.spec, length).net, tensors(weights), [x.transpose(1, 2)], torch.from_numpy(tables(weights, t))
    )
    close(y.transpose(1, 2), net(x, {}, torch.tensor(t)))


@pytest.mark.parametrize("fused", [False, True], ids=["plain", "fused"])
@pytest.mark.parametrize("name", VALUES)
def test_values_and_their_gradient(name, fused):
    """The gradient as a Program, against autograd of the oracle; plans of a batch are at different steps."""
    net, weights = network(*VALUES[name])
    x, t = normal(2, 3, *VALUES[name][1:3]), torch.tensor([0, 3, 19])
    leaf = x.clone().requires_grad_()
    values = net(leaf, {}, t)
    (slope,) = torch.autograd.grad(values.sum(), leaf)
    program = vjp(lower(weights.spec).net)
    dy, table = torch.ones(3, 1, 1, dtype=torch.float64), torch.from_numpy(tables(weights, t.numpy()))
    y, dx = reference.run(fuse(program) if fused else program, tensors(weights), [x.transpose(1, 2), dy], table)
    close(y[..., 0], values.detach())
    close(dx.transpose(1, 2), slope)
    # And differentiated by torch itself: the reference is what training runs through.
    (y,) = reference.run(lower(weights.spec).net, tensors(weights), [leaf.transpose(1, 2)], table)
    close(torch.autograd.grad(y.sum(), leaf)[0], slope)


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
        weights = {name: torch.tensor(array, dtype=torch.float64) for name, array in part.weights.items()}
        inputs = [torch.from_numpy(rng.normal(size=(2, *program.shapes[i]))) for i in program.inputs]
        table = torch.from_numpy(part.tables[0].astype(np.float64))
        assert len(fused.ops) < len(program.ops)
        for found, expected in zip(*(reference.run(p, weights, inputs, table) for p in (fused, program)), strict=True):
            close(found, expected, 1e-11)


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
    """For the oracle a mapping, for ours an Inpainting; each plan its own, at the first and the last time but one."""
    obs = {t: normal(20 + t, batch, OBSERVATIONS).float() for t in (0, HORIZON - 2)}
    mask, values = np.zeros((HORIZON, ACTIONS + OBSERVATIONS), bool), np.zeros((batch, HORIZON, ACTIONS + OBSERVATIONS))
    for t, numbers in obs.items():
        mask[t, ACTIONS:], values[:, t, ACTIONS:] = True, numbers
    return {t: numbers.double() for t, numbers in obs.items()}, Inpainting(mask, values)


def ours(checkpoint, steps, inpainting, tape, guide=None):
    """Our float64 result, with time tables in float64 too."""
    loop = sampling_loop(checkpoint, steps, guide=guide)
    engine = reference.ready(loop, batch=tape.shape[1], precision="float64")
    exact = (
        tables(checkpoint.unet, steps.t),
        tables(checkpoint.value, steps.t) if guide is not None else None,
    )
    return engine(inpainting, tape.numpy(), tables=exact, chain=True)


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
    cond, inpainting = conditions(3)
    tape, g = normal(9, STEPS + 1, 3, HORIZON, ACTIONS + OBSERVATIONS), GUIDES[guide]
    how = {} if g is None else {
        "sample_fn": n_step_guided_p_sample, "guide": its_guide, "scale": g.scale, "n_guide_steps": g.n_steps,
        "t_stopgrad": g.t_stopgrad, "scale_grad_by_std": g.scale_by_variance,
    }  # fmt: skip
    wanted = diffusion(cond, tape=tape, return_chain=True, **how)
    found = ours(
        checkpoint, step_table("ddpm", checkpoint.schedule, prediction=prediction, n_steps=None), inpainting, tape, g
    )
    assert found.x.dtype == found.values.dtype == found.chain.dtype == np.float64
    close(found.chain, wanted.chains)
    close(found.x[found.order], wanted.trajectories)
    close(found.values[found.order], wanted.values)
    if g is not None:
        assert np.ptp(found.values) > 1e-2


@pytest.mark.parametrize("guided", [False, True], ids=["unguided", "guided"])
@pytest.mark.parametrize("prediction", ["x0", "epsilon"])
@pytest.mark.parametrize("sampler", ["ddim", "ddim with noise", "dpm_solver_pp_2m"])
def test_strided_samplers(sampler, prediction, guided):
    diffusion, its_guide, checkpoint = both(prediction, clip=True)
    cond, inpainting = conditions(3)
    tape = normal(9, 6, 3, HORIZON, ACTIONS + OBSERVATIONS)
    name, _, noisy = sampler.partition(" with ")
    options = {"eta": 0.7} if noisy else {}
    g = Guide(0.5, 2, 1) if guided else None
    guidance = printed.Guidance(its_guide, 0.5, 1, 2) if guided else None
    grid = printed.strided_grid(STEPS, 5)
    wanted = getattr(printed, name)(diffusion, cond, tape, grid, **options, guidance=guidance)
    steps = step_table(name, checkpoint.schedule, prediction=prediction, n_steps=5, **options)
    found = ours(checkpoint, steps, inpainting, tape, g)
    close(found.chain, wanted.chain)
    close(found.x, wanted.x)
    if guided:
        close(found.values, wanted.values)


def test_a_gradient_added_to_x0():
    """The g0 column, as in CleanDiffuser, written out for one step: x0 + g0 dvalue/dx, clipped, then the update."""
    diffusion, its_guide, checkpoint = both(clip=True)
    (cond, inpainting), tape, t = conditions(3), normal(9, 2, 3, HORIZON, ACTIONS + OBSERVATIONS), STEPS // 2
    steps = step_table("ddpm", checkpoint.schedule, prediction="x0", n_steps=None)
    step = replace(steps, **{name: getattr(steps, name)[[STEPS - 1 - t]] for name in steps.__dataclass_fields__})
    step = replace(step, g0=np.array([0.8]))
    loop = sampling_loop(checkpoint, step, guide=Guide(n_steps=0))
    loop = replace(loop, steps=replace(loop.steps, g0=step.g0))
    found = reference.ready(loop, batch=3, precision="float64")(
        inpainting, tape.numpy(), tables=(tables(checkpoint.unet, [t]), tables(checkpoint.value, [t]))
    )
    x = tape[0].clone()
    for time, obs in cond.items():
        x[:, time, ACTIONS:] = obs
    steps_t = torch.full((3,), t)
    values, slope = its_guide.gradients(x, cond, steps_t)
    x0 = (diffusion.model(x, cond, steps_t) + 0.8 * slope).clamp(-1, 1)
    wanted = step.a[0] * x0 + step.b[0] * x + step.s[0] * tape[1]
    for time, obs in cond.items():
        wanted[:, time, ACTIONS:] = obs
    close(found.x, wanted)
    close(found.values, values)


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

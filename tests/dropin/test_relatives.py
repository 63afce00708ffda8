"""accelerate takes the relatives' run-time objects: their call, their return values, their changes, their noise."""

import copy

import numpy as np
import pytest
import torch
from bounds import implied_by_calls, within
from oracle.relative_objects import (
    DiscreteDiffusionSDE,
    ValueGuidedRLPipeline,
    agent,
    decision_diffusion,
    in_float64,
    lerobot_policy,
    lowdim_policy,
    pipeline,
)

import diffuser_fast as dfx
from diffuser_fast.dropin import check

OBS = np.array([0.5, -0.3, 1.2, 0.1], np.float32)
ASKED = {"batch_size": 3, "planning_horizon": 8}


@pytest.fixture(autouse=True)
def as_a_program_finds_torch():
    torch.set_grad_enabled(True)
    torch.manual_seed(0)


def seen(situations=2):
    return {"obs": torch.randn(situations, 2, 3, generator=torch.Generator().manual_seed(1))}


def alike(original, fast, call, *, seed=4):
    """The same call of both from the same generator: ours is within its bound for the numbers that it returns, the
    original in float64 within it too, and the generator is left the same.

    In float32 the original may arrange the same update so that it loses more than ours does (CleanDiffuser's takes
    sigma e from x, and in its first step multiplies what is left by alpha' / alpha, tens). In float64 that is nothing.
    """

    def called(policy):
        torch.manual_seed(seed)
        with torch.no_grad():
            result = call(policy)
        return (list(result.values()) if isinstance(result, dict) else result), torch.random.get_rng_state()

    (expected, after), (found, its_after) = called(original), called(fast)
    assert torch.equal(after, its_after)
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape and one.dtype == other.dtype and type(one) is type(other)
    with in_float64(original) as wide:
        expected, after = called(wide)
    assert torch.equal(after, its_after) and all(np.asarray(one).dtype == np.float64 for one in expected)
    slow = dfx.accelerate(original, backend="reference", noise="torch")
    called(slow)  # which compares it with the original
    implied = implied_by_calls(lambda: called(slow)[0])
    for shape in dict.fromkeys(one.exact.shape for one in implied):  # few numbers are judged together
        some = [n for n, one in enumerate(implied) if one.exact.shape == shape]
        for who, arrays in (("ours", found), ("the original's", expected)):
            numbers = [np.asarray(arrays[n]) for n in some]
            within(numbers, [implied[n] for n in some], f"{who}, arrays {some}")


@pytest.mark.parametrize("changes", [{}, {"variance_type": "fixed_small", "prediction_type": "epsilon"}])
def test_a_pipeline(changes):
    original = pipeline(**changes)
    fast = dfx.accelerate(original, noise="torch")
    for scale in (0.1, 0.3):  # arguments of one call
        alike(original, fast, lambda policy, scale=scale: [policy(OBS, scale=scale, **ASKED)])
    assert fast.planner.checkpoint.guide.scale == 0.3 and fast.action_dim == 2


@pytest.mark.parametrize(
    "options",
    [{}, {"inpainting": True, "film": False}, {"ddim": True, "n_steps": 3, "n_train": 12, "clip_sample": True}],
)
def test_a_lowdim_policy(options):
    original = lowdim_policy(**options)
    fast = dfx.accelerate(original, noise="torch")
    alike(original, fast, lambda policy: policy.predict_action(seen()))
    torch.manual_seed(4)
    called = fast(seen())
    torch.manual_seed(4)
    assert all(torch.equal(called[name], value) for name, value in fast.predict_action(seen()).items())


def test_weights_that_change_are_noticed():
    original = lowdim_policy()
    fast = dfx.accelerate(original, noise="torch")
    before = fast.planner
    with torch.no_grad():
        next(original.model.parameters()).mul_(1.5)
    alike(original, fast, lambda policy: policy.predict_action(seen()))
    assert fast.planner is not before


class Edited(ValueGuidedRLPipeline):
    """Its users' own: a pipeline that guides to the end."""

    def run_diffusion(self, x, known, n_guide_steps, scale):
        x, y = super().run_diffusion(x, known, n_guide_steps, scale)
        return known(x + 0.01), y


def test_an_object_that_plans_otherwise_is_refused():
    original = pipeline()
    edited = Edited(**{
        "unet": original.unet, "value": original.value_function, "scheduler": original.scheduler,
        "means": original.means, "stds": original.stds, "action_dim": 2,
    })  # fmt: skip
    with pytest.raises(ValueError, match="plans otherwise than the original whose names it has"):
        dfx.accelerate(edited, check={0: OBS})
    policy = lowdim_policy()
    policy.noise_scheduler.config["prediction_type"] = "sample"  # which its scheduler does not do
    with pytest.raises(ValueError, match="plans otherwise"):
        dfx.accelerate(policy)
    dfx.accelerate(policy, check=False)


def test_what_cannot_be_read_is_said():
    policy = lowdim_policy()
    policy.obs_as_local_cond = True
    with pytest.raises(ValueError, match="obs_as_local_cond: found True beside obs_as_global_cond"):
        dfx.accelerate(policy)
    with pytest.raises(TypeError, match="normalizer: of a bare diffusion; a pipeline has its own"):
        dfx.accelerate(pipeline(), normalizer=object())
    with pytest.raises(ValueError, match="obs_dict: found state, expected 'obs'"):
        dfx.accelerate(lowdim_policy(), check=False)({"state": 1})


def test_copies():
    fast = dfx.accelerate(lowdim_policy())
    other = copy.deepcopy(fast)
    expected = fast(seen())
    assert all(torch.equal(value, expected[name]) for name, value in other(seen()).items())


def steps_of(situations=2):
    """What a lerobot policy sees, step by step, normalised."""
    g = torch.Generator().manual_seed(1)
    while True:
        yield {
            "observation.state": torch.randn(situations, 3, generator=g),
            "observation.environment_state": torch.randn(situations, 2, generator=g),
        }


@pytest.mark.parametrize("options", [{}, {"film": False, "ddim": True, "n_steps": 3, "n_train": 12}])
def test_a_lerobot_policy(options):
    original = lerobot_policy(**options)
    fast = dfx.accelerate(original, noise="torch")

    def acted(policy):
        policy.reset()
        return [policy.select_action(batch) for batch, _ in zip(steps_of(), range(10))]  # three chunks

    alike(original, fast, acted)
    chunk = lambda policy: [policy.predict_action_chunk(next(steps_of()))]
    alike(original, fast, chunk)
    assert fast({"action": torch.ones(3)}) == 1  # its call is its loss


@pytest.mark.parametrize("options", [{}, {"ddim": True}])
@pytest.mark.parametrize("noise", ["torch", "philox"])
def test_a_lerobot_policy_takes_its_first_noise(options, noise):
    original = lerobot_policy(**options)
    fast = dfx.accelerate(original, noise=noise)
    noises = torch.randn(6, 2, 8, 2, generator=torch.Generator().manual_seed(3))

    def acted(policy, first):
        policy.reset()
        return policy.select_action(next(steps_of()), noise=first)

    if options or noise == "torch":
        alike(original, fast, lambda policy: [acted(policy, first) for first in noises])
    else:  # the noise of later steps is ours: another each time, the same from the same seed
        one, other = (acted(fast, noises[0]) for _ in range(2))
        fast.planner.reset()
        again = acted(fast, noises[0])
        assert torch.equal(one, again) and not torch.equal(one, other)


@pytest.mark.parametrize("options", [{}, {"inverse": False, "weight": 0.5}])
def test_a_decision_diffuser(options):
    original = decision_diffusion(**options)
    fast = dfx.accelerate(original, noise="torch")
    given = {0: torch.randn(3, 4), 5: torch.randn(3, 4)}, torch.tensor([[0.9], [0.5], [0.1]])
    alike(original, fast, lambda diffusion: [diffusion(given[0], returns=given[1])])
    alike(original, fast, lambda diffusion: diffusion.conditional_sample(*given, 16, return_diffusion=True))
    assert fast.horizon == 8
    if not options:
        pair = torch.randn(1, 8)
        assert torch.equal(fast.inv_model(pair), original.inv_model(pair))


def test_plans_that_rounding_alone_parts_are_not_held_against_an_object(monkeypatch):
    """With a weight of 2.0 these plans move by 3e-4 where their noise moves in its last place: more than TOLERANCE."""
    original = decision_diffusion(inverse=False, weight=2.0)
    dfx.accelerate(original).planner
    monkeypatch.setattr(check, "TOLERANCE", 0)
    dfx.accelerate(original).planner
    monkeypatch.setattr(check, "ANSWERS", 0)
    with pytest.raises(ValueError, match="plans otherwise than the original"):
        dfx.accelerate(original).planner


def test_a_network_that_is_an_energys_gradient_is_refused():
    original = decision_diffusion()
    original.model.calc_energy = True
    with pytest.raises(ValueError, match=r"gradient of an energy \(calc_energy\)"):
        dfx.accelerate(original)


@pytest.mark.parametrize(
    "options", [{}, {"guided": False, "clip": 1.5, "predict_noise": True}, {"real": True}], ids=["", "clipped", "real"]
)
def test_an_agent_of_cleandiffuser(options):
    original = agent(**options)
    fast = dfx.accelerate(original, noise="torch")
    samples = 16  # log_p is a number of each, and the rms of three is luck
    prior = torch.zeros(samples, 8, 6)
    prior[:, 0, :4] = torch.randn(samples, 4)
    asks = [
        {"sample_steps": 5},
        {"sample_steps": 12, "w_cg": 0.5, "temperature": 0.5, "preserve_history": True},
        {"solver": "ode_dpmsolver++_2M", "sample_steps": 4, "use_ema": False},
        {"solver": "ddim", "sample_steps": 4, "w_cg": 0.1},
    ]
    for asked in asks:
        call = lambda sde, asked=asked: [
            part
            for part in (lambda x, log: (x, *log.values()))(*sde.sample(prior, n_samples=samples, **asked))
            if part is not None
        ]
        alike(original, fast, call)


def test_an_agent_that_cannot_be_planned_with():
    prior = torch.zeros(1, 8, 6)
    fast = dfx.accelerate(agent())
    for asked, message in (
        ({"solver": "sde_dpmsolver_1"}, "solver: found 'sde_dpmsolver_1', expected one of ddpm, ddim"),
        ({"diffusion_x_sampling_steps": 2}, "diffusion_x_sampling_steps: found 2, expected 0"),
        ({"warm_start_reference": prior}, "warm_start_reference: found .*, expected None"),
        ({"sample_step_schedule": "quad"}, "sample_step_schedule: found 'quad', expected uniform"),
    ):
        with pytest.raises(ValueError, match=message):
            fast.sample(prior, **asked)
    with pytest.raises(ValueError, match="prior: found trajectories of 5 numbers, the network has 6"):
        fast.sample(prior[..., :5])
    fast.sample(prior)  # none of this has harmed it
    odd = agent(clip=1.0)
    odd.x_max[0, 0, 0] = 2.0
    with pytest.raises(ValueError, match="x_max, x_min: expected one number for everything"):
        dfx.accelerate(odd)
    odd = agent()
    odd.fix_mask *= 0.5
    with pytest.raises(ValueError, match="fix_mask: found numbers between"):
        dfx.accelerate(odd)


def test_a_solver_of_its_users_own_is_refused():
    class Edited(DiscreteDiffusionSDE):
        def sample(self, prior, solver="ddpm", **asked):
            x, log = super().sample(prior, solver=solver, **asked)
            return (x + 0.01 if solver == "ddim" else x), log

    original = agent()
    original.__class__ = Edited
    fast = dfx.accelerate(original)
    with pytest.raises(ValueError, match="plans otherwise"):
        fast.sample(torch.zeros(1, 8, 6), solver="ddim")

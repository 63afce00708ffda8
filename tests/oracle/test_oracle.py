"""The oracle against recorded traces, against finite differences, and against itself where theory says so."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from oracle.attention import LinearAttention
from oracle.checkpoint import build_network, load_diffusion, load_normalizer, read_config, read_ema
from oracle.diffusion import GaussianDiffusion, ValueDiffusion, apply_conditioning, n_step_guided_p_sample
from oracle.goldens import FOLDER, NAMES, Golden, Replay, load_golden, load_policy, replay
from oracle.networks import Maze2dTemporalUnet, TemporalUnet, TemporalValue, ValueFunction
from oracle.policies import GaussianNormalizer, GuidedPolicy, LimitsNormalizer, Policy, ValueGuide
from oracle.samplers import Guidance, ddim, dpm_solver_pp_2m, strided_grid
from oracle.weights import randomize

CHECKPOINTS = (*NAMES, "hopper_guided/values")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# ---------------------------------------------------------------------------------------- the recorded traces


def distances(got: Replay, golden: Golden, policy: GuidedPolicy | Policy) -> dict[str, float]:
    """Largest error of each field: normalised units, except values, relative to the largest of them."""

    def unit(key: str) -> np.ndarray:
        n = policy.normalizer.normalizers[key]
        return n.stds if isinstance(n, GaussianNormalizer) else (n.maxs - n.mins) / 2.0

    def largest(x: np.ndarray) -> float:
        return float(np.abs(x).max())

    return {
        "action": largest((got.action - golden.action) / unit("actions")),
        "actions": largest((got.actions - golden.actions) / unit("actions")),
        "observations": largest((got.observations - golden.observations) / unit("observations")),
        "values": largest(got.values - golden.values) / max(largest(golden.values), 1e-30),
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_reproduces_the_recorded_trace(name, dtype):
    golden, policy = load_golden(name), load_policy(name, dtype)
    got = replay(golden, policy)
    assert got.actions.dtype == (np.float64 if dtype == torch.float64 else np.float32)
    errors = distances(got, golden, policy)
    print(name, dtype, {field: f"{error:.1e}" for field, error in errors.items()})
    assert max(errors.values()) <= 1e-4


# What must not reproduce the trace: misreadings of the method that a weaker check would let through.
MISREADINGS = {
    "std for variance": lambda p, tape: p.diffusion_model.posterior_variance.sqrt_(),
    "raw gradient": lambda p, tape: p.sample_kwargs.update(scale_grad_by_std=False),
    "one guide step": lambda p, tape: p.sample_kwargs.update(n_guide_steps=1),
}
MAZE_MISREADINGS = {
    "no clipping": lambda p, tape: setattr(p.diffusion_model, "clip_denoised", False),
    "half the first noise": lambda p, tape: np.multiply(tape[0], 0.5, out=tape[0]),
    "half the noise of each step": lambda p, tape: np.multiply(tape[1:], 0.5, out=tape[1:]),
    "half of all noise": lambda p, tape: np.multiply(tape, 0.5, out=tape),
}


@pytest.mark.parametrize(
    ("name", "misread"),
    [("hopper_guided", m) for m in MISREADINGS]
    + list(product(("maze2d_branch", "maze_inpaint"), MAZE_MISREADINGS)),
)
def test_a_misreading_does_not_reproduce_it(name, misread):
    golden, policy = load_golden(name), load_policy(name)
    tape = golden.tape.copy()
    (MISREADINGS | MAZE_MISREADINGS)[misread](policy, tape)
    errors = distances(replay(golden, policy, tape), golden, policy)
    print(name, misread, {field: f"{error:.1e}" for field, error in errors.items()})
    assert max(errors.values()) > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_the_last_tape_entry_is_not_used(name):
    golden, policy = load_golden(name), load_policy(name)
    tape = golden.tape.copy()
    tape[-1] = 7.0
    np.testing.assert_array_equal(replay(golden, policy, tape).chain, replay(golden, policy).chain)


# ------------------------------------------------------------------------------------------------ checkpoints


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_loads_every_key_in_order(name):
    state = read_ema(FOLDER / name)
    loaded = load_diffusion(FOLDER / name).state_dict()
    assert list(loaded) == list(state)
    assert all(torch.equal(loaded[key], state[key]) for key in state)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_schedule_and_loss_weights_are_those_recorded(name):
    state = read_ema(FOLDER / name)
    network = build_network(read_config(FOLDER / name / "model_config.pkl"), state)
    config = read_config(FOLDER / name / "diffusion_config.pkl")
    kind = ValueDiffusion if config.class_name == "ValueDiffusion" else GaussianDiffusion
    fresh = kind(network, **config.arguments).state_dict()
    assert torch.equal(fresh["betas"], state["betas"])
    assert torch.equal(fresh["alphas_cumprod"], state["alphas_cumprod"])
    for key in (k for k in state if not k.startswith("model.")):
        torch.testing.assert_close(fresh[key], state[key], rtol=4 * 2.0**-23, atol=0.0)  # four ulp


def test_reads_the_average_of_the_latest_step(tmp_path):
    """In the recorded folders both sets of weights are equal, so the traces cannot tell them apart."""
    for step in (9, 10):
        states = {"step": step, "model": {"w": torch.zeros(1)}, "ema": {"w": torch.full((1,), float(step))}}
        torch.save(states, tmp_path / f"state_{step}.pt")
    assert read_ema(tmp_path)["w"] == 10.0


class Touch:
    """A pickle that would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_a_configuration_runs_nothing(tmp_path):
    (tmp_path / "model_config.pkl").write_bytes(pickle.dumps(Touch(tmp_path / "touched")))
    with pytest.raises(TypeError, match="not callable"):
        read_config(tmp_path / "model_config.pkl")
    assert not (tmp_path / "touched").exists()


# --------------------------------------------------------------------------------------------------- networks


@pytest.mark.parametrize(
    ("net", "millions"),
    [
        (TemporalUnet(32, 14, 11), 3.956),
        (TemporalUnet(32, 23, 17), 3.958),
        (TemporalUnet(4, 23, 17, dim_mults=(1, 4, 8), attention=True), 4.114),
        (Maze2dTemporalUnet(384, 6, 4, dim_mults=(1, 4, 8)), 3.682),
        (ValueFunction(32, 14, 11), 2.295),
        (ValueFunction(4, 23, 17, dim_mults=(1, 4, 8)), 2.181),
    ],
    ids=["hopper", "walker2d", "halfcheetah", "maze2d", "hopper value", "halfcheetah value"],
)
def test_has_the_published_number_of_parameters(net, millions):
    assert round(sum(p.numel() for p in net.parameters()) / 1e6, 3) == millions


def test_layouts_without_attention_are_one_function():
    main = randomize(TemporalUnet(8, 6, 4, dim=16, dim_mults=(1, 2)), seed=0)
    branch = Maze2dTemporalUnet(8, 6, 4, dim=16, dim_mults=(1, 2)).double()
    renamed = {}
    for key, value in main.state_dict().items():
        part = key.split(".")
        if part[0] in ("downs", "ups") and part[2] == "3":
            part[2] = "2"
        renamed[".".join(part)] = value
    branch.load_state_dict(renamed, strict=True)
    x, t = tensor(1, 3, 8, 6), torch.tensor([0, 5, 19])
    torch.testing.assert_close(main(x, {}, t), branch(x, {}, t), rtol=0, atol=0)


def test_halfcheetah_with_attention_at_horizon_four():
    """Levels of 4, 2 and 1 time steps; softmax over a single step; groups of few elements."""
    net = randomize(TemporalUnet(4, 23, 17, dim=16, dim_mults=(1, 4, 8), attention=True), seed=1)
    x, t = tensor(2, 3, 4, 23), torch.tensor([0, 7, 19])
    assert net(x, {}, t).shape == x.shape
    check_slope(lambda y: net(y, {}, t).square().sum(), x)
    torch.testing.assert_close(net(x[1:2], {}, t[1:2]), net(x, {}, t)[1:2])
    for slot in (net.downs[0][2], net.downs[2][2], net.mid_attn, net.ups[1][2]):
        before = net(x, {}, t)
        slot.fn.fn.to_out.weight.mul_(2.0)
        assert (net(x, {}, t) - before).abs().max() > 1e-3  # every slot takes part


def test_linear_attention_is_its_definition():
    """Written out one number at a time, from the stored tensors' shapes."""
    heads, width, channels, length = 2, 3, 5, 4
    attention = randomize(LinearAttention(channels, heads, width), seed=2)
    x = tensor(3, 1, channels, length)
    qkv = torch.einsum("oc,ch->oh", attention.to_qkv.weight[:, :, 0], x[0])
    assert attention.to_qkv.bias is None
    mixed = torch.zeros(heads * width, length, dtype=x.dtype)
    for n, e, h in product(range(heads), range(width), range(length)):
        for d, other in product(range(width), range(length)):
            q = qkv[n * width + d, h] * width**-0.5
            k = qkv[(heads + n) * width + d].softmax(dim=0)[other]
            v = qkv[(2 * heads + n) * width + e, other]
            mixed[n * width + e, h] += q * k * v
    want = torch.einsum("oc,ch->oh", attention.to_out.weight[:, :, 0], mixed) + attention.to_out.bias[:, None]
    torch.testing.assert_close(attention(x)[0], want)


@pytest.mark.parametrize(
    ("kind", "horizon", "dim_mults"),
    [
        (ValueFunction, 32, (1, 2, 4, 8)),
        (ValueFunction, 20, (1, 2, 4, 8)),  # 20 10 5 3 2 1 1
        (ValueFunction, 12, (1, 2, 4, 8)),  # 12 6 3 2 1 1 1
        (ValueFunction, 4, (1, 4, 8)),  # halfcheetah
        (TemporalValue, 16, (1, 4, 8)),
        (TemporalValue, 1, (1, 4)),
    ],
)
def test_value_gradient_is_the_slope(kind, horizon, dim_mults):
    net = randomize(kind(horizon, 6, 4, dim=16, dim_mults=dim_mults), seed=3)
    guide = ValueGuide(ValueDiffusion(net, horizon, 4, 2, n_timesteps=20, loss_type="value_l2"))
    x, t = tensor(4, 3, horizon, 6), torch.tensor([0, 7, 19])
    values, grad = guide.gradients(x, {}, t)
    assert values.shape == (3,) and grad.shape == x.shape
    assert not x.requires_grad and not grad.requires_grad
    check_slope(lambda y: guide(y, {}, t).sum(), x, grad)
    # Each plan's value depends on that plan alone, so the gradient of the sum is everyone's own gradient.
    torch.testing.assert_close(guide.gradients(x[2:], {}, t[2:])[1], grad[2:])


@pytest.mark.parametrize(
    ("kind", "horizon", "dim_mults"),
    [(TemporalValue, 20, (1, 4, 8)), (TemporalValue, 12, (1, 4, 8)), (ValueFunction, 96, (1, 2, 4, 8))],
)
def test_refuses_a_value_horizon_that_rounds_two_ways(kind, horizon, dim_mults):
    with pytest.raises(ValueError, match=f"horizon {horizon}"):
        kind(horizon, 6, 4, dim=16, dim_mults=dim_mults)


# --------------------------------------------------------------------------------------------------- samplers


def small_diffusion(predict_epsilon: bool, clip_denoised: bool) -> tuple[GaussianDiffusion, ValueGuide]:
    """H=8, A=2, O=4, T=20, with a schedule exact to float64."""
    kwargs = {"horizon": 8, "observation_dim": 4, "action_dim": 2, "n_timesteps": 20, "dtype": torch.float64}
    unet = randomize(TemporalUnet(8, 6, 4, dim=16, dim_mults=(1, 2)), seed=5)
    value = randomize(ValueFunction(8, 6, 4, dim=16, dim_mults=(1, 2)), seed=6)
    diffusion = GaussianDiffusion(
        unet, predict_epsilon=predict_epsilon, clip_denoised=clip_denoised, **kwargs
    )
    return diffusion, ValueGuide(ValueDiffusion(value, loss_type="value_l2", **kwargs))


@pytest.mark.parametrize("guided", [False, True], ids=["unguided", "guided"])
@pytest.mark.parametrize("clip_denoised", [False, True], ids=["free", "clipped"])
@pytest.mark.parametrize("predict_epsilon", [False, True], ids=["x0", "epsilon"])
def test_ddim_with_all_noise_and_all_steps_is_ddpm(predict_epsilon, clip_denoised, guided):
    diffusion, guide = small_diffusion(predict_epsilon, clip_denoised)
    cond = {0: tensor(7, 3, 4), -1: tensor(8, 3, 4)}
    tape = tensor(9, 21, 3, 8, 6)
    how = {"scale": 0.5, "t_stopgrad": 3, "n_guide_steps": 2}
    kwargs = {"sample_fn": n_step_guided_p_sample, "guide": guide, **how} if guided else {}
    ddpm = diffusion(cond, tape=tape, return_chain=True, **kwargs)
    trace = ddim(diffusion, cond, tape, strided_grid(20, 20), 1.0, Guidance(guide, **how) if guided else None)
    # Rounding is relative to what was there: an epsilon network's first x_0 are hundreds of times x.
    size = ddpm.chains.abs().max()
    print("off by", float((trace.chain - ddpm.chains).abs().max() / size), "of", float(size))
    torch.testing.assert_close(trace.chain / size, ddpm.chains / size, rtol=0, atol=1e-11)
    torch.testing.assert_close(trace.values.sort(descending=True).values, ddpm.values)


def test_a_grid_is_rounded_and_visits_nothing_twice():
    assert strided_grid(20, 20) == list(range(19, -1, -1))
    assert strided_grid(20, 5) == [19, 14, 10, 5, 0]  # 14.25, 9.5 (to even), 4.75
    assert strided_grid(20, 1) == [19]
    with pytest.raises(ValueError, match="21 rows"):
        strided_grid(20, 21)


class GaussianData(torch.nn.Module):
    """The ideal denoiser when every number of the data is N(mean, std^2), for which the flow is known."""

    def __init__(self, abar: Tensor, mean: float, std: float) -> None:
        super().__init__()
        self.abar, self.mean, self.std = abar, mean, std

    def forward(self, x: Tensor, cond: object, t: Tensor) -> Tensor:
        abar = self.abar[t][:, None, None]
        gain = self.std**2 * abar.sqrt() / self.spread(abar) ** 2
        return self.mean + gain * (x - abar.sqrt() * self.mean)

    def spread(self, abar: Tensor) -> Tensor:
        """Standard deviation of x_t."""
        return (self.std**2 * abar + 1.0 - abar).sqrt()

    def flow(self, x: Tensor, start: int, end: int) -> Tensor:
        """Where the probability-flow ODE takes x from step `start` to `end`: quantiles are kept."""
        a, b = self.abar[start], self.abar[end]
        return b.sqrt() * self.mean + self.spread(b) / self.spread(a) * (x - a.sqrt() * self.mean)


def test_solvers_converge_at_their_order():
    """On a grid uniform in lambda: halving the step halves DDIM's error and quarters DPM-Solver++(2M)'s."""
    steps = 961
    abar = torch.sigmoid(2.0 * torch.linspace(3.0, -3.0, steps, dtype=torch.float64))  # lambda from 3 to -3
    data = GaussianData(abar, mean=0.4, std=0.3)
    diffusion = GaussianDiffusion(data, 4, 2, 1, steps, predict_epsilon=False, dtype=torch.float64)
    diffusion.alphas_cumprod.copy_(abar)
    tape = torch.zeros(steps + 1, 2, 4, 3, dtype=torch.float64)
    tape[0] = tensor(10, 2, 4, 3)
    want = data.flow(tape[0], steps - 1, 0)
    for solver, order in ((ddim, 1), (dpm_solver_pp_2m, 2)):
        # The last row leaves the grid for abar = 1; the order is that of the rows before it.
        errors = [
            float((solver(diffusion, {}, tape, strided_grid(steps, n + 1)).chain[:, -2] - want).abs().max())
            for n in (60, 120, 240)
        ]
        print(solver.__name__, errors)
        rates = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
        np.testing.assert_allclose(rates, order, atol=0.15)


def test_dpm_solver_ends_with_the_networks_own_clean_plan():
    diffusion, guide = small_diffusion(predict_epsilon=False, clip_denoised=True)
    cond = {0: tensor(11, 3, 4)}
    trace = dpm_solver_pp_2m(
        diffusion, cond, tensor(12, 6, 3, 8, 6), strided_grid(20, 5), Guidance(guide, 0.5)
    )
    assert trace.chain.shape == (3, 6, 8, 6)
    before, t = trace.chain[:, -2], torch.zeros(3, dtype=torch.long)
    want = apply_conditioning(diffusion.predict_start(before, cond, t), cond, 2)
    torch.testing.assert_close(trace.x, want)  # the guide's scale, a variance, is 0 on that row
    torch.testing.assert_close(trace.values, guide(before, cond, t))


# ------------------------------------------------------------------------------------------- run-time objects


class Recorder:
    """Stands in for torch.randn and torch.randn_like, and keeps what they drew."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.draws: list[tuple[str, np.ndarray]] = []
        for name in ("randn", "randn_like"):
            monkeypatch.setattr(torch, name, self.recorded(name, getattr(torch, name)))

    def recorded(self, name: str, draw: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def call(*args: object, **kwargs: object) -> Tensor:
            out = draw(*args, **kwargs)
            self.draws.append((name, out.numpy().copy()))
            return out

        return call


@pytest.mark.parametrize("name", NAMES)
def test_a_policy_draws_from_the_global_generator_in_order(name, monkeypatch):
    golden, policy = load_golden(name), load_policy(name)
    kwargs = {} if isinstance(policy, Policy) else {"verbose": False}
    recorder = Recorder(monkeypatch)
    torch.manual_seed(3)
    action, trajectories = policy(golden.conditions, batch_size=golden.batch_size, **kwargs)
    monkeypatch.undo()
    assert [kind for kind, _ in recorder.draws] == ["randn"] + ["randn_like"] * (len(golden.tape) - 1)
    tape = np.stack([draw for _, draw in recorder.draws])
    want = replay(golden, policy, tape)
    # From the second step on x is laid out like the network's output, [B, D, H] in memory, and torch draws for
    # such a tensor by another algorithm than for a contiguous one: not the same numbers in another order.
    torch.manual_seed(3)
    plans, horizon, dim = tape.shape[1:]
    np.testing.assert_array_equal(tape[0], torch.randn(plans, horizon, dim))
    np.testing.assert_array_equal(tape[1], torch.randn(plans, horizon, dim))
    like_the_network = torch.empty(plans, dim, horizon).transpose(1, 2)
    np.testing.assert_array_equal(tape[2], torch.randn_like(like_the_network))
    np.testing.assert_array_equal(trajectories.actions, want.actions)
    np.testing.assert_array_equal(trajectories.observations, want.observations)
    np.testing.assert_array_equal(action, want.actions[0, 0])
    if isinstance(policy, Policy):
        assert trajectories._fields == ("actions", "observations")
    else:
        assert trajectories._fields == ("actions", "observations", "values")
        np.testing.assert_array_equal(trajectories.values, want.values)
        assert (np.diff(want.values) <= 0).all()  # best first


def test_conditions_hold_after_every_step_and_the_chain_is_unsorted():
    golden, policy = load_golden("hopper_guided"), load_policy("hopper_guided")
    got = replay(golden, policy)
    given = load_normalizer(FOLDER / "hopper_guided").normalize(golden.conditions[0], "observations")
    np.testing.assert_array_equal(got.chain[:, :, 0, 3:], np.broadcast_to(given, (4, 21, 11)))
    np.testing.assert_array_equal(got.chain[:, 0, 1:], golden.tape[0, :, 1:])


def test_a_guided_step_moves_its_input_before_denoising():
    """Two guide steps written out, for plans at t = 0, 7 and 19 at once; t_stopgrad = 7 stops only the first."""
    diffusion, guide = small_diffusion(predict_epsilon=False, clip_denoised=False)
    cond, noise = {0: tensor(15, 3, 4)}, tensor(16, 3, 8, 6)
    t, x = torch.tensor([0, 7, 19]), apply_conditioning(tensor(17, 3, 8, 6), cond, 2)
    factor = 0.5 * diffusion.posterior_variance[t] * torch.tensor([0.0, 1.0, 1.0])
    moved = x
    for _ in range(2):
        values, grad = guide.gradients(moved, cond, t)
        moved = apply_conditioning(moved + factor[:, None, None] * grad, cond, 2)
    got, seen = n_step_guided_p_sample(
        diffusion, x, cond, t, guide, scale=0.5, t_stopgrad=7, n_guide_steps=2, noise=noise
    )
    torch.testing.assert_close(got, diffusion.p_sample(moved, cond, t, noise))
    torch.testing.assert_close(seen, values)
    unguided = diffusion.p_sample(x, cond, t, noise)
    assert torch.equal(got[0], unguided[0])
    assert (got[1:] - unguided[1:]).abs().amax(dim=(1, 2)).min() > 1e-3
    assert not torch.equal(seen[1:], guide(moved, cond, t)[1:])  # the last move is not looked at


def test_without_guide_steps_plans_are_ranked_by_the_value_of_the_last_input():
    diffusion, guide = small_diffusion(predict_epsilon=False, clip_denoised=False)
    cond, tape = {0: tensor(13, 3, 4)}, tensor(14, 21, 3, 8, 6)
    free = diffusion(cond, tape=tape, return_chain=True)
    ranked = diffusion(cond, tape=tape, sample_fn=n_step_guided_p_sample, guide=guide, n_guide_steps=0)
    values = guide(free.chains[:, -2], cond, torch.zeros(3, dtype=torch.long))
    torch.testing.assert_close(ranked.values, values.sort(descending=True).values)
    torch.testing.assert_close(ranked.trajectories, free.chains[:, -1][values.argsort(descending=True)])


def test_a_plan_may_have_another_horizon_than_training_had():
    policy = load_policy("maze_inpaint")
    cond = {0: torch.zeros(2, 4), 63: torch.ones(2, 4)}
    x = policy.diffusion_model.conditional_sample(cond, horizon=64).trajectories
    assert x.shape == (2, 64, 6)
    assert torch.equal(x[:, 63, 2:], torch.ones(2, 4))


def test_preprocessing_happens_before_normalising():
    golden, policy = load_golden("hopper_guided"), load_policy("hopper_guided")
    shifted = GuidedPolicy(
        policy.guide,
        policy.diffusion_model,
        policy.normalizer,
        (lambda obs: obs - 1.0, lambda obs: obs / 2.0),
        **policy.sample_kwargs,
    )
    torch.manual_seed(4)
    want, _ = policy(golden.conditions)
    torch.manual_seed(4)
    got, _ = shifted({t: 2.0 * obs + 1.0 for t, obs in golden.conditions.items()})
    np.testing.assert_allclose(got, want, atol=1e-4)


def test_one_element_outside_clips_the_whole_array():
    limits = LimitsNormalizer(mins=np.array([0.0]), maxs=np.array([2.0]))
    inside = np.array([[1.00005], [-1.00005]])
    np.testing.assert_allclose(limits.unnormalize(inside), inside + 1.0)
    beyond = np.array([[1.00005], [-1.5]])
    np.testing.assert_array_equal(limits.unnormalize(beyond), [[2.0], [0.0]])
    np.testing.assert_allclose(limits.normalize(limits.unnormalize(np.array([0.3]))), [0.3])


# ------------------------------------------------------------------------------------------------------ means


def tensor(seed: int, *shape: int) -> Tensor:
    """Standard normal numbers of `seed`, float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def check_slope(f, x: Tensor, grad: Tensor | None = None) -> None:
    """Autograd's (or the given) gradient of scalar f at x, against central differences, three directions."""
    if grad is None:
        leaf = x.clone().requires_grad_()
        (grad,) = torch.autograd.grad(f(leaf), leaf)
    for seed in range(3):
        direction, e = tensor(100 + seed, *x.shape), 1e-5
        slope = (f(x + e * direction) - f(x - e * direction)) / (2 * e)
        torch.testing.assert_close((grad * direction).sum(), slope, rtol=1e-6, atol=1e-8)

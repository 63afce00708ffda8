"""The oracle and the recorded checkpoints, and the calls of a run-time policy. (Traces: tests/test_goldens.py.)"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from oracle.checkpoint import build_network, load_diffusion, load_normalizer, read_config, read_ema
from oracle.diffusion import GaussianDiffusion, ValueDiffusion
from oracle.goldens import FOLDER, NAMES, load_golden, load_policy, replay
from oracle.policies import GuidedPolicy, LimitsNormalizer, Policy

CHECKPOINTS = (*NAMES, "hopper_guided/values")


@pytest.mark.parametrize("name", NAMES)
def test_the_last_tape_entry_is_not_used(name):
    golden, policy = load_golden(name), load_policy(name)
    tape = golden.tape.copy()
    tape[-1] = 7.0
    np.testing.assert_array_equal(replay(golden, policy, tape).chain, replay(golden, policy).chain)


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
    # From the second step on x is laid out like the network's output, [B, D, H] in memory, and torch draws
    # for such a tensor by another algorithm than for a contiguous one: not the same numbers in another order.
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

"""An accelerated policy copies, deep-copies and pickles as well as the policy does, and goes on with the same noise."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from dropin.policies import close, given, guided, maze2d
from oracle import variants
from oracle.draws import randomize

import diffuser_fast as dfx
from diffuser_fast.dropin import Accelerated

# What is drawn here need not lie inside the limits that it is normalised by.
pytestmark = pytest.mark.filterwarnings("ignore:.*beyond the data's limits")

WAYS = {"copy": copy.copy, "deepcopy": copy.deepcopy, "pickle": lambda one: pickle.loads(pickle.dumps(one))}


def accelerated(make=maze2d, **options):
    return dfx.accelerate(make(), backend="cpu", threads=1, seed=4, **options)


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_plans_the_same_from_here_on(way):
    ours = accelerated()
    ours(given(ours))
    other = WAYS[way](ours)
    assert type(other) is Accelerated and (other.policy is ours.policy) == (way == "copy")
    for _ in range(2):
        np.testing.assert_array_equal(other(given(ours))[1].actions, ours(given(ours))[1].actions)
    assert other.planner is not ours.planner and other.planner.number == ours.planner.number == 3
    np.testing.assert_array_equal(
        WAYS[way](other)(given(ours))[0], ours(given(ours))[0]
    )  # a copy that was never called


@pytest.mark.parametrize("way", ["deepcopy", "pickle"])
def test_a_deep_copy_has_weights_of_its_own(way):
    ours = accelerated()
    other = WAYS[way](ours)
    randomize(other.policy.diffusion_model.model, 99, torch.float32)
    assert not np.array_equal(other(given(ours))[0], ours(given(ours))[0])


def test_guided_policies_copy_too():
    """The original's hold closures, which pickle refuses; ours hold what theirs hold."""
    ours = dfx.accelerate(guided(), backend="cpu", threads=1, noise="torch")
    other = copy.deepcopy(ours)
    plans = []
    for one in (ours, other):
        torch.manual_seed(1)
        plans.append(one(given(ours), batch_size=3)[1])
    close(plans[0].observations, plans[1].observations)
    assert other.planner.checkpoint.guide == ours.planner.checkpoint.guide
    with pytest.raises((AttributeError, pickle.PicklingError), match="compose"):
        pickle.dumps(ours)


def negate(policy):
    policy.guide = variants.NegatedGuide(policy.guide.model)


def edit_step(policy):
    policy.sample_kwargs["sample_fn"] = variants.edited_step


@pytest.mark.parametrize("edit", [negate, edit_step])
def test_a_copy_that_was_edited_before_its_first_call_is_compared(edit):
    other = copy.deepcopy(accelerated(guided))
    edit(other.policy)
    with pytest.raises(ValueError, match="policy"):
        other(given(other))


def test_what_was_asked_for_goes_along():
    ours = dfx.accelerate(maze2d(), backend="cpu", threads=1, seed=7, precision="bf16", noise="philox", check=False)
    other = pickle.loads(pickle.dumps(ours))
    assert other.planner.exactness == "fast" and other.planner.threads == 1 and other.planner.seed == 7
    assert other.planner.backend == "cpu"


def test_another_process_unpickles_it(tmp_path):
    ours = accelerated()
    (tmp_path / "policy.pkl").write_bytes(pickle.dumps(ours))
    code = (
        "import pickle, sys; ours = pickle.load(open(sys.argv[1], 'rb')); print(ours.planner.horizon, ours.action_dim)"
    )
    path = ":".join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "policy.pkl"], capture_output=True, text=True, env={"PYTHONPATH": path}
    )
    assert done.stdout.split() == ["8", "2"], done.stderr

"""Checkpoints and planners as data: sent to other processes, copied, and equal where they arrive."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch

import diffuser_fast as dfx
from diffuser_fast import conformance as c
from diffuser_fast.core.checkpoint import Checkpoint
from diffuser_fast.core.spec import UNetSpec, ValueSpec

torch.set_num_threads(1)
BACKENDS = sorted({target.backend for target in c.targets()})
SIZES = {"horizon": 8, "transition_dim": 6, "dim": 16}
OBS = np.array([0.1, -0.2, 0.3, 0.0])
WAYS = {
    "pickle": lambda x: pickle.loads(pickle.dumps(x)),
    "old pickle": lambda x: pickle.loads(pickle.dumps(x, protocol=2)),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
}


def checkpoint():
    return c.random_checkpoint(
        UNetSpec(**SIZES, dim_mults=(1, 2)), ValueSpec(**SIZES, dim_mults=(1, 8)), action_dim=2, n_train=4
    )


@pytest.mark.parametrize("way", WAYS)
def test_checkpoints(way):
    before = checkpoint()
    after = WAYS[way](before)
    assert type(after) is Checkpoint and after.unet.spec == before.unet.spec and after.guide == before.guide
    for name, array in before.value.arrays.items():
        np.testing.assert_array_equal(after.value.arrays[name], array)
    with pytest.raises(TypeError):
        after.unet.arrays["head.out.bias"] = 0  # still nobody's to change
    with pytest.raises(ValueError, match="read-only"):
        after.unet.arrays["head.out.bias"][:] = 0


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_planner_goes_on_where_it_was(backend, way):
    one = dfx.Planner(checkpoint(), backend, batch_size=3, warm_start=2, threads=1, seed=5)
    one.act(OBS)
    other = WAYS[way](one)
    assert other.engine is not one.engine and other.seed == 5
    for _ in range(2):  # the same noise and the same last plan, and neither disturbs the other
        np.testing.assert_array_equal(other.act(OBS), one.act(OBS))
    one.plan({0: OBS})
    other.plan({0: OBS})
    np.testing.assert_array_equal(other.plan({0: OBS}, horizon=8).actions, one.plan({0: OBS}).actions)


def test_plans_and_guides():
    plans = dfx.Planner(checkpoint(), "reference", batch_size=2).plan({0: OBS}, return_chain=True)
    for way in WAYS.values():
        after = way(plans)
        np.testing.assert_array_equal(after.chain, plans.chain)
        assert (after.exactness, after.clipped) == (plans.exactness, plans.clipped)
        assert way(dfx.Guide(scale=0.5)) == dfx.Guide(scale=0.5)


def test_a_planner_in_another_process(tmp_path):
    """As spawned workers do: nothing is shared but the bytes."""
    one = dfx.Planner(checkpoint(), "reference", batch_size=2, threads=1, seed=3)
    (tmp_path / "planner.pkl").write_bytes(pickle.dumps(one))
    code = (
        "import pickle, sys, numpy as np\n"
        "planner = pickle.load(open(sys.argv[1] + '/planner.pkl', 'rb'))\n"
        f"np.save(sys.argv[1] + '/actions.npy', planner.plan({{0: {OBS.tolist()}}}).actions)\n"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path], check=True)
    np.testing.assert_allclose(np.load(tmp_path / "actions.npy"), one.plan({0: OBS}).actions, rtol=1e-5, atol=1e-6)


def test_a_backend_that_is_not_there_is_named(monkeypatch):
    one = dfx.Planner(checkpoint(), "reference", batch_size=2)
    sent = pickle.dumps(one)
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "diffuser_fast.backends.reference")
    with pytest.raises(ImportError, match=r"backend 'reference' needs torch: pip install diffuser-fast\[torch\]"):
        pickle.loads(sent)

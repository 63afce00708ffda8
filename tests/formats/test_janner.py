"""Networks of the original: the recorded goldens, and every kind of network the oracle has."""

import shutil

import numpy as np
import pytest
import torch
from core.interpreter import run
from formats.made import refuses
from formats.originals import DIFFUSION, UNET, VALUE, diffusion, write_folder, write_state
from oracle.checkpoint import build_network, load_diffusion, read_config, read_ema
from oracle.goldens import FOLDER, NAMES
from oracle.networks import Maze2dTemporalUnet, TemporalUnet, TemporalValue, ValueFunction

from diffuser_fast.core.guidance import Guide
from diffuser_fast.core.loop import network
from diffuser_fast.core.samplers import ddpm
from diffuser_fast.core.schedule import BUFFERS
from diffuser_fast.core.spec import UNetSpec, ValueSpec
from diffuser_fast.formats import load, load_value

UNETS = {
    "main": (TemporalUnet, UNET),
    "attention": (TemporalUnet, {**UNET, "attention": True}),
    "maze2d": (Maze2dTemporalUnet, UNET),
}


VALUES = {
    "ValueFunction": (ValueFunction, VALUE),
    "TemporalValue": (TemporalValue, VALUE),
    "of one long stages": (ValueFunction, {**VALUE, "horizon": 4}),
}


def computes_the_same(weights, oracle, checkpoint):
    """Our program with these weights, and an oracle's network, at three steps; both in float64."""
    spec, oracle = weights.spec, oracle.double()
    x = np.random.default_rng(3).normal(size=(2, spec.horizon, spec.transition_dim))
    ready = network(weights, ddpm(checkpoint.schedule), spec.horizon)
    for row in (0, 2, -1):
        t = int(ddpm(checkpoint.schedule).t[row])
        found = run(ready.program, weights.arrays, {"x": x.transpose(0, 2, 1)}, ready.tables.step(row))["y"]
        expected = oracle(torch.from_numpy(x), None, torch.full((2,), t)).detach().numpy()
        found = found.transpose(0, 2, 1) if isinstance(spec, UNetSpec) else found[:, :, 0]
        # The step tables are float32.
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6 * max(1, np.abs(expected).max()))


EXPECTED = {
    "hopper_guided": (UNetSpec(32, 14, dim=16), ValueSpec(32, 14, dim=16), 20, 3, False),
    "maze2d_branch": (UNetSpec(64, 6, dim=16, dim_mults=(1, 4, 8)), None, 32, 2, True),
    "maze_inpaint": (UNetSpec(128, 6, dim=16, dim_mults=(1, 4, 8)), None, 64, 2, True),
}


@pytest.mark.parametrize("name", NAMES)
def test_goldens(name):
    found = load(FOLDER / name)
    unet, value, n_steps, action_dim, clip = EXPECTED[name]
    assert found.unet.spec == unet and (found.value and found.value.spec) == value
    assert (found.schedule.n_steps, found.action_dim, found.clip_denoised) == (n_steps, action_dim, clip)
    assert found.prediction == "x0" and found.guide == Guide() and found.normalizers is not None
    assert found.metadata["format"] == "janner" and found.metadata["env"] == "x-v2"
    assert (found.metadata["step"], found.metadata["epoch"], found.metadata["file"]) == (7, 7, "state_7.pt")
    state = read_ema(FOLDER / name)
    for buffer in BUFFERS:
        np.testing.assert_array_equal(getattr(found.schedule, buffer).astype(np.float32), state[buffer].numpy())
    computes_the_same(found.unet, load_diffusion(FOLDER / name).model, found)
    if value:
        computes_the_same(found.value, load_diffusion(FOLDER / name / "values").model, found)
        assert found.metadata["value"]["file"] == "state_3.pt"


@pytest.mark.parametrize("kind", UNETS)
def test_unets(tmp_path, kind):
    cls, arguments = UNETS[kind]
    oracle = cls(**arguments)
    write_folder(tmp_path, oracle, model=arguments, diffusion_config=DIFFUSION)
    found = load(tmp_path)
    assert found.unet.spec == UNetSpec(8, 5, dim=8, dim_mults=(1, 2), attention=kind == "attention")
    computes_the_same(found.unet, oracle, found)
    assert found.value is None and found.normalizers is None


@pytest.mark.parametrize("kind", VALUES)
def test_value_networks(guided, kind):
    cls, arguments = VALUES[kind]
    shutil.rmtree(guided / "values")
    oracle = cls(**arguments)
    write_folder(guided / "values", oracle, value=True, model=arguments)
    found = load(guided)
    middle = "none" if kind == "TemporalValue" else "narrowing"
    assert found.value.spec == ValueSpec(arguments["horizon"], 5, dim=8, dim_mults=(1, 4), middle=middle)
    computes_the_same(found.value, oracle, found)
    np.testing.assert_array_equal(
        load_value(guided / "values").arrays["head.time.bias"], found.value.arrays["head.time.bias"]
    )


def test_the_average_is_used_and_nothing_else(guided):
    found = load(guided)
    assert all(np.abs(array).max() < 99 for array in found.unet.arrays.values())


def test_the_highest_epoch_by_number_not_by_name(guided):
    state = read_ema(guided)
    for epoch in (10, 9, 100_000):
        marked = {k: torch.full_like(v, epoch / 1e6) if k == "model.final_conv.1.bias" else v for k, v in state.items()}
        write_state(guided / f"state_{epoch}.pt", marked, step=epoch)
    (guided / "state_latest.pt").write_bytes(b"not a number")
    for found, epoch in [
        (load(guided), 100_000),
        (load(guided, epoch=9), 9),
        (load(guided / "state_10.pt"), 10),
    ]:
        assert found.metadata["epoch"] == found.metadata["step"] == epoch
        np.testing.assert_allclose(found.unet.arrays["head.out.bias"], epoch / 1e6)
        assert found.value is not None, "siblings are looked at"
    with pytest.raises(FileNotFoundError, match=r"no state_8.pt; there are epochs \[7, 9, 10, 100000\]"):
        load(guided, epoch=8)
    refuses(guided / "state_10.pt", "epoch: found 9, but the path is one file", epoch=9)


def test_the_layout_is_told_by_keys_and_not_by_configurations(tmp_path):
    """Published maze2d weights have their convolutions at 2, whatever is said to have made them."""
    oracle = Maze2dTemporalUnet(**UNET)
    write_folder(tmp_path, oracle, model={**UNET, "attention": False}, diffusion_config=DIFFUSION)
    found = load(tmp_path)
    computes_the_same(found.unet, oracle, found)


def test_attention_of_other_ranks(guided):
    """Some releases wrote the projections as two-dimensional convolutions."""
    oracle = TemporalUnet(**{**UNET, "attention": True})
    write_folder(guided, oracle, diffusion_config=DIFFUSION, model=UNET | {"attention": True})
    expected = load(guided).unet.arrays

    state = read_ema(guided)
    for key in [k for k in state if ".to_qkv." in k or k.endswith("to_out.weight")]:
        state[key] = state[key][..., None]
    write_state(guided / "state_7.pt", state)
    for name, array in load(guided).unet.arrays.items():
        np.testing.assert_array_equal(array, expected[name])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_dtypes_become_float32(guided, dtype):
    state = {k: v.to(dtype) for k, v in read_ema(guided).items()}
    schedule = {k: v for k, v in read_ema(guided).items() if k in BUFFERS}
    write_state(guided / "state_7.pt", state | schedule)
    found = load(guided).unet.arrays["head.out.bias"]
    np.testing.assert_array_equal(found, state["model.final_conv.1.bias"].float().numpy())


def test_schedules_in_float64_keep_their_digits(guided):
    state = diffusion(TemporalUnet(**UNET), dtype=torch.float64).state_dict()
    write_state(guided / "state_7.pt", state)
    np.testing.assert_array_equal(load(guided).schedule.betas, state["betas"].numpy())


def test_every_key_is_where_the_oracle_has_it(guided):
    """The names of the oracle's modules and the names read here are one and the same."""
    build_network(read_config(guided / "model_config.pkl"), read_ema(guided))
    load_diffusion(guided)

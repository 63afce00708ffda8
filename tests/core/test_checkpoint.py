"""Weights and Checkpoint: what fits and what does not; the loop that they make."""

from dataclasses import replace

import numpy as np
import pytest
from core.interpreter import run

from diffuser_fast.core.checkpoint import Checkpoint, Weights
from diffuser_fast.core.guidance import Guide
from diffuser_fast.core.loop import ranking, sampling_loop
from diffuser_fast.core.lower import lower
from diffuser_fast.core.normalizers import Gaussian, Normalizers
from diffuser_fast.core.samplers import ddpm
from diffuser_fast.core.schedule import cosine
from diffuser_fast.core.spec import UNetSpec, ValueSpec

UNET = UNetSpec(8, 5, dim=8, dim_mults=(1, 2))
VALUE = ValueSpec(8, 5, dim=8, dim_mults=(1, 4))


def random(spec, seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in lower(spec).weights.items()}


def checkpoint(**changes):
    fields = {
        "unet": Weights(UNET, random(UNET)),
        "value": Weights(VALUE, random(VALUE, 1)),
        "schedule": cosine(6),
    }
    return Checkpoint(**{**fields, "action_dim": 2, **changes})


def test_weights_are_frozen_float32_and_contiguous():
    name = "head.out.weight"
    wide = {n: np.asfortranarray(a.astype(np.float64)) for n, a in random(UNET).items()}
    array = Weights(UNET, wide).arrays[name]
    assert array.dtype == np.float32 and array.flags.c_contiguous
    with pytest.raises(ValueError):
        array[0] = 0
    with pytest.raises(TypeError):
        Weights(UNET, wide).arrays[name] = array


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head.out.bias": None}, "weights: missing head.out.bias, not expected nothing"),
        ({"extra": np.zeros(3)}, "weights: missing nothing, not expected extra"),
        ({f"x{i}": np.zeros(1) for i in range(9)}, "not expected x0, x1, x2, x3 and 5 more"),
        ({"head.out.bias": np.zeros(4)}, r"weights: head.out.bias has shape \[4\], the spec needs \[5\]"),
        ({"head.out.bias": np.full(5, np.nan)}, "weights: head.out.bias holds numbers that are not finite"),
        ({"head.out.bias": np.full(5, 1e300)}, "head.out.bias holds numbers that are not finite"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_weights_that_do_not_fit_their_spec(change, message):
    arrays = {name: array for name, array in {**random(UNET), **change}.items() if array is not None}
    with pytest.raises(ValueError, match=message):
        Weights(UNET, arrays)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"action_dim": 5}, r"action_dim: found 5, expected 0 to 4 \(transition_dim 5\)"),
        ({"action_dim": -1}, "action_dim: found -1"),
        ({"prediction": "v"}, "prediction: found 'v', expected 'x0' or 'epsilon'"),
        ({"unet": Weights(VALUE, random(VALUE))}, "unet: its spec must be a UNetSpec"),
        ({"value": Weights(UNET, random(UNET))}, "value: its spec must be a ValueSpec"),
        (
            {"value": Weights(replace(VALUE, transition_dim=6), random(replace(VALUE, transition_dim=6)))},
            "value: its transition_dim is 6, the U-Net's is 5",
        ),
        (
            {"normalizers": Normalizers(Gaussian([0.0] * 2, [1.0] * 2), Gaussian([0.0] * 3, [1.0] * 3))},
            "normalizer: statistics are for 3 actions and 2 observations, the network has 2 and 3",
        ),
    ],
)
def test_parts_that_do_not_go_together(changes, message):
    with pytest.raises(ValueError, match=message):
        checkpoint(**changes)


def test_a_value_network_of_another_horizon_may_be_loaded_but_not_guide():
    other = replace(VALUE, horizon=16)
    found = checkpoint(value=Weights(other, random(other)))
    assert found.observation_dim == 3
    sampling_loop(found, ddpm(found.schedule))
    with pytest.raises(ValueError, match="trained for 16, found 8"):
        sampling_loop(found, ddpm(found.schedule), guide=Guide())


def test_a_guide_needs_a_value_network():
    with pytest.raises(ValueError, match="guide: the checkpoint has no value network"):
        sampling_loop(checkpoint(value=None), ddpm(cosine(6)), guide=Guide())


def test_a_loop_refuses_a_horizon():
    with pytest.raises(ValueError, match="horizon: 9 is not a multiple of 2"):
        sampling_loop(checkpoint(), ddpm(cosine(6)), horizon=9)


def test_a_loop_holds_what_an_engine_needs():
    found = checkpoint(clip_denoised=True)
    loop = sampling_loop(found, ddpm(found.schedule), guide=Guide(t_stopgrad=2))
    assert loop.rows == 6 and loop.horizon == 8 and loop.transition_dim == 5
    assert loop.steps.guide_steps.tolist() == [2, 2, 2, 2, 0, 0]
    assert loop.clip[0].tolist() == [-1] * 5 and loop.clip[1].tolist() == [1] * 5
    for network in (loop.denoiser, loop.guide):
        tables = network.tables.per_step
        assert tables.shape == (6, 1, network.program.table_width) and tables.dtype == np.float32
        assert network.tables.per_sample is None
        assert set(network.weights) == set(network.program.weights)
    assert loop.denoiser.gradient is None
    unguided = sampling_loop(checkpoint(), ddpm(cosine(6)), horizon=16)
    assert unguided.guide is None and unguided.clip is None and unguided.denoiser.program.shapes[0] == (5, 16)


def test_program_and_fused_of_a_loop_agree():
    loop = sampling_loop(checkpoint(), ddpm(cosine(6)), guide=Guide())
    rng = np.random.default_rng(3)
    x, dy = rng.normal(size=(2, 5, 8)), np.ones((2, 1, 1))
    for k in range(6):
        for network in (loop.denoiser, loop.guide):
            table = network.tables.step(k)
            plain, fused = (
                run(program, network.weights, {"x": x}, table)["y"] for program in (network.program, network.fused)
            )
            np.testing.assert_allclose(fused, plain, rtol=0, atol=1e-11)
        found = run(loop.guide.gradient, loop.guide.weights, {"x": x, "dy": dy}, loop.guide.tables.step(k))
        np.testing.assert_allclose(found["y"], plain, rtol=0, atol=1e-11)
        gradient = found["dx"]
        assert gradient.shape == x.shape and np.abs(gradient).max() > 0


def test_ranking_is_stable_descending_and_per_group():
    assert ranking([1.0, 3.0, 2.0, 3.0], 4).tolist() == [1, 3, 2, 0]
    assert ranking([0.0, 1.0] * 50, 100).tolist() == [*range(1, 100, 2), *range(0, 100, 2)]
    assert ranking([1, 2, 3, 9, 8, 7], 3).tolist() == [2, 1, 0, 0, 1, 2]
    assert ranking([], 1).tolist() == []

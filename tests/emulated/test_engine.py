"""The CUDA engine, its Python as on a GPU and its kernels in the emulator: plans within their bounds, in every mode."""

import json
from dataclasses import replace

import numpy as np
import pytest
from bounds import agree, implied_plans, within
from emulated.device import EmulatedDevice
from emulated.emulator import compiler
from emulated.short import Short

import diffuser_fast as dfx
from diffuser_fast import backends
from diffuser_fast import conformance as c
from diffuser_fast.backends import cuda
from diffuser_fast.backends.cuda.division import chosen, divided
from diffuser_fast.backends.cuda.one_program import launched
from diffuser_fast.backends.engine import Seeded
from diffuser_fast.backends.gpu import model
from diffuser_fast.backends.gpu.plan import loop_stages
from diffuser_fast.core.noise import tape as drawn
from diffuser_fast.core.spec import UNetSpec, ValueSpec

pytestmark = pytest.mark.skipif(compiler() is None, reason="the emulator's kernels are compiled by g++")

OPS = {case.name: case for case in c.op_cases()}


@pytest.mark.parametrize(
    ("name", "precision", "launches"),
    [
        ("one denoising step", "float32", "stages"), ("one denoising step", "fp16", "loop"),
        ("situations with candidates", "float32", "loop"), ("tables added for each trajectory", "float32", "stages"),
        ("narrow", "float32", "loop"), ("narrow", "fp16", "stages"),
        ("one denoising step", "fp16", "cluster"), ("situations with candidates", "float32", "cluster"),
    ],
)  # fmt: skip
def test_plans_are_within_their_bounds(name, precision, launches):
    case = Short(name)
    case.judge(case.plan(case.engine(precision, launches)), precision)


def test_every_mode_is_prepared_and_kept():
    case = Short("tables of each trajectory")
    made = case.engine()
    first = case.plan(made)
    case.judge(first)
    rest = case.plan(made, x=first.chain[:, 1], start=1)
    np.testing.assert_array_equal(rest.chain, first.chain[:, 1:])
    np.testing.assert_array_equal(rest.order, first.order)
    again = case.plan(made, chain=False)  # another mode, and the loop's own tables are untouched
    np.testing.assert_array_equal(again.x, first.x)
    assert again.chain is None and len(made._modes) == 4 and made.reason is None
    assert made.kernels == sum(1 for _ in loop_stages(case.loop).chain())


def test_noise_is_drawn_by_seed_and_number():
    case = Short("FiLM of a condition")
    made = case.engine()
    seeded = made(case.inpainting, Seeded(7, 3), chain=True)
    sizes = (case.loop.rows, case.batch, case.loop.horizon, case.loop.transition_dim)
    taped = made(case.inpainting, drawn(7, 3, *sizes), chain=True)
    # (Box and Muller in float32: each device's own log, sine and cosine.)
    np.testing.assert_allclose(seeded.chain[:, 0], taped.chain[:, 0], rtol=0, atol=2e-6)
    assert np.abs(seeded.chain - taped.chain).max() < 1e-3


def test_a_plan_that_is_not_finite_says_in_which_step():
    case = Short("FiLM of a condition")
    made, noise = case.engine(), case.tape.copy()
    noise[1, 3, -1, 0] = np.nan
    with pytest.raises(FloatingPointError, match=r"denoising step 0 \(t = "):
        case.plan(made, noise=noise)
    case.judge(case.plan(made))  # and the next is as if nothing had been


def test_a_planner_plans_by_it(monkeypatch):
    """From the registry to plans in physical units, as on a machine with a GPU."""
    monkeypatch.setitem(backends.REGISTRY, "cuda", backends.Registered())
    monkeypatch.setattr(cuda, "_why_not_on", lambda device: None)
    monkeypatch.setattr(cuda, "Gpu", lambda number: EmulatedDevice())
    sizes = {"horizon": 4, "transition_dim": 5, "dim": 8, "dim_mults": (1, 2)}
    checkpoint = c.random_checkpoint(UNetSpec(**sizes), ValueSpec(**sizes, groups=4), n_train=2)
    planner = dfx.Planner(checkpoint, "cuda", batch_size=3, seed=5, launches="stages")
    assert planner.backend == "cuda"
    start = {0: [0.1, -0.2, 0.3]}
    noise = np.random.default_rng(0).normal(size=(3, 3, 4, 5)).astype(np.float32)
    implied = implied_plans(planner, start, noise)
    agree(implied, planner.plan(start, noise=noise))
    whole = dfx.Planner(checkpoint, "cuda", batch_size=3, seed=5)  # the model prefers the loop
    assert whole.engine.launches == "loop" and planner.engine.kernels > whole.engine.kernels == 1
    agree(implied, whole.plan(start, noise=noise))
    with pytest.raises(ValueError, match="budget_ms: the cuda backend runs the rows that it was opened with"):
        planner.plan(start, budget_ms=5)


def test_one_program_by_itself():
    for name in ("conv 33x3 to 65x3 k5 s1 p2 B3", "network gradient of value H4", "slices of one value"):
        case = OPS[name]
        implied = c.implied_by_program(case.program, case.weights, case.inputs, case.table)
        for launches in cuda.LAUNCHES:
            found = launched(
                case.program, case.weights, case.inputs, case.table, EmulatedDevice(), exact=True, launches=launches
            )  # fmt: skip
            for output in implied:
                within(found[output], implied[output], f"{name}: {output}")


def test_what_does_not_fit_is_refused_in_a_sentence():
    small, large = EmulatedDevice(132, 99 << 10), EmulatedDevice(132)
    maze, hopper = Short("maze2d large").loop, Short("hopper").loop
    with pytest.raises(ValueError, match="launches: 'loop' keeps a trajectory in shared memory, of which a block"):
        divided(maze, 1, small, "loop")
    with pytest.raises(ValueError, match="do not fit into 2048 bytes"):
        divided(maze, 1, EmulatedDevice(132, 2 << 10), "stages")
    with pytest.raises(ValueError, match="launches: 'cluster' needs a GPU of compute capability 9"):
        divided(hopper, 1, EmulatedDevice(clusters=0), "cluster")
    assert divided(hopper, 64, EmulatedDevice(132, clusters=15), "cluster").tiles == 8
    assert divided(maze, 1, small, "stages").group == 1 and divided(maze, 64, large, "stages").group == 1
    assert divided(hopper, 64, large, "stages").group == 4 and divided(hopper, 2, large, "stages").group == 2
    assert divided(hopper, 64, large, "loop").group == 1 and divided(hopper, 400, large, "loop").group > 1


def test_the_way_of_launching_follows_the_model(monkeypatch, tmp_path):
    """The fastest at its worst, of those that fit; clusters only where the constants of such a GPU were measured."""
    h100, small = EmulatedDevice(132, clusters=15, name="H100"), EmulatedDevice(132, 99 << 10, clusters=0)
    maze, hopper = Short("maze2d large").loop, Short("hopper").loop
    assert chosen(hopper, 1, h100) == "loop" and chosen(maze, 1, small) == "stages"
    assert cuda.CudaEngine(hopper, 1, h100, "fp16", None).launches == "loop"
    known = {"H100": {"node": 0.01, "kernel": 0.01}}
    monkeypatch.setattr(model, "MEASURED", tmp_path / "measured.json")
    model.MEASURED.write_text(json.dumps(known))
    assert chosen(hopper, 1, h100) == "stages"
    known["H100"] = {"cluster barrier": 0.4}
    model.MEASURED.write_text(json.dumps(known))
    assert chosen(hopper, 1, h100) == "cluster"
    assert chosen(hopper, 1, EmulatedDevice(132, clusters=15)) == "loop"
    with pytest.raises(ValueError, match="do not fit into 2048 bytes"):
        chosen(maze, 1, EmulatedDevice(132, 2 << 10))


def test_more_numbers_than_kernels_count_are_refused(monkeypatch):
    monkeypatch.setattr("diffuser_fast.backends.cuda.engine.MOST_NUMBERS", 10)
    with pytest.raises(ValueError, match=r"batch: 1 plans are \d+ numbers in one array, kernels count to 10"):
        Short("narrow").engine()


def test_weights_beyond_a_half_are_refused():
    case = Short("narrow")
    weights = dict(case.loop.denoiser.weights)
    name = next(name for name, w in weights.items() if w.ndim == 3)
    weights[name] = np.full_like(weights[name], 1e5)
    case.loop = replace(case.loop, denoiser=replace(case.loop.denoiser, weights=weights))
    with pytest.raises(ValueError, match="precision: fp16 holds numbers up to 65504"):
        case.engine("fp16")
    case.engine("float32")


def test_refusals():
    loop = Short("narrow").loop
    with pytest.raises(ValueError, match="precision: the cuda backend has float32, fp16, found 'bf16'"):
        cuda.ready(loop, batch=1, precision="bf16")
    with pytest.raises(ValueError, match="launches: found 'one', expected one of stages, loop, cluster, async"):
        cuda.ready(loop, batch=1, launches="one")
    assert cuda.why_not(loop, "cpu")


def test_why_not_knows_what_does_not_fit(monkeypatch):
    """Shared memory, blocks that share a trajectory, a half's range: each in a sentence, before anything is made."""
    monkeypatch.setattr(cuda, "_why_not_on", lambda device: None)
    monkeypatch.setattr(cuda, "Gpu", lambda number: EmulatedDevice(132, 99 << 10, clusters=0))
    maze, small = Short("maze2d large").loop, Short("narrow").loop
    assert cuda.why_not(small) is None and cuda.why_not(maze, batch=64) is None
    assert cuda.why_not(small, batch=400, precision="fp16", launches="loop") is None
    assert "keeps a trajectory in shared memory" in cuda.why_not(maze, launches="loop")
    assert "needs a GPU of compute capability 9.0" in cuda.why_not(small, launches="cluster")
    assert "the cuda backend has float32, fp16, found 'bf16'" in cuda.why_not(small, precision="bf16")
    weights = {name: w * 1e6 for name, w in small.denoiser.weights.items()}
    large = replace(small, denoiser=replace(small.denoiser, weights=weights))
    assert "fp16 holds numbers up to 65504" in cuda.why_not(large, precision="fp16")
    assert cuda.why_not(large) is None

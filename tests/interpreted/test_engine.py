"""Plans by the engine's own means: seeds, restarts, modes, what it refuses, and what happens between its launches."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from bounds import within
from torch.utils._python_dispatch import TorchDispatchMode

from diffuser_fast import conformance as c
from diffuser_fast.backends import triton
from diffuser_fast.backends.engine import Seeded
from diffuser_fast.backends.triton import engine as engines
from diffuser_fast.backends.triton import launches
from diffuser_fast.core import noise
from diffuser_fast.core.conditions import no_inpainting
from diffuser_fast.core.loop import PlanTables, TimeTables
from diffuser_fast.core.spec import UNetSpec

# The smallest there is: one level, three denoising steps, nothing inpainted.
CASE = c.LoopCase("one level, three steps", UNetSpec(2, 3, dim=8, dim_mults=(1,), groups=2), n_train=3, mask="nothing")
GUIDED = next(case for case in c.loop_cases() if case.name == "value without a middle")


@pytest.fixture(scope="module")
def engine():
    return triton.ready(CASE.loop, device="cpu", batch=3)


@pytest.fixture
def inpainting():
    return no_inpainting(CASE.loop.horizon, CASE.loop.transition_dim)


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=0, atol=32 * 2.0**-24 * max(1.0, np.abs(b).max()))


def test_a_seed_is_the_tape_of_core_noise(engine, inpainting):
    loop = CASE.loop
    tape = noise.tape(11, 4, loop.rows, 3, loop.horizon, loop.transition_dim)
    found = engine(inpainting, Seeded(11, 4))
    within(found.x, c.implied_by_plan(loop, inpainting, Seeded(11, 4), batch=3).x)
    close(engine(inpainting, tape).x, found.x)
    assert np.abs(engine(inpainting, Seeded(11, 5)).x - found.x).max() > 0.1
    assert np.abs(engine(inpainting, Seeded(12, 4)).x - found.x).max() > 0.1
    np.testing.assert_array_equal(engine(inpainting, Seeded(11, 4)).x, found.x)


def test_a_restart_goes_on_where_the_chain_was(engine, inpainting):
    whole = engine(inpainting, Seeded(3, 0), chain=True)
    assert whole.chain.shape == (3, CASE.loop.rows + 1, CASE.loop.horizon, CASE.loop.transition_dim)
    np.testing.assert_array_equal(whole.chain[:, -1], whole.x)
    for start in (2, CASE.loop.rows - 1):
        rest = engine(inpainting, Seeded(3, 0), x=whole.chain[:, start], start=start, chain=True)
        np.testing.assert_array_equal(rest.chain, whole.chain[:, start:])
    tape = noise.tape(3, 0, CASE.loop.rows, 3, CASE.loop.horizon, CASE.loop.transition_dim)
    close(engine(inpainting, tape, x=whole.chain[:, 2], start=2).x, whole.x)
    # Without x a restart begins with the first noise.
    begun = engine(inpainting, tape, start=2, chain=True)
    np.testing.assert_array_equal(begun.chain[:, 0], tape[0])


def test_results_are_the_callers_own(engine, inpainting):
    first = engine(inpainting, Seeded(1, 0))
    kept = first.x.copy()
    engine(inpainting, Seeded(2, 0))
    np.testing.assert_array_equal(first.x, kept)
    np.testing.assert_array_equal(first.order, [0, 1, 2])
    assert first.order.dtype == np.int64 and not first.values.any()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy's, inside the interpreter
def test_a_number_that_is_not_finite_names_the_denoising_step(engine, inpainting):
    loop = CASE.loop
    tape = noise.tape(0, 0, loop.rows, 3, loop.horizon, loop.transition_dim)
    tape[2, 1, 0, 0] = np.inf  # of denoising step 1
    with pytest.raises(FloatingPointError, match=rf"denoising step 1 \(t = {loop.steps.t[1]}\)"):
        engine(inpainting, tape)
    engine(inpainting, Seeded(0, 0))  # and the next plan is as if nothing had been


def test_modes_are_kept_up_to_a_bound(engine, inpainting, monkeypatch):
    monkeypatch.setattr(engines, "MODES", 2)
    engine._modes.clear()
    engine(inpainting, Seeded(0, 0))
    seeded = next(iter(engine._modes))
    engine(inpainting, Seeded(0, 0), chain=True)
    engine(inpainting, Seeded(0, 1))  # used again, so it stays
    engine(inpainting, Seeded(0, 0), start=1)
    assert len(engine._modes) == 2 and seeded in engine._modes
    assert not any(mode.chain for mode in engine._modes)


def test_tables_of_a_plan_in_every_form(engine, inpainting):
    """The same numbers given for all, for each sample, or as a sum are the same plan; other numbers another."""
    loop, rng = CASE.loop, np.random.default_rng(0)
    shared = loop.denoiser.tables.per_step
    added = rng.integers(-2, 3, (3, shared.shape[-1])).astype(np.float32) / 4
    plain = engine(inpainting, Seeded(5, 0))
    for tables in (TimeTables(shared), TimeTables(shared.repeat(3, axis=1)), TimeTables(shared, 0 * added)):
        np.testing.assert_array_equal(engine(inpainting, Seeded(5, 0), tables=PlanTables(tables)).x, plain.x)
    each = engine(inpainting, Seeded(5, 0), tables=PlanTables(TimeTables(shared + added)))
    summed = engine(inpainting, Seeded(5, 0), tables=PlanTables(TimeTables(shared, added)))
    np.testing.assert_array_equal(each.x, summed.x)
    assert all(np.abs(each.x[n] - plain.x[n]).max() > 0.01 for n in range(3))
    # A restart sees the denoising steps that it runs.
    late = shared + added
    late[:2] = np.nan
    rest = engine(inpainting, Seeded(5, 0), x=plain.x, start=2, tables=PlanTables(TimeTables(late)))
    assert np.isfinite(rest.x).all()


def test_tables_that_do_not_fit_are_refused(engine, inpainting):
    shared = CASE.loop.denoiser.tables.per_step
    for tables, said in (
        (PlanTables(TimeTables(shared[:-1])), "denoiser.per_step"),
        (PlanTables(TimeTables(shared.repeat(2, axis=1))), "denoiser.per_step"),
        (PlanTables(TimeTables(shared, shared[0])), "denoiser.per_sample"),
        (PlanTables(TimeTables(shared), TimeTables(shared)), "given for a guide"),
    ):
        with pytest.raises(ValueError, match=f"tables: {said}"):
            engine(inpainting, Seeded(0, 0), tables=tables)


class Seen(TorchDispatchMode):
    """Every torch op by name."""

    def __init__(self):
        super().__init__()
        self.ops = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.ops.append(str(func))
        return func(*args, **(kwargs or {}))


def test_between_the_two_copies_there_are_launches_and_nothing_else(engine, inpainting, monkeypatch):
    engine(inpainting, Seeded(0, 0))
    prepared = engine._prepared(engines.Mode(candidates=3))
    order = []
    monkeypatch.setattr(launches.Call, "__call__", lambda call: order.append(call.kernel.__name__))
    with Seen() as seen:
        prepared.run()
    assert seen.ops == ["aten.copy_.default"] * 2  # no allocation, no wait, no reading back
    assert len(order) == len(prepared.launch_list.launches)
    assert (order[0], order[-1]) == ("begin", "update")


def test_ranking_is_stable_and_within_its_group():
    from diffuser_fast.core.loop import ranking
    from diffuser_fast.kernels.ranking import rank

    values = np.random.default_rng(0).integers(0, 5, 3 * 37).astype(np.float32)  # many are equal
    values[[3, 50, 51]] = np.inf, -np.inf, np.nan
    out, order = torch.full((111,), torch.nan), torch.full((111,), -1, dtype=torch.int32)
    rank[(3, 2)](torch.from_numpy(values), out, order, LDV=1, COUNT=37, CP=64, BLOCK=32, PDL=False)
    np.testing.assert_array_equal(order.numpy(), ranking(values, 37))
    np.testing.assert_array_equal(out.numpy(), values)


NARROW = {"fp16": torch.float16, "bf16": torch.bfloat16}


def rounded(case, dtype):
    """The same case with the operands of its convolution rounded to dtype."""

    def narrow(array):
        return torch.tensor(array).to(dtype).float().numpy()

    new = replace(case)
    weights = {name: narrow(w) if w.ndim == 3 else w for name, w in case.weights.items()}
    new.__dict__.update(weights=weights, table=case.table, inputs={name: narrow(x) for name, x in case.inputs.items()})
    return new


@pytest.mark.parametrize("precision", NARROW)
@pytest.mark.parametrize(
    "name", ["conv 33x3 to 65x3 k5 s1 p2 B3", "conv_block 24x5 to 40x5 k3 s1 p1 G8 table -1 mish B2"]
)
def test_narrow_operands_are_all_that_is_lost(precision, name):
    """Sums are float32: beside a reference whose operands are rounded, the error is that of float32."""
    case = next(case for case in c.op_cases() if case.name == name)
    target = c.Target("triton", device="cpu", precision=precision)
    own = rounded(case, NARROW[precision])
    found = target.evaluate(case)["y"]
    within(found, c.implied_by_program(own.program, own.weights, own.inputs, own.table)["y"])
    assert not c.judge(found, c.implied_by_program(case.program, case.weights, case.inputs, case.table)["y"]).passed


def test_weights_beyond_float16_are_refused():
    weights = dict(CASE.loop.denoiser.weights)
    weights["head.out.weight"] = np.full_like(weights["head.out.weight"], 70000.0)
    loop = replace(CASE.loop, denoiser=replace(CASE.loop.denoiser, weights=weights))
    with pytest.raises(
        ValueError, match=r"float16 holds numbers up to 65504, and weight 'head.out.weight' has one of 7"
    ):
        triton.ready(loop, device="cpu", batch=1, precision="fp16")
    triton.ready(loop, device="cpu", batch=1, precision="bf16")


def test_a_guided_plan_in_float16_stays_close():
    """Gradients go through at 64 times their size and come back; the plan is the float32 one but for the rounding."""
    loop = replace(GUIDED.loop)
    found = GUIDED.plan(triton.ready(loop, device="cpu", batch=GUIDED.batch, precision="fp16"))
    expected = GUIDED.plan(c.REFERENCE.ready(loop, GUIDED.batch))
    # Eleven bits of operands, through some forty convolutions a step.
    deviation = np.abs(found.x - expected.x).max() / np.abs(expected.x).max()
    assert 2.0**-20 < deviation < 40 * 2.0**-11


def test_unknown_precisions_are_refused():
    with pytest.raises(ValueError, match="precision: the triton backend has float32, float32-close, tf32, fp16, bf16"):
        triton.ready(CASE.loop, device="cpu", batch=1, precision="float64")

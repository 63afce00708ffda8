"""The CUDA engine, its Python as on a GPU and its kernels in the emulator: plans within their bounds, in every mode."""

import numpy as np
import pytest
from bounds import within
from emulated.device import EmulatedDevice
from emulated.emulator import compiler

from diffuser_fast import conformance as c
from diffuser_fast.backends import cuda
from diffuser_fast.backends.cuda.engine import CudaEngine, divided
from diffuser_fast.backends.cuda.one_program import launched
from diffuser_fast.backends.engine import Seeded
from diffuser_fast.backends.gpu.plan import loop_stages
from diffuser_fast.core.loop import ranking
from diffuser_fast.core.noise import tape as drawn

pytestmark = pytest.mark.skipif(compiler() is None, reason="the emulator's kernels are compiled by g++")

OPS = {case.name: case for case in c.op_cases()}
STEPS = 2  # of a loop, the last


class Short:
    """A loop case with its last denoising steps alone."""

    def __init__(self, name):
        self.case = next(case for case in c.loop_cases() if case.name == name)
        self.loop, self.batch = c.last_steps(self.case.loop, STEPS), self.case.batch
        self.tape = self.case.tape[: self.loop.rows + 1]
        self.tables = self.case.tables and self.case.tables.steps(slice(-self.loop.rows, None))
        self.inpainting, self.candidates = self.case.inpainting, self.case.candidates or self.batch

    def engine(self, precision="float32", launches="stages", **device):
        return CudaEngine(self.loop, self.batch, EmulatedDevice(**device), precision, launches)

    def plan(self, engine, **more):
        return self.case.plan(engine, **{"noise": self.tape, "tables": self.tables, **more})

    def judge(self, found, precision="float32"):
        arithmetic = c.ARITHMETIC[precision]
        implied = c.implied_by_plan(
            self.loop, self.inpainting, self.tape, tables=self.tables, arithmetic=arithmetic
        )  # fmt: skip
        exactness = c.Target("cuda", precision=precision).exactness
        for field in ("x", "chain", *(("values",) if self.loop.guide else ())):
            within(getattr(found, field), getattr(implied, field), field, exactness=exactness)
        np.testing.assert_array_equal(found.order, ranking(found.values, self.candidates))


@pytest.mark.parametrize(
    ("name", "precision", "launches"),
    [
        ("one denoising step", "float32", "stages"), ("one denoising step", "fp16", "loop"),
        ("situations with candidates", "float32", "loop"), ("tables added for each trajectory", "float32", "stages"),
        ("narrow", "float32", "loop"), ("narrow", "fp16", "stages"),
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


def test_one_program_by_itself():
    for name in ("conv 33x3 to 65x3 k5 s1 p2 B3", "network gradient of value H4", "slices of one value"):
        case = OPS[name]
        implied = c.implied_by_program(case.program, case.weights, case.inputs, case.table)
        for whole in (False, True):
            found = launched(
                case.program, case.weights, case.inputs, case.table, EmulatedDevice(), exact=True, whole=whole
            )  # fmt: skip
            for output in implied:
                within(found[output], implied[output], f"{name}: {output}")


def test_what_does_not_fit_is_refused_in_a_sentence():
    loop = Short("maze2d large").loop
    with pytest.raises(ValueError, match="launches: 'loop' keeps a trajectory in shared memory, of which a block"):
        divided(loop, 1, EmulatedDevice(shared_bytes=99 << 10), "loop")
    assert divided(loop, 1, EmulatedDevice(shared_bytes=99 << 10), "stages").group == 1
    assert divided(Short("hopper").loop, 64, EmulatedDevice(132), "loop").group == 1


def test_refusals():
    loop = Short("narrow").loop
    with pytest.raises(ValueError, match="precision: the cuda backend has float32, fp16, found 'bf16'"):
        cuda.ready(loop, batch=1, precision="bf16")
    with pytest.raises(ValueError, match="launches: found 'one', expected one of stages, loop"):
        cuda.ready(loop, batch=1, launches="one")
    assert cuda.why_not(loop, "cpu")

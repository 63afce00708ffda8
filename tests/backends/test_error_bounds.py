"""The bounds of errors themselves: what they are made of, where they draw the line, and the defects that they see."""

from contextlib import contextmanager
from dataclasses import dataclass, replace
from unittest import mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from diffuser_fast import conformance as c
from diffuser_fast.backends import reference
from diffuser_fast.conformance import runs
from diffuser_fast.conformance.arithmetic import Arithmetic, spread_of_sum
from diffuser_fast.conformance.monte_carlo import MonteCarlo

OPS = {case.name: case for case in c.op_cases()}
LOOPS = {case.name: case for case in c.loop_cases()}

# ------------------------------------------------------------------------------------------------------- the line

NUMBERS = np.array([[0.0, 1.0], [2.0, -4.0]])
ERRORS = 1e-3 * np.array([[[1, -1], [1, 1]], [[1, -2], [-1, 1]]])  # of two copies
IMPLIED = [c.Implied(NUMBERS, ERRORS), c.Implied(NUMBERS + 1, np.sign(ERRORS) * 1e-3)]


def off_by(*errors):
    """The exact numbers of each seed, the first of them off by that much."""
    arrays = [one.exact.copy() for one in IMPLIED]
    for array, error in zip(arrays, errors, strict=True):
        array[0, 0] += error
    return arrays


@pytest.mark.parametrize(("exactness", "multiple"), c.MULTIPLES.items())
def test_the_line_is_a_multiple_of_what_is_implied(exactness, multiple):
    limit = multiple * 2e-3
    for share, passed in ((0.4, True), (0.999, None), (1.001, None), (2.5, False)):  # how near is told by the ratio
        verdict = c.judge(off_by(share * limit, 0)[0], IMPLIED[0], exactness=exactness)  # one seed needs no list
        assert verdict.ratio == pytest.approx(share) and (passed is None or verdict.passed is passed)
        assert verdict.largest == pytest.approx(share * limit) and verdict.largest_allowed == pytest.approx(limit)
        assert verdict.rms_allowed == pytest.approx(multiple * np.sqrt(11e-6 / 8)) and verdict.scale == 4


def test_rms_and_largest_error_are_judged_apart():
    spread = [one.exact + 2.5e-3 for one in IMPLIED]  # no number worse than allowed, but all of them wrong
    verdict = c.judge(spread, IMPLIED)
    assert verdict.largest < verdict.largest_allowed and verdict.rms > verdict.rms_allowed
    assert verdict.ratio == pytest.approx(verdict.rms / verdict.rms_allowed)


@pytest.mark.parametrize("harder", [1, 1e3])
def test_every_seed_counts_in_units_of_what_is_implied_for_it(harder):
    """The first may err more than the second: by 2e-3 of sqrt(11e-6 / 8), and by 1e-3 of 1e-3."""
    pair = [replace(IMPLIED[0], errors=harder * ERRORS), IMPLIED[1]]
    allowed = 2 * 2e-3 / np.sqrt(11e-6 / 8)  # the largest there is in such units, twice
    assert c.judge(off_by(0, 3e-3), pair).ratio == pytest.approx(3 / allowed)  # of the second alone it were 1.5
    assert c.judge(off_by(harder * 3e-3, 0), pair).ratio == pytest.approx(0.75)
    nothing = [pair[0], replace(pair[1], errors=0 * ERRORS)]
    assert c.judge(off_by(1e-3, 0), nothing).passed and not c.judge(off_by(0, 1e-12), nothing).passed


def test_where_the_exact_numbers_err_too_twice_as_much_is_allowed():
    ratios = [c.judge(off_by(5e-3, 0)[0], IMPLIED[0], sides=sides).ratio for sides in (1, 2)]
    assert ratios == pytest.approx([1.25, 0.625])


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_fails(number):
    verdict = c.judge(off_by(0, number), IMPLIED)
    assert not verdict.passed and verdict.ratio == np.inf
    with pytest.raises(ValueError, match="not finite"):
        c.judge(NUMBERS, replace(IMPLIED[0], errors=ERRORS + number))


def test_where_nothing_is_rounded_nothing_is_allowed():
    nothing = replace(IMPLIED[0], errors=0 * ERRORS)
    assert c.judge(NUMBERS, nothing).passed
    assert not c.judge(NUMBERS + 1e-30 * (NUMBERS == 0), nothing).passed


def test_what_cannot_be_judged():
    with pytest.raises(ValueError, match=r"engine: found arrays of shapes \[\(2, 2\)\]"):
        c.judge([NUMBERS], IMPLIED)
    with pytest.raises(ValueError, match="engine: found"):
        c.judge(NUMBERS.reshape(4), IMPLIED[0])
    with pytest.raises(ValueError, match="exactness: found 'approximate'"):
        c.judge(NUMBERS, IMPLIED[0], exactness="approximate")


def test_a_verdict_reads_like_a_sentence():
    text = str(c.judge(off_by(1, 0), IMPLIED))
    assert text.startswith("FAILED as exact at") and "scale 4.00e+00" in text


# ------------------------------------------------------------------------------------------------ what is implied


@pytest.mark.parametrize("same_sign", [False, True])
def test_the_spread_of_a_sum_is_that_of_its_roundings(same_sign):
    """Against roundings thrown one by one, of every partial sum of many sums of the same kind."""
    rng, terms, u = np.random.default_rng(0), 100, 2.0**-24
    numbers = rng.normal(size=(2000, terms)) + (3 if same_sign else 0)
    total = np.zeros(2000)
    for j in range(terms):
        total = (total + numbers[:, j]) * (1 + u * rng.choice([-1, 1], 2000))
    errors = total - numbers.sum(1)
    spread = u * spread_of_sum(numbers.sum(1), (numbers**2).sum(1), terms)
    assert np.sqrt(np.mean(errors**2) / np.mean(spread**2)) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("name", OPS)
def test_the_copy_that_is_left_alone_is_the_reference(name):
    case = OPS[name]
    of_float64 = c.implied_by_program(case.program, case.weights, case.inputs, case.table, c.ARITHMETIC["float64"])
    for name, found in c.EXACT.evaluate(case).items():
        verdict = c.judge(found, of_float64[name], sides=2)
        assert verdict.passed, verdict


@pytest.mark.parametrize("name", ["network unet H4 with attention", "network gradient of value H20"])
def test_what_is_implied_grows_with_the_roundoff_and_is_always_the_same(name):
    case = OPS[name]

    def sizes(*units):
        implied = c.implied_by_program(case.program, case.weights, case.inputs, case.table, Arithmetic(*units))
        return np.array([np.sqrt(np.mean(one.errors**2)) for one in implied.values()])

    one, again, double, sums, fine = (
        sizes(*(2.0**e for e in units)) for units in ((-24, -24), (-24, -24), (-23, -23), (-24, -16), (-53, -53))
    )
    np.testing.assert_array_equal(again, one)
    np.testing.assert_allclose(double, 2 * one, rtol=0.01)
    np.testing.assert_allclose(fine, one * 2.0**-29, rtol=0.01)
    assert (sums > 30 * one).all()
    wide, narrow = (sizes(2.0**-24, 2.0**-24, *units) for units in ((2.0**-11, 0.0), (2.0**-11, 2.0**-11)))
    assert (wide > 300 * one).all() and (narrow > wide).all()


def test_plans_part_where_copies_part():
    """Chain, plan and values; what is given of a trajectory is never rounded."""
    case = LOOPS["parts of observations"]
    implied = c.implied_by_plan(case.loop, case.inpainting, case.tape)
    exact = case.plan(c.EXACT.ready(case.loop, case.batch))
    for field in ("x", "values", "chain"):
        one = getattr(implied, field)
        assert one.errors.shape == (8, *one.exact.shape)
        np.testing.assert_allclose(one.exact, getattr(exact, field), rtol=0, atol=1e-3 * one.largest)
    assert not implied.chain.errors[..., case.inpainting.mask].any() and not implied.chain.errors[:, :, 0].any()
    free = implied.chain.errors[:, :, 1:][..., ~case.inpainting.mask]
    assert (free != 0).mean() > 0.99 and np.unique(np.sign(free).mean(axis=0)).size > 3  # each copy by itself


def test_noise_that_engines_draw_is_part_of_what_is_implied():
    case, noise = LOOPS["one guide step"], c.implied.Seeded(3, 1)
    implied = c.implied_by_plan(case.loop, case.inpainting, noise, batch=4)
    first, free = implied.chain.errors[:, :, 0], ~case.inpainting.mask
    assert 2.0**-22 < np.abs(first[..., free]).max() < 2.0**-18
    engine = c.REFERENCE.ready(case.loop, 4)
    assert c.judge(engine(case.inpainting, noise).x, implied.x).passed


def test_an_operation_that_it_does_not_know_is_refused():
    with MonteCarlo(Arithmetic(), 1), pytest.raises(NotImplementedError, match=r"does not know how aten\.cumsum"):
        torch.ones(2, 3, dtype=torch.float64).cumsum(0)


# ----------------------------------------------------------------------------------------------- what it must see


def convolution(of_weights):
    """The reference's convolution with other weights (and bias)."""
    return lambda op, shape, ins, weights, table: CONV(op, shape, ins, of_weights(*weights), table)


def tap_by_tap(dtype):
    """A convolution whose accumulator is narrow."""

    def conv(op, shape, ins, weights, table):
        w, total = weights[0], torch.zeros(len(ins[0]), *shape, dtype=dtype)
        for tap in torch.eye(w.shape[2]):
            total = total + CONV(op, shape, ins[:1], [w * tap], table).to(dtype)
        return CONV(op, shape, ins, [0 * w, *weights[1:]], table) + total.float()

    return conv


def swapped(w, *bias):
    return [w[..., [1, 0, *range(2, w.shape[2])]] if w.shape[2] > 1 else w, *bias]


def truncated(w, *bias):
    """To eleven bits, as a GPU's TF32 has."""
    return [(w.view(torch.int32) & ~0x1FFF).view(torch.float32), *bias]


def scaled(name, factor):
    """A function of the reference whose result is off by a factor."""
    original = getattr(reference, name)
    return lambda *args: original(*args) * factor


CONV = reference._conv
CONVOLUTIONS = {
    "two taps are swapped": convolution(swapped),
    "a bias is added twice": convolution(lambda w, *bias: [w, *(2 * b for b in bias)]),
    "sums are in bfloat16": tap_by_tap(torch.bfloat16),
    "sums are in float16": tap_by_tap(torch.float16),
    "weights are in bfloat16": convolution(lambda w, *bias: [w.bfloat16().float(), *bias]),
    "weights are in float16": convolution(lambda w, *bias: [w.half().float(), *bias]),
    "weights are in TF32": convolution(truncated),
}
GRADIENTS = {
    "a gradient is off by a hundredth": {"_group_norm_vjp": scaled("_group_norm_vjp", 1.01)},
    "a gradient is off by a ten-thousandth": {"_act_vjp": scaled("_act_vjp", 1.0001)},
}
DEFECTS = {**{name: {"_conv": conv} for name, conv in CONVOLUTIONS.items()}, **GRADIENTS}


@dataclass(frozen=True)
class Defective(c.Target):
    """The reference in float32 with functions exchanged. (What it is judged by was computed without.)"""

    defect: str = ""

    def evaluate(self, case):
        with exchanged({**DEFECTS, **FAULTS}[self.defect]):
            return c.REFERENCE.evaluate(case)

    def ready(self, loop, batch, device=None):
        engine = c.REFERENCE.ready(loop, batch)

        def call(*args, **kwargs):
            with exchanged(DEFECTS[self.defect]):
                return engine(*args, **kwargs)

        return call


@contextmanager
def exchanged(functions):
    """The reference with these functions of its module in place of its own."""
    kinds = {kind: functions[f.__name__] for kind, f in reference.OPS.items() if f.__name__ in functions}
    with mock.patch.multiple(reference, **functions), mock.patch.dict(reference.OPS, kinds):
        yield


@pytest.mark.parametrize("defect", DEFECTS)
def test_defects_fail_in_ops_networks_gradients_and_loops(defect):
    """As exact, and but for the smallest as close too."""
    target, parts = Defective("reference", defect=defect), ["network gradient of value H20"]
    if defect in CONVOLUTIONS:
        parts += ["conv 48x6 to 96x6 k5 s1 p2 B3", "conv_block 24x5 to 40x5 k3 s1 p1 G8 table -1 mish B2"]
        parts += ["network unet H16"]
    runs_of_all = (
        c.run_ops(target, [OPS[name] for name in parts], seeds=(0,)),
        c.run_loops(target, [LOOPS["one guide step"]], seeds=(0,)),
        c.run_steps(target, [LOOPS["one guide step"]], seeds=(0,)),
    )
    rows = [row for rows in runs_of_all for row in rows if not (defect in GRADIENTS and unguided(row))]
    line = 1 if "ten-thousandth" in defect else c.MULTIPLES["close"] / c.MULTIPLES["exact"]
    assert len(rows) >= 6
    assert all(row.verdict.ratio > line for row in rows), "\n".join(map(str, rows))


def unguided(row):
    """What a gradient cannot change: a value beside it, and a denoising step whose guide moves nothing."""
    return row.what == "output y" or (
        row.what.startswith("denoising") and not LOOPS[row.case].loop.steps.gx[int(row.what.split()[2])]
    )


# Guides that move x by more than rounding does. (halfcheetah's moves it by 5e-5, of which two hundredths are rounding.)
MOVED = (
    "hopper", "one guide step", "three guide steps", "value without a middle", "ddim, eta 1, guided",
    "epsilon, clipped, guided", "gradient added to x and to clipped x0", "everything is given",
)  # fmt: skip


@pytest.mark.parametrize("name", MOVED)
def test_a_guide_that_goes_two_hundredths_too_far_fails(name):
    case = LOOPS[name]
    steps = replace(case.loop.steps, gx=1.02 * case.loop.steps.gx)
    found = case.plan(c.REFERENCE.ready(replace(case.loop, steps=steps), case.batch))
    implied = c.implied_by_plan(case.loop, case.inpainting, case.tape, tables=case.tables)
    verdict = c.judge(found.x, implied.x, exactness="close")
    # Where everything is given there is nothing to guide.
    assert verdict.passed if case.inpainting.mask.all() else not verdict.passed, verdict


def one_pass(op, shape, ins, weights, table):
    """The variance as a difference of squares."""
    grouped = ins[0].reshape(len(ins[0]), op.attrs["groups"], -1)
    mean = grouped.mean(-1, keepdim=True)
    variance = (grouped * grouped).mean(-1, keepdim=True) - mean * mean
    n = (grouped - mean) * torch.rsqrt(variance.clamp(min=0) + op.attrs["eps"])
    return n.reshape(ins[0].shape) * weights[0][:, None] + weights[1][:, None]


def eps_outside(op, shape, ins, weights, table):
    grouped = ins[0].reshape(len(ins[0]), op.attrs["groups"], -1)
    variance, mean = torch.var_mean(grouped, dim=-1, correction=0, keepdim=True)
    n = (grouped - mean) / (variance.sqrt() + op.attrs["eps"])
    return n.reshape(ins[0].shape) * weights[0][:, None] + weights[1][:, None]


def softmax_unshifted(op, shape, ins, weights, table):
    q, k, v = ins[0].reshape(len(ins[0]), 3, op.attrs["heads"], -1, shape[1]).unbind(1)
    k = k.exp() / k.exp().sum(-1, keepdim=True)
    context = torch.einsum("bhdn,bhen->bhde", k, v)
    return torch.einsum("bhde,bhdn->bhen", context, q * op.attrs["q_scale"]).reshape(len(ins[0]), shape[0], shape[1])


def naive_mish(op, shape, ins, weights, table):
    return ins[0] * torch.tanh(torch.log(1 + torch.exp(ins[0])))


def mish_of_squares(op, shape, ins, weights, table):
    e = ins[0].exp()
    return ins[0] * (e * e + 2 * e) / (e * e + 2 * e + 2)


def short_adjoint(op, shape, ins, weights, table):
    y = CONV(op, shape, ins, weights, table)
    return F.pad(y[..., :-1], (0, 1)) if op.attrs["transposed"] and shape[1] % 2 == 0 else y


# What is wrong, and how the cases are called that must see it.
SEEN_BY = {
    "variance as a difference of squares": "group_norm 64x16 G8 offset",
    "eps outside the root": "group_norm 24x5 G8 small",
    "softmax without its shift": "linear_attention 4x32 H5 large",
    "mish that overflows": "act mish 17x9 range",
    "mish that rounds 1 + exp": "act mish 17x9 tail",
    "another activation": "act silu 3x7",
    "another activation's slope": "act_vjp gelu 17x5",
    "mish in every block": "conv_block 13x6 to 24x6 k5 s1 p2 + r G8 table 32 relu",
    "gelu by its tangent": "act gelu 17x9 range",
    "gelu of 1 + erf": "act gelu 17x9 tail",
    "adjoint without its last step": "conv 24x2 to 24x4 k3 s2 p1 transposed",
}
FAULTS = {
    "variance as a difference of squares": {"_group_norm": one_pass},
    "eps outside the root": {"_group_norm": eps_outside},
    "softmax without its shift": {"_linear_attention": softmax_unshifted},
    "mish that overflows": {"_act": mish_of_squares},
    "another activation": {"_act": naive_mish},
    "another activation's slope": {"_act_vjp": lambda op, shape, ins, *_: ins[1] * reference._mish_slope(ins[0])},
    "mish in every block": {"_act": naive_mish},
    "gelu by its tangent": {"_act": lambda op, shape, ins, *_: F.gelu(ins[0], approximate="tanh")},
    "gelu of 1 + erf": {"_act": lambda op, shape, ins, *_: F.gelu(ins[0])},
    "mish that rounds 1 + exp": {"_act": naive_mish},
    "adjoint without its last step": {"_conv": short_adjoint},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_table_sees(fault):
    cases = [case for name, case in OPS.items() if name.startswith(SEEN_BY[fault])]
    rows = [row for row in c.run_ops(Defective("reference", defect=fault), cases) if row.what == "output y"]
    assert rows and not any(row.verdict.passed for row in rows), "\n".join(map(str, rows))


# -------------------------------------------------------------------------------------------------- the quick check


@pytest.mark.parametrize("name", sorted({target.backend for target in c.targets()}))
def test_quick_check_passes_here(name):
    rows = c.quick_check([name])
    assert {row["backend"].split()[0] for row in rows} == {name} and all(row["passed"] for row in rows), rows
    cases = {row["case"] for row in rows}
    assert {"conv", "conv_block", "linear_attention", "norm_act_vjp", "loop: epsilon, clipped"} <= cases
    assert all(set(row) == {"case", "backend", "ratio", "passed"} for row in rows)


def test_quick_check_sees_a_fault(monkeypatch):
    monkeypatch.setattr(runs, "targets", lambda names: [Defective("reference", defect="eps outside the root")])
    monkeypatch.setattr(runs, "QUICK_LOOPS", ())
    wrong = {row["case"] for row in c.quick_check(["reference"]) if not row["passed"]}
    assert wrong == {"conv_block", "group_norm", "norm_act_vjp"}

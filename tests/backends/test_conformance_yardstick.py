"""The yardstick itself: where it draws the line, and that it sees faults which a lucky tolerance would not."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from diffuser_fast import conformance as c
from diffuser_fast.backends import reference
from diffuser_fast.conformance import runs

torch.set_num_threads(1)
EXACT = [np.array([[0.0, 1.0], [2.0, -4.0]]), np.array([[1.0, 1.0], [1.0, 1.0]])]
TINY = 8 * 2.0**-24 * 4


def off_by(*errors):
    """EXACT with its first number of each seed off by that much."""
    arrays = [array.copy() for array in EXACT]
    for array, error in zip(arrays, errors, strict=True):
        array[0, 0] += error
    return arrays


@pytest.mark.parametrize(("exactness", "factor"), [("exact", 2), ("close", 8)])
def test_the_line_is_a_multiple_of_the_references_error_and_a_little(exactness, factor):
    own = 1e-3
    limit = factor * own + TINY
    for share, passed in ((0.999, True), (1.001, False)):
        verdict = c.judge(off_by(share * limit, 0), off_by(own, 0), EXACT, exactness=exactness)
        assert verdict.passed is passed and verdict.ratio == pytest.approx(share, rel=1e-3)
        assert verdict.largest == pytest.approx(share * limit) and verdict.largest_allowed == pytest.approx(limit)
        assert verdict.rms_allowed == pytest.approx(factor * own / np.sqrt(8) + TINY) and verdict.scale == 4


def test_rms_and_largest_error_are_judged_apart():
    own = [array + 1e-3 for array in EXACT]  # wrong everywhere by a little
    assert not c.judge(off_by(4e-3, 0), own, EXACT).passed  # one number wrong by more
    spread = [array + 0.9e-3 for array in EXACT]
    verdict = c.judge(spread, off_by(1e-3, 0), EXACT)  # no number worse than allowed, but all of them wrong
    assert verdict.largest < verdict.largest_allowed and verdict.rms > verdict.rms_allowed and not verdict.passed


def test_seeds_are_pooled():
    assert c.judge(off_by(1e-3, 0), off_by(0, 1e-3), EXACT).passed
    assert not c.judge(off_by(3e-3, 0), off_by(0, 1e-3), EXACT).passed


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_fails(number):
    verdict = c.judge(off_by(0, number), EXACT, EXACT)
    assert not verdict.passed and verdict.ratio == np.inf
    with pytest.raises(ValueError, match="not finite"):
        c.judge(EXACT, off_by(number, 0), EXACT)


def test_nothing_but_zeros_must_be_matched_exactly():
    zeros = [np.zeros(3)]
    assert c.judge(zeros, zeros, zeros).passed
    assert not c.judge([np.array([0, 0, 1e-30])], zeros, zeros).passed


def test_what_cannot_be_judged():
    with pytest.raises(ValueError, match=r"engine: found arrays of shapes \[\(2, 2\)\]"):
        c.judge(EXACT[:1], EXACT, EXACT)
    with pytest.raises(ValueError, match="engine: found"):
        c.judge([array.T.reshape(4) for array in EXACT], EXACT, EXACT)
    with pytest.raises(ValueError, match="exactness: found 'fast'"):
        c.judge(EXACT, EXACT, EXACT, exactness="fast")


def test_a_verdict_reads_like_a_sentence():
    text = str(c.judge(off_by(1, 0), EXACT, EXACT))
    assert text.startswith("FAILED as exact at") and "scale 4.00e+00" in text


class Faulty(c.Target):
    """The reference in float32, with whatever the test replaced in it."""

    def evaluate(self, case):
        with pytest.MonkeyPatch.context() as patch:
            for kind, op in FAULTS[self.isa][1].items():
                patch.setitem(reference.OPS, kind, op)
            return c.REFERENCE.evaluate(case)


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


def half_kernel(op, shape, ins, weights, table):
    return reference._conv(op, shape, ins, [weights[0].bfloat16().float(), *weights[1:]], table)


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
    y = reference._conv(op, shape, ins, weights, table)
    return F.pad(y[..., :-1], (0, 1)) if op.attrs["transposed"] and shape[1] % 2 == 0 else y


# What is wrong -> a case that must see it, and the ops that have it.
FAULTS = {
    "variance as a difference of squares": ("group_norm 64x16 G8 offset", {"group_norm": one_pass}),
    "eps outside the root": ("group_norm 24x5 G8 small", {"group_norm": eps_outside}),
    "weights in bfloat16": ("conv 512x2 to 512x2 k5", {"conv": half_kernel}),
    "softmax without its shift": ("linear_attention 4x32 H5 large", {"linear_attention": softmax_unshifted}),
    "mish that overflows": ("act 17x9 range", {"act": mish_of_squares}),
    "mish that rounds 1 + exp": ("act 17x9 tail", {"act": naive_mish}),
    "adjoint without its last step": ("conv 24x2 to 24x4 k3 s2 p1 transposed", {"conv": short_adjoint}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_case_table_sees(fault):
    start, _ = FAULTS[fault]
    cases = [case for case in c.op_cases() if case.name.startswith(start)]
    results = list(c.run_ops(Faulty("reference", isa=fault), cases))
    assert results and not any(result.verdict.passed for result in results), "\n".join(map(str, results))


@pytest.mark.parametrize("name", sorted({target.backend for target in c.targets()}))
def test_quick_check_passes_here(name):
    results = c.quick_check([name])
    assert {result["backend"].split()[0] for result in results} == {name} and all(
        result["passed"] for result in results
    ), results
    cases = {result["case"] for result in results}
    assert {"conv", "conv_block", "linear_attention", "norm_act_vjp", "loop: epsilon, clipped"} <= cases
    assert all(set(result) == {"case", "backend", "ratio", "passed"} for result in results)


def test_quick_check_sees_a_fault(monkeypatch):
    fault = "eps outside the root"
    monkeypatch.setattr(runs, "targets", lambda names: [Faulty("reference", isa=fault)])
    monkeypatch.setattr(runs, "QUICK_LOOPS", ())
    wrong = {result["case"] for result in c.quick_check(["reference"]) if not result["passed"]}
    assert wrong == {"group_norm"}

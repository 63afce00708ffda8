"""What tests judge by: a verdict in one line, and what is implied for a Planner's plans, in physical units."""

from functools import cache
from unittest.mock import patch

import numpy as np
from margins import at_most
from oracle.goldens import FOLDER, load_golden

import diffuser_fast as dfx
from diffuser_fast import conformance as c
from diffuser_fast.backends.reference import ReferenceEngine
from diffuser_fast.conformance.arithmetic import FLOAT32
from diffuser_fast.conformance.implied import COPIES
from diffuser_fast.core.conditions import parse_conditions
from diffuser_fast.core.loop import Result, ranking
from diffuser_fast.core.normalizers import CDF, Gaussian


def within(found, implied, what="", **options):
    """Assert that a result is within its bound. options: of ``conformance.judge``."""
    verdict = c.judge(found, implied, **options)
    assert verdict.passed, f"{what}: {verdict}"


def implied_plans(planner, conditions, noise, *, precision="float32", foreign=False, whole_array=False, **options):
    """Field of Plans -> what is implied for it, for plans of one situation, best first.

    conditions, noise: as of ``Planner.plan``; or noise may be ``Seeded``, with ``batch``. foreign: the plans are
    somebody else's, who normalised the conditions in float32. whole_array: as of ``Limits.unnormalize``. options: of
    ``implied_by_plan``.
    """
    loop, normalizers = planner.loop, planner.checkpoint.normalizers
    given, _ = parse_conditions(conditions, loop.horizon, normalizers)
    if foreign:
        options["given_error"] = rounded_twice(normalizers, given)
    plan = c.implied_by_plan(loop, given, noise, arithmetic=c.ARITHMETIC[precision], **options).ranked()
    actions, observations = plan.physical(normalizers, whole_array=whole_array)
    chain = plan.chain.mapped(normalizers.unnormalize)
    return {"actions": actions, "observations": observations, "values": plan.values, "chain": chain}


def implied_by_calls(call):
    """What is implied for each array that ``call()`` returns, whose plans are the reference backend's.

    It is called once with plans in float64, and once for each way in which rounding may have moved them: whatever it
    makes of several of them, it makes of those.
    """
    exact, *copies = [[np.asarray(a, np.float64) for a in moved(call, copy)] for copy in range(-1, COPIES)]
    errors = (np.stack([one - its for one in others]) for its, *others in zip(exact, *copies, strict=True))
    return [c.Implied(*pair).mapped(lambda x: x) for pair in zip(exact, errors, strict=True)]


def moved(call, copy):
    """``call()``, with plans as the copy of this number has them; -1: the one that is left alone."""
    undisturbed = ReferenceEngine.__call__

    def engine(self, inpainting, noise, *, x=None, start=0, tables=None, candidates=None, chain=False):
        with patch.object(ReferenceEngine, "__call__", undisturbed):
            implied = c.implied_by_plan(self.loop, inpainting, noise, batch=self.batch, x=x, start=start, tables=tables)
        plans = {
            field: one.exact if copy < 0 else one.exact + one.errors[copy]
            for field, one in ((field, getattr(implied, field)) for field in ("x", "values", "chain"))
        }
        order = ranking(implied.values.exact, candidates or self.batch)
        return Result(plans["x"], plans["values"], order, plans["chain"] if chain else None)

    with patch.object(ReferenceEngine, "__call__", engine):
        return call()


def agree(implied, *plans):
    """All of these plans, whoever made them, are within their bounds, and so are near each other."""
    for each in plans:
        for field, bound in implied.items():
            found = getattr(each, field, None)
            if found is not None:
                within(np.asarray(found), bound, field)


@cache
def implied_trace(name, precision="float32"):
    """For every field of a recorded trace's plans: the original's own, the oracle's, ours in any precision."""
    golden = load_golden(name)
    planner = dfx.Planner(dfx.load(FOLDER / name), "reference", batch_size=golden.batch_size)
    return implied_plans(planner, golden.conditions, golden.tape, precision=precision, foreign=True)


def rounded_twice(normalizers, given):
    """How far off normalised conditions may be after (x - centre) / half: each of the four numbers and results."""
    split = normalizers.actions.dim
    values = given.values[..., split:]
    error = np.zeros(given.values.shape)
    if isinstance(normalizers.observations, CDF):
        error[..., split:] = FLOAT32 * (2 * _steepest(normalizers.observations) + 2)
    else:
        centre, half = _affine(normalizers.observations)
        far = np.abs(values * half + centre) + np.abs(centre)
        error[..., split:] = FLOAT32 * (2 * far / half + 2 * np.abs(values))
    return error * given.mask


def _steepest(n):
    """Per dimension, the steepest slope times the data's largest number."""
    return np.array([
        np.abs(x).max() * (2 * np.diff(y) / np.diff(x)).max(initial=0)
        for x, y in zip(n.quantiles, n.cumprobs, strict=True)
    ])  # fmt: skip


def there_and_back(found, x, normalizer, dims=slice(None)):
    """Assert that ``found`` is ``x [..., dim]``, which was normalised, stored in float32 and taken back into float32.

    Each of the two roundings may be of half a unit in the last place; twice that is allowed.
    """
    centre, _ = _affine(normalizer)
    x = np.broadcast_to(x, np.shape(found))
    at_most((np.abs(found - x) / (2 * FLOAT32 * (np.abs(x) + np.abs(x - centre[dims])))).max(), 1)


def _affine(n):
    """Centre and half width of a normaliser: what it maps to 0 and to 1 away from it."""
    return (n.means, n.stds) if isinstance(n, Gaussian) else ((n.mins + n.maxs) / 2, (n.maxs - n.mins) / 2)

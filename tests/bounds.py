"""What tests judge by: a verdict in one line, and what is implied for a Planner's plans, in physical units."""

from functools import cache

import numpy as np
from margins import at_most
from oracle.goldens import FOLDER, load_golden

import diffuser_fast as dfx
from diffuser_fast import conformance as c
from diffuser_fast.conformance.arithmetic import FLOAT32
from diffuser_fast.core.conditions import parse_conditions
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

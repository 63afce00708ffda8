"""Percentiles and the bootstrap, on data whose answer is known."""

import numpy as np
import pytest

from bench.stats import percentile, ratio_of_medians


def repetitions(rng, scale, drift, calls=9):
    """Lognormal calls around ``scale``, disturbed alike within each repetition."""
    return [list(scale * d * rng.lognormal(0, 0.05, calls)) for d in drift]


def test_percentiles():
    data = [list(range(1, 51)), list(range(51, 102))]
    assert percentile(data, 50) == 51
    assert percentile(data, 99) == pytest.approx(100)


@pytest.mark.parametrize(("q", "enough"), [(90, 10), (99, 100), (99.9, 1000)])
def test_a_percentile_needs_calls_beyond_it(q, enough):
    assert percentile([[1.0] * (enough - 1)], q) is None
    assert percentile([[1.0] * enough], q) == 1.0


def test_an_exact_ratio_has_no_width():
    b = [[1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [2.0, 2.0]]
    a = [[2 * x for x in one] for one in b]
    ratio = ratio_of_medians(a, b)
    assert (ratio.value, ratio.low, ratio.high) == (2.0, 2.0, 2.0)


def test_one_repetition_has_no_interval():
    ratio = ratio_of_medians([[4.0, 4.0]], [[2.0]])
    assert (ratio.value, ratio.low, ratio.high) == (2.0, None, None)


def test_the_interval_covers_the_right_ratio():
    """95 % intervals over 60 experiments with a true ratio of 1.5: nearly all hold it, and they are not vast."""
    rng = np.random.default_rng(1)
    held, widths = 0, []
    for _ in range(60):
        steady = np.ones(15)
        ratio = ratio_of_medians(repetitions(rng, 1.5, steady), repetitions(rng, 1.0, steady), draws=300)
        held += ratio.low <= 1.5 <= ratio.high
        widths.append(ratio.high - ratio.low)
    assert held >= 51
    assert np.median(widths) < 0.1


def test_drift_shared_by_a_repetition_cancels():
    """Each side alone varies threefold; their ratio in the same repetitions does not."""
    rng = np.random.default_rng(2)
    drift = np.linspace(1, 3, 20)
    ratio = ratio_of_medians(repetitions(rng, 2.0, drift), repetitions(rng, 1.0, drift), draws=300)
    assert ratio.low > 1.8 and ratio.high < 2.2


def test_the_bootstrap_repeats():
    rng = np.random.default_rng(3)
    a, b = repetitions(rng, 2.0, np.ones(5)), repetitions(rng, 1.0, np.ones(5))
    assert ratio_of_medians(a, b) == ratio_of_medians(a, b)


def test_both_sides_need_the_same_repetitions():
    with pytest.raises(ValueError, match="2 and 1 repetitions"):
        ratio_of_medians([[1.0], [1.0]], [[1.0]])

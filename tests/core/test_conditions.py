"""Conditions in physical units to an inpainting mask and its values, and every way to get them wrong."""

import re

import numpy as np
import pytest

from diffuser_fast.core.conditions import Inpainting, no_inpainting, parse_conditions
from diffuser_fast.core.normalizers import Gaussian, Limits, Normalizers

H, O, A = 8, 3, 2
NORMALIZERS = Normalizers(
    observations=Gaussian(means=[1.0, -2.0, 0.5], stds=[2.0, 0.5, 4.0]),
    actions=Limits(mins=[-1, -1], maxs=[1, 2]),
)
OBS = np.array([3.0, -1.0, 4.5])
OBS_N = np.array([1.0, 2.0, 1.0])


def test_an_observation_is_normalised_into_its_time():
    found, situations = parse_conditions({0: OBS}, H, NORMALIZERS)
    assert situations is None
    assert found.mask.shape == (H, A + O) and found.values.shape == (1, H, A + O)
    assert found.values.dtype == np.float32
    expected = np.zeros((H, A + O), bool)
    expected[0, A:] = True
    np.testing.assert_array_equal(found.mask, expected)
    np.testing.assert_allclose(found.values[0, 0], [0, 0, *OBS_N])
    assert not found.values[0, 1:].any()


def test_several_times_negative_ones_and_json_numbers():
    found, _ = parse_conditions({-1: OBS, 2.0: OBS + [2, 0, 0], np.int64(4): list(OBS)}, H, NORMALIZERS)
    assert np.flatnonzero(found.mask[:, A]).tolist() == [2, 4, 7]
    np.testing.assert_allclose(found.values[0, 2, A:], OBS_N + [1, 0, 0])
    np.testing.assert_allclose(found.values[0, 7, A:], OBS_N)


def test_some_dimensions():
    found, situations = parse_conditions({3: {1: -1.0}, -1: {0: 3.0, 2: 4.5}}, H, NORMALIZERS)
    assert situations is None
    assert np.argwhere(found.mask).tolist() == [[3, A + 1], [7, A], [7, A + 2]]
    np.testing.assert_allclose(found.values[0, 3, A:], [0, 2, 0])
    np.testing.assert_allclose(found.values[0, 7, A:], [1, 0, 1])


def test_several_situations():
    several = OBS + np.arange(4)[:, None] * [2, 0, 0]
    found, situations = parse_conditions({0: several, 5: OBS, 6: {2: [4.5, 8.5, 4.5, 4.5]}}, H, NORMALIZERS)
    assert situations == 4 and found.values.shape == (4, H, A + O)
    np.testing.assert_allclose(found.values[:, 0, A], [1, 2, 3, 4])
    np.testing.assert_allclose(found.values[:, 5, A:], np.tile(OBS_N, (4, 1)))
    np.testing.assert_allclose(found.values[:, 6, A + 2], [1, 2, 1, 1])
    assert parse_conditions({0: several[:1]}, H, NORMALIZERS)[1] == 1


def test_the_order_and_dtype_of_conditions_do_not_matter():
    one, _ = parse_conditions({0: OBS, -1: OBS.astype(np.float32)}, H, NORMALIZERS)
    other, _ = parse_conditions({7: OBS.tolist(), -8: OBS}, H, NORMALIZERS)
    np.testing.assert_array_equal(one.mask, other.mask)
    np.testing.assert_array_equal(one.values, other.values)


@pytest.mark.parametrize(
    ("conditions", "error", "message"),
    [
        ([OBS], TypeError, "conditions: expected a mapping {t: observation}, found list"),
        ({"0": OBS}, ValueError, "conditions: key '0' is not a whole number; keys are times in 0 .. 7"),
        ({0.5: OBS}, ValueError, "conditions: key 0.5 is not a whole number"),
        ({True: OBS}, ValueError, "conditions: key True is not a whole number"),
        ({8: OBS}, ValueError, "conditions: time 8 is outside the horizon 8 (0 .. 7, or negative)"),
        ({-9: OBS}, ValueError, "conditions: time -9 is outside the horizon 8"),
        ({7: OBS, -1: OBS}, ValueError, "conditions: keys [-1, 7] name the same time twice at horizon 8"),
        ({0: OBS[:2]}, ValueError, "conditions[0]: expected an observation of shape [3] or [E, 3], found [2]"),
        ({0: np.zeros((2, 2, 3))}, ValueError, "found [2, 2, 3]"),
        ({0: np.zeros((0, 3))}, ValueError, "found [0, 3]"),
        ({0: 1.0}, ValueError, "conditions[0]: expected an observation of shape [3] or [E, 3], found []"),
        ({0: "abc"}, TypeError, "conditions[0]: expected numbers, found str"),
        ({0: None}, ValueError, "conditions[0]"),
        ({0: [1.0, [2.0], 3.0]}, TypeError, "conditions[0]: expected numbers, found list"),
        ({-1: [0, np.nan, 0]}, ValueError, "conditions[-1]: expected finite numbers, found nan at index [1]"),
        ({0: [[0, 0, 0], [0, 0, np.inf]]}, ValueError, "found inf at index [1, 2]"),
        ({2: {3: 1.0}}, ValueError, "conditions[2]: dimension 3 is not one of 0 .. 2 of the observation"),
        ({2: {-1: 1.0}}, ValueError, "conditions[2]: dimension -1"),
        ({2: {"x": 1.0}}, ValueError, "conditions[2]: dimension 'x'"),
        ({2: {True: 1.0}}, ValueError, "conditions[2]: dimension True"),
        ({2: {0: np.nan}}, ValueError, "conditions[2][0]: expected finite numbers, found nan"),
        ({2: {0: "a"}}, TypeError, "conditions[2][0]: expected numbers, found str"),
        ({2: {0: [[1.0]]}}, ValueError, "conditions[2][0]: expected a number or [E] numbers, found shape [1, 1]"),
        ({2: {0: []}}, ValueError, "conditions[2][0]: expected a number or [E] numbers, found shape [0]"),
        ({2: {0: [1, 2], 1: [1, 2, 3]}}, ValueError, "conditions[2]: given for different numbers of situations"),
        ({0: np.zeros((2, 3)), 1: np.zeros((3, 3))}, ValueError, "conditions: given for different numbers"),
    ],
)  # fmt: skip
def test_what_is_refused(conditions, error, message):
    with pytest.raises(error, match=re.escape(message)):
        parse_conditions(conditions, H, NORMALIZERS)


@pytest.mark.parametrize("key", [np.nan, np.inf, -np.inf])
def test_keys_that_are_no_number_at_all(key):
    with pytest.raises(ValueError, match="conditions: key"):
        parse_conditions({key: OBS}, H, NORMALIZERS)


def test_no_inpainting_changes_nothing():
    x = np.random.default_rng(0).normal(size=(2, H, A + O))
    np.testing.assert_array_equal(no_inpainting(H, A + O).apply(x), x)
    np.testing.assert_array_equal(parse_conditions({}, H, NORMALIZERS)[0].apply(x), x)


def test_inpainting_is_idempotent_and_keeps_the_dtype():
    found, _ = parse_conditions({0: OBS, -1: {1: 0.0}}, H, NORMALIZERS)
    x = np.random.default_rng(0).normal(size=(4, H, A + O))
    once = found.apply(x)
    np.testing.assert_array_equal(found.apply(once), once)
    np.testing.assert_array_equal(once[:, ~found.mask], x[:, ~found.mask])
    np.testing.assert_allclose(once[:, 0, A:], np.tile(OBS_N, (4, 1)))
    assert once.dtype == np.float64 and found.apply(x.astype(np.float32)).dtype == np.float32


def test_inpainting_checks_its_shapes():
    with pytest.raises(ValueError, match=r"inpainting: mask \(8, 5\) and values \(8, 5\) must be"):
        Inpainting(np.zeros((8, 5), bool), np.zeros((8, 5)))
    with pytest.raises(ValueError, match="inpainting: mask"):
        Inpainting(np.zeros((8, 5), bool), np.zeros((1, 8, 4)))


def test_too_large_for_float32_is_said():
    with pytest.raises(ValueError, match=r"conditions\[0\]: 1e\+300 is too large"):
        parse_conditions({0: [1e300, 0, 0]}, 8, Normalizers(Gaussian([0, 0, 0], [1, 1, 1]), Gaussian([0], [1])))

"""Normalisers: fitted, there and back, clipped per plan, and read from sidecars."""

import json

import numpy as np
import pytest
from oracle.checkpoint import load_normalizer
from oracle.goldens import FOLDER, NAMES
from oracle.normalizers import CDFNormalizer

from diffuser_fast.core.normalizers import CDF, Affine, Gaussian, Limits, Normalizers, normalizer_kind

DATA = np.random.default_rng(0).normal(3, [1.0, 0.1, 20.0], (500, 3))


@pytest.mark.parametrize("kind", [Gaussian, Limits])
def test_there_and_back(kind):
    normalizer = kind.fit(DATA)
    x_n = normalizer.normalize(DATA)
    np.testing.assert_allclose(normalizer.unnormalize(x_n), DATA, rtol=1e-12)
    assert normalizer.dim == 3 and x_n.dtype == np.float64


def test_fits():
    gaussian, limits = Gaussian.fit(DATA), Limits.fit(DATA)
    x_n = gaussian.normalize(DATA)
    np.testing.assert_allclose(x_n.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(x_n.std(0), 1)
    x_n = limits.normalize(DATA)
    np.testing.assert_allclose([x_n.min(0), x_n.max(0)], [[-1] * 3, [1] * 3])


@pytest.mark.parametrize("kind", [Gaussian, Limits])
def test_a_constant_dimension_maps_to_zero(kind):
    data = np.column_stack((DATA[:, 0], np.full(500, 7.0)))
    normalizer = kind.fit(data)
    np.testing.assert_array_equal(normalizer.normalize(data)[:, 1], 0)
    np.testing.assert_array_equal(normalizer.unnormalize(np.zeros((4, 2)))[:, 1], 7)
    assert np.abs(normalizer.normalize(data)[:, 0]).max() > 0.5, "the other dimension must not be touched"


@pytest.mark.parametrize("data", [np.zeros((0, 3)), np.zeros(3), np.zeros((2, 3, 4))])
def test_fits_want_a_table(data):
    with pytest.raises(ValueError, match=r"data: expected \[N, dim\] with N > 0"):
        Gaussian.fit(data)


LIMITS = Limits(mins=[0.0, -10.0], maxs=[1.0, 10.0])


def test_a_plan_outside_is_clipped_as_a_whole_and_its_neighbour_is_not():
    x_n = np.zeros((2, 4, 2))
    x_n[:, 0, 0] = 1 + 5e-5  # within the tolerance
    x_n[1, 3, 1] = 1.2
    each = LIMITS.unnormalize(x_n)
    assert each[0, 0, 0] == pytest.approx(1 + 2.5e-5, abs=1e-9)
    assert each[1, 0, 0] == 1.0 and each[1, 3, 1] == 10.0
    np.testing.assert_array_equal(each[0], LIMITS.unnormalize(x_n[:1])[0])
    coupled = LIMITS.unnormalize(x_n, whole_array=True)
    assert coupled[0, 0, 0] == 1.0 and coupled[1, 3, 1] == 10.0


@pytest.mark.parametrize(("excess", "clipped"), [(0.9e-4, False), (1.1e-4, True)])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_tolerance(excess, clipped, sign):
    x_n = np.zeros((4, 2))
    x_n[2, 1] = sign * (1 + excess)
    found = LIMITS.unnormalize(x_n)[2, 1]
    assert (found == sign * 10) == clipped


def test_one_step_decides_for_itself():
    assert LIMITS.unnormalize(np.array([2.0, 0.5])).tolist() == [1.0, 5.0]


def test_gaussians_are_never_clipped():
    g = Gaussian([0.0], [2.0])
    assert g.unnormalize([[50.0]], whole_array=True) == 100


REPEATED = np.round(DATA, 1)  # values that occur several times
REPEATED[:, 1] = 3.0


@pytest.mark.parametrize("data", [DATA, REPEATED, DATA[:2]])
def test_the_empirical_distribution_is_the_oracles(data):
    ours, theirs = CDF.fit(data), CDFNormalizer(data)
    x = np.random.default_rng(1).normal(3, [1.0, 0.1, 20.0], (40, 6, 3))  # some of it outside the data
    np.testing.assert_allclose(ours.normalize(x), theirs.normalize(x), rtol=0, atol=1e-12)
    x_n = np.random.default_rng(2).uniform(-1.3, 1.3, (40, 6, 3))
    np.testing.assert_allclose(ours.unnormalize(x_n), theirs.unnormalize(x_n), rtol=0, atol=1e-12)
    constant = data[:, 1].min() == data[:, 1].max()
    assert (ours.normalize(x)[..., 1] == x[..., 1]).all() == constant
    varied = [0, 2] if constant else [0, 1, 2]
    assert np.abs(ours.normalize(x)[..., varied]).max() == 1 and ours.dim == 3


def test_there_and_back_inside_the_data():
    cdf = CDF.fit(REPEATED)
    np.testing.assert_allclose(cdf.unnormalize(cdf.normalize(REPEATED)), REPEATED, rtol=1e-6, atol=1e-12)
    x = REPEATED.copy()
    cdf.normalize(x)
    np.testing.assert_array_equal(x, REPEATED, "what is given is not written into")
    record = json.loads(json.dumps(Normalizers(cdf, CDF.fit(DATA[:, :2])).to_json()))
    again = Normalizers.from_json(record)
    for field, one in (("observations", cdf), ("actions", CDF.fit(DATA[:, :2]))):
        np.testing.assert_array_equal(getattr(again, field).normalize(x[:, : one.dim]), one.normalize(x[:, : one.dim]))


def pair():
    return Normalizers(observations=Limits.fit(DATA), actions=Limits.fit(DATA[:, :2]))


def test_transitions_are_actions_first():
    normalizers = pair()
    x = np.concatenate((DATA[:6, :2], DATA[:6]), axis=1)
    x_n = normalizers.normalize(x)
    np.testing.assert_array_equal(x_n[:, :2], normalizers.actions.normalize(x[:, :2]))
    np.testing.assert_array_equal(x_n[:, 2:], normalizers.observations.normalize(x[:, 2:]))
    np.testing.assert_allclose(normalizers.unnormalize(x_n[None]), x[None])
    with pytest.raises(ValueError, match="transitions: last axis is 4, expected 5"):
        normalizers.normalize(x[:, :4])


def test_actions_and_observations_are_clipped_apart():
    normalizers = pair()
    x_n = np.zeros((1, 2, 5))
    x_n[0, 0] = [1.5, 1.00005, 1.00005, 0, 0]
    found = normalizers.unnormalize(x_n)[0, 0]
    assert found[1] == normalizers.actions.maxs[1] and found[2] > normalizers.observations.maxs[0]


@pytest.mark.parametrize("name", NAMES)
def test_sidecars_of_the_goldens(name):
    """Read, written and read again to the same numbers; and the oracle's maps are ours."""
    record = json.loads((FOLDER / name / "normalizer_stats.json").read_text())
    normalizers = Normalizers.from_json(record)
    again = Normalizers.from_json(json.loads(json.dumps(normalizers.to_json())))
    theirs = load_normalizer(FOLDER / name, np.float64)
    for field in ("observations", "actions"):
        one, other = getattr(normalizers, field), getattr(again, field)
        x = np.random.default_rng(1).normal(size=(5, 3, one.dim))
        np.testing.assert_array_equal(one.normalize(x), other.normalize(x))
        np.testing.assert_allclose(one.normalize(x), theirs.normalize(x, field), rtol=1e-12)
        np.testing.assert_allclose(
            one.unnormalize(x, whole_array=True), theirs.unnormalize(x, field), rtol=1e-12, atol=1e-12
        )


def test_statistics_of_other_kinds_are_ignored():
    record = pair().to_json()
    record["fields"]["observations"]["means"] = [0]
    record["fields"]["rewards"] = {}
    assert isinstance(Normalizers.from_json(record).observations, Limits)


def with_actions(**statistics):
    record = pair().to_json()
    record["fields"]["actions"] = statistics
    return record


def curves(**statistics):
    return {"normalizer": "CDFNormalizer", "fields": {"observations": statistics, "actions": statistics}}


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ([], "expected a JSON object with 'normalizer' and 'fields'"),
        ({"normalizer": "LimitsNormalizer"}, r'such as {"normalizer": "GaussianNormalizer", "fields": {"observations"'),
        (curves(quantiles=3, cumprobs=3), "quantiles: expected a list of numbers for each dimension"),
        (curves(quantiles=[0, 1], cumprobs=[0, 1]), r"quantiles\[0\]: expected finite numbers of shape"),
        (curves(quantiles=[[0, 1]], cumprobs=[]), "quantiles and cumprobs: of 1 and 0 dimensions"),
        (
            curves(quantiles=[[0, 1]], cumprobs=[[1]]),
            r"cumprobs\[0\]: lengths differ or are 0: 2, 1",
        ),
        (curves(quantiles=[[]], cumprobs=[[]]), "lengths differ or are 0"),
        (curves(quantiles=[[0, 0]], cumprobs=[[0.5, 1]]), r"quantiles\[0\] and cumprobs\[0\]: must ascend"),
        (curves(quantiles=[[0, 1]], cumprobs=[[0.5, 1.5]]), "from 0 to 1 at most"),
        ({**pair().to_json(), "normalizer": "PointMassNormalizer"}, "found 'PointMassNormalizer', expected one of"),
        ({**pair().to_json(), "fields": {}}, r"fields.observations lacks \['mins', 'maxs'\]"),
        (with_actions(mins=[0]), r"fields.actions lacks \['maxs'\]"),
        (
            with_actions(mins=[1, 0], maxs=[0, 1]),
            r"maxs: must exceed mins in every dimension, they do not in \[0\]",
        ),
        (with_actions(mins=[0, 0], maxs=[1]), "mins and maxs: lengths differ"),
        (with_actions(mins=[0], maxs=[float("nan")]), "maxs: expected finite numbers"),
        (with_actions(mins=0, maxs=1), r"mins: expected finite numbers of shape \[dim\], found shape \(\)"),
    ],
)
def test_records_that_are_no_statistics(record, message):
    with pytest.raises(ValueError, match=message):
        Normalizers.from_json(record)


def test_what_normalisers_refuse():
    with pytest.raises(ValueError, match="stds: must be positive"):
        Gaussian([0.0], [0.0])
    with pytest.raises(ValueError, match="scale: must not be 0"):
        Affine([0.0], [0.0])


def test_fields_of_two_kinds():
    given = Normalizers(Gaussian([0.5], [2.0]), Affine([3.0, 1.0], [0.0, 1.0], [1.0, 9.0]))
    assert given.kind is None
    again = Normalizers.from_json(json.loads(json.dumps(given.to_json())))
    assert again.to_json() == given.to_json()
    with pytest.raises(ValueError, match=r"fields.actions lacks \['offset'\]"):
        Normalizers.from_json(
            {"fields": {**given.to_json()["fields"], "actions": {"normalizer": "AffineNormalizer", "scale": [1]}}}
        )


def test_an_affine_map_goes_there_and_back_and_ends_at_its_limit():
    one = Affine([2.0, 0.5], [1.0, -1.0], [1.0, 1.0])
    x = np.array([[0.5, -0.25], [3.0, 1.0]])
    np.testing.assert_allclose(one.normalize(x), [[2.0, -1.125], [7.0, -0.5]])
    np.testing.assert_allclose(one.unnormalize(one.normalize(x)), [[0.5, -0.25], [1.0, 1.0]])
    np.testing.assert_array_equal(one.outside(x), [[False, False], [True, False]])
    np.testing.assert_allclose(Affine.fit([[0.0, 3.0], [4.0, 3.0]]).normalize([[4.0, 3.0]]), [[1.0, 0.0]])


def test_kinds_by_name():
    assert normalizer_kind("gaussian") is normalizer_kind("GaussianNormalizer") is Gaussian
    assert normalizer_kind("limits") is normalizer_kind("LimitsNormalizer") is Limits
    assert normalizer_kind("cdf") is normalizer_kind("CDFNormalizer") is CDF
    with pytest.raises(ValueError, match="normalizer: found 'safe', expected 'gaussian', 'limits', 'cdf' or 'scalar'"):
        normalizer_kind("safe")


def test_what_is_outside_a_distribution():
    data = np.array([[0.0, 5.0], [1.0, 5.0], [3.0, 5.0]])  # the second dimension passes through
    found = CDF.fit(data).outside([[0.0, 5.0], [-0.1, 9.0], [3.1, 5.0]])
    np.testing.assert_array_equal(found, [[False, False], [True, False], [True, False]])

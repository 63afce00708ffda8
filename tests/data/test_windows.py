"""Windows: how many, which, and what is in them; returns-to-go against a naive loop."""

import numpy as np
import pytest

from diffuser_fast.core.normalizers import Gaussian, Limits, Normalizers
from diffuser_fast.data import Episodes, ValueWindows, Windows, n_step_returns, returns_to_go

LENGTHS = [7, 3, 12, 1, 5]


def episodes(lengths=LENGTHS, seed=0, terminated=None):
    rng = np.random.default_rng(seed)
    n = sum(lengths)
    return Episodes(
        observations=rng.normal(size=(n, 3)).astype(np.float32),
        actions=rng.normal(size=(n, 2)).astype(np.float32),
        rewards=rng.normal(size=n).astype(np.float32),
        lengths=np.array(lengths),
        terminated=np.zeros(len(lengths), bool) if terminated is None else np.array(terminated),
        source="file",
    )


def normalizers(e, kind=Limits):
    return Normalizers(observations=kind.fit(e.observations), actions=kind.fit(e.actions))


def naive_windows(e, horizon, norm, padded=False, max_path_length=None):
    """Cut every path out, pad it with zeros in physical units, normalise it, and slide a window along."""
    out, row = [], 0
    for length in e.lengths:
        path = np.concatenate([e.actions[row : row + length], e.observations[row : row + length]], 1)
        count = length - horizon
        if padded:
            count = min(length - 1, (max_path_length or 10**9) - horizon)
            path = np.concatenate([path, np.zeros((horizon, path.shape[1]))])
        path_n = norm.normalize(path)
        out += [path_n[start : start + horizon] for start in range(count)]
        row += length
    return np.array(out)


@pytest.mark.parametrize("kind", [Limits, Gaussian])
@pytest.mark.parametrize("horizon", [1, 2, 4, 11])
def test_windows_without_padding(horizon, kind):
    e = episodes()
    windows = Windows.of(e, horizon, normalizers(e, kind))
    assert len(windows) == sum(max(length - horizon, 0) for length in LENGTHS)
    got = windows[:]
    assert got.dtype == np.float32 and got.shape == (len(windows), horizon, 5)
    assert np.abs(got - naive_windows(e, horizon, normalizers(e, kind))).max() < 1e-6


@pytest.mark.parametrize("max_path_length", [None, 12, 15])
@pytest.mark.parametrize("horizon", [1, 4, 10])
def test_windows_with_padding(horizon, max_path_length):
    e = episodes()
    norm = normalizers(e)
    windows = Windows.of(e, horizon, norm, use_padding=True, max_path_length=max_path_length)
    expected = naive_windows(e, horizon, norm, padded=True, max_path_length=max_path_length)
    assert len(windows) == len(expected)
    assert np.abs(windows[:] - expected).max() < 1e-6


def test_padding_is_zero_before_normalisation():
    e = episodes([3, 3])
    norm = Normalizers(observations=Gaussian(np.ones(3), np.full(3, 2.0)), actions=Gaussian(np.ones(2), np.ones(2)))
    window = Windows.of(e, 8, norm, use_padding=True)[1]
    assert np.allclose(window[2:], [-1, -1, -0.5, -0.5, -0.5])
    assert np.allclose(window[1, :2], e.actions[2] - 1)


def test_the_counts_of_the_released_code():
    """A path of the full 1000 steps gives 968 windows of 32, a shorter one of L steps gives L - 1."""
    e = episodes([1000, 500])
    assert len(Windows.of(e, 32, normalizers(e), use_padding=True, max_path_length=1000)) == 968 + 499
    assert len(Windows.of(e, 32, normalizers(e))) == 968 + 468


def test_batches_are_uniform_draws_of_whole_windows():
    e = episodes()
    windows = Windows.of(e, 4, normalizers(e))
    every = {window.tobytes(): i for i, window in enumerate(windows[:])}
    batch = windows.batch(np.random.default_rng(5), 3000)
    assert batch.shape == (3000, 4, 5) and batch.dtype == np.float32 and batch.flags.c_contiguous
    counts = np.bincount([every[window.tobytes()] for window in batch], minlength=len(windows))
    assert counts.min() > 0.75 * 3000 / len(windows) and counts.max() < 1.25 * 3000 / len(windows)
    again = windows.batch(np.random.default_rng(5), 3000)
    assert (batch == again).all()
    assert (windows.batch(np.random.default_rng(6), 3000) != batch).any()


def test_one_window_and_several_by_number():
    e = episodes()
    windows = Windows.of(e, 4, normalizers(e))
    assert windows[2].shape == (4, 5)
    assert (windows[[2, 0]] == np.stack([windows[2], windows[0]])).all()


def test_normalising_in_blocks_changes_nothing(monkeypatch):
    import diffuser_fast.data.windows as module

    e = episodes()
    whole = Windows.of(e, 4, normalizers(e)).transitions_n
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 5)
    assert (Windows.of(e, 4, normalizers(e)).transitions_n == whole).all()
    assert whole.shape == (sum(LENGTHS) + 1, 5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"horizon": 0}, "horizon: found 0, expected a whole number at least 1"),
        ({"horizon": 12}, "horizon: found 12 and no window in 5 paths, the longest of 12 .*at least 13"),
        (
            {"horizon": 4, "max_path_length": 11},
            "found a path of 12 steps, expected at most max_path_length=11",
        ),
        ({"horizon": 12, "use_padding": True, "max_path_length": 12}, "horizon: found 12 and no window"),
    ],
)
def test_window_errors(arguments, message):
    e = episodes()
    with pytest.raises(ValueError, match=message):
        Windows.of(e, normalizers=normalizers(e), **arguments)


@pytest.mark.parametrize("discount", [0.0, 0.9, 0.997, 1.0])
@pytest.mark.parametrize("penalty", [None, -100.0])
def test_returns_to_go_against_a_naive_loop(discount, penalty):
    e = episodes(terminated=[True, False, False, True, False])
    expected, row = [], 0
    for length, terminated in zip(e.lengths, e.terminated):
        rewards = e.rewards[row : row + length].astype(float)
        if terminated and penalty is not None:
            rewards[-1] += penalty
        for start in range(length):
            expected.append(sum(discount**k * r for k, r in enumerate(rewards[start:])))
        row += length
    got = returns_to_go(e, discount, penalty)
    assert got.dtype == np.float64 and np.allclose(got, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("penalty", [None, -100.0])
@pytest.mark.parametrize("n", [1, 4, 50])
def test_n_step_returns_are_the_first_terms(n, penalty):
    e = episodes(terminated=[True, False, True, False, True])
    got, known = n_step_returns(e, 0.9, n, penalty)
    row = 0
    for length, terminated in zip(e.lengths, e.terminated):
        rewards = e.rewards[row : row + length].astype(np.float64)
        rewards[-1] += (penalty or 0.0) * terminated
        for i in range(length):
            some = rewards[i : i + n]
            assert np.isclose(got[row + i], some @ 0.9 ** np.arange(len(some)), rtol=1e-12, atol=1e-12)
            assert known[row + i] == (len(some) == n or terminated)
        row += length


def test_returns_leave_the_episodes_as_they_were():
    e = episodes(terminated=[True] * 5)
    before = e.rewards.copy()
    returns_to_go(e, 0.9, -100.0)
    assert (e.rewards == before).all()


def test_value_windows_pair_a_window_with_the_return_from_its_first_step():
    e = episodes()
    windows = Windows.of(e, 4, normalizers(e))
    pairs = ValueWindows.of(windows, e, 0.9)
    x, values = pairs.batch(np.random.default_rng(0), 40)
    assert x.shape == (40, 4, 5) and values.shape == (40,) and values.dtype == np.float32
    known = {window.tobytes(): returns_to_go(e, 0.9)[start] for window, start in zip(windows[:], windows.starts)}
    assert np.allclose(values, [known[window.tobytes()] for window in x], rtol=1e-6)
    assert pairs.low is None and len(pairs) == len(windows)


def test_value_windows_of_n_steps_leave_out_what_a_time_limit_cut_off():
    e = episodes(terminated=[True, False, True, False, True])
    windows = Windows.of(e, 2, normalizers(e), use_padding=True)
    pairs = ValueWindows.of(windows, e, 0.9, n_step=3)
    returns, known = n_step_returns(e, 0.9, 3)
    assert 0 < len(pairs) == known[windows.starts].sum() < len(windows)
    assert np.allclose(pairs.values, returns[pairs.windows.starts], rtol=1e-6) and known[pairs.windows.starts].all()
    cut = episodes(terminated=[False] * 5)
    with pytest.raises(ValueError, match=rf"n_step: found 50, expected at most the {cut.lengths.max()} steps"):
        ValueWindows.of(Windows.of(cut, 2, normalizers(cut)), cut, 0.9, n_step=50)


def test_normed_values_span_minus_one_to_one():
    e = episodes()
    windows = Windows.of(e, 4, normalizers(e))
    raw, normed = ValueWindows.of(windows, e, 0.9), ValueWindows.of(windows, e, 0.9, normed=True)
    assert normed.values.min() == -1.0 and normed.values.max() == 1.0
    assert np.allclose((normed.values + 1) / 2 * (normed.high - normed.low) + normed.low, raw.values, atol=1e-5)


def test_value_errors():
    e = episodes()
    windows = Windows.of(e, 4, normalizers(e))
    with pytest.raises(ValueError, match=r"discount: found 1.5, expected a number from 0 to 1"):
        returns_to_go(e, 1.5)
    with pytest.raises(ValueError, match=r"n: found 0, expected a whole number at least 1"):
        n_step_returns(e, 0.9, 0)
    with pytest.raises(ValueError, match="windows: found 28 steps, expected those of episodes, 21"):
        ValueWindows.of(windows, episodes([7, 3, 11]), 0.9)
    still = Episodes(e.observations, e.actions, 0 * e.rewards, e.lengths, e.terminated)
    for normed in (False, True):
        with pytest.raises(
            ValueError, match="episodes: rewards: found 0 at every step, which a value network can learn"
        ):
            ValueWindows.of(windows, still, 0.9, normed=normed)

"""Streams say what is wrong with them, and where."""

import numpy as np
import pytest

from diffuser_fast.data import Stream, from_arrays, load_stream, save_stream


def arrays(n=6, **changes):
    rng = np.random.default_rng(0)
    made = {
        "observations": rng.normal(size=(n, 4)),
        "actions": rng.normal(size=(n, 2)),
        "rewards": np.arange(n),
        "terminals": np.arange(n) == 3,
        "timeouts": np.arange(n) == 5,
        "infos/goal": np.zeros((n, 2)),
        "metadata/algorithm": np.array("none"),
    }
    made.update(changes)
    return {name: array for name, array in made.items() if array is not None}


def test_dtypes_and_infos():
    stream = from_arrays(arrays(), {"seed": 3})
    assert isinstance(stream, Stream) and len(stream) == 6
    assert [getattr(stream, f).dtype for f in ("observations", "actions", "rewards")] == [np.float32] * 3
    assert stream.terminals.tolist() == [False] * 3 + [True] + [False] * 2
    assert stream.timeouts.tolist() == [False] * 5 + [True]
    assert list(stream.infos) == ["goal"] and stream.attributes == {"seed": 3}
    assert np.array_equal(stream.observations, arrays()["observations"].astype(np.float32))


def test_missing_rewards_and_flags_are_zeros():
    stream = from_arrays(arrays(rewards=None, terminals=None, timeouts=None))
    assert not stream.rewards.any() and not stream.terminals.any() and not stream.timeouts.any()
    assert stream.rewards.dtype == np.float32 and stream.timeouts.dtype == bool


def test_columns_are_read_as_vectors():
    stream = from_arrays(arrays(rewards=np.arange(6.0)[:, None], terminals=np.ones((6, 1), np.uint8)))
    assert stream.rewards.tolist() == [0, 1, 2, 3, 4, 5] and stream.terminals.all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"actions": None},
            r"no field 'actions': found \['infos/goal', .*fields={'actions': NAME} says which it is",
        ),
        ({"observations": None}, "no field 'observations'"),
        ({"actions": np.zeros((5, 2))}, r"actions: found an array of shape \[5, 2\], expected 6 steps"),
        ({"rewards": np.zeros(7)}, r"rewards: found .*\[7\], expected 6 steps, as in observations"),
        ({"infos/goal": np.zeros((2, 2))}, r"infos/goal: found .*\[2, 2\], expected 6 steps"),
        ({"observations": np.zeros(6)}, r"observations: found .*\[6\], expected \[steps, dimensions\]"),
        ({"actions": np.zeros((6, 2, 1))}, r"actions: found .*\[6, 2, 1\], expected \[steps, dimensions\]"),
        ({"rewards": np.zeros((6, 2))}, r"rewards: found .*\[6, 2\], expected \[steps\]"),
        ({"observations": np.zeros((6, 0))}, r"observations: found .*\[6, 0\], expected at least one step"),
        ({"actions": np.array([["a", "b"]] * 6)}, "actions: expected numbers, found ndarray of dtype <U1"),
        (
            {"observations": np.where(np.eye(6, 4) * [1, 1, 1, 0], np.nan, 1)},
            "observations: found NaN or infinity in 3 rows, first in row 0",
        ),
        (
            {"rewards": np.array([0, 0, np.inf, 0, 0, 0])},
            "rewards: found NaN or infinity in 1 rows, first in row 2",
        ),
    ],
)
def test_faults_are_named(changes, message):
    with pytest.raises(ValueError, match=f"here.npz: {message}"):
        from_arrays(arrays(**changes), source="here.npz")


def test_states_alone_are_a_stream(tmp_path):
    """Where a controller follows planned states there may be no actions, and then the file says so: [6, 0]."""
    stream = from_arrays(arrays(actions=np.zeros((6, 0))))
    again = load_stream(save_stream(stream, tmp_path / "x.hdf5"))
    assert again.actions.shape == (6, 0) and again.actions.dtype == np.float32


def test_an_empty_stream_is_refused():
    with pytest.raises(ValueError, match=r"observations: found an array of shape \[0, 4\]"):
        from_arrays(arrays(n=0, terminals=None, timeouts=None))

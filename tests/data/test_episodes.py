"""Cutting streams into paths: small streams with known answers, and the rule as a naive loop."""

import numpy as np
import pytest

from diffuser_fast.data import from_arrays, split_at_ends, split_at_goal


def line(xs, **fields):
    """A stream along y = 0; each step's action is its number."""
    xs = np.asarray(xs, dtype=float)
    steps = np.arange(len(xs), dtype=float)
    made = {"observations": np.stack([xs, 0 * xs], 1), "actions": steps[:, None], "rewards": steps + 100}
    return from_arrays({**made, **fields}, source="line")


def paths(episodes):
    """The step numbers of every path."""
    return [episodes.actions[s : s + n, 0].astype(int).tolist() for s, n in zip(episodes.starts, episodes.lengths)]


def marks(n, *steps):
    return np.isin(np.arange(n), steps)


def test_ends_are_terminals_and_timeouts_and_the_tail_is_dropped():
    stream = line(range(10), terminals=marks(10, 2), timeouts=marks(10, 6, 7))
    episodes = split_at_ends(stream)
    assert paths(episodes) == [[0, 1, 2], [3, 4, 5, 6], [7]]
    assert episodes.terminated.tolist() == [True, False, False]
    assert episodes.rewards.tolist() == [100 + i for i in range(8)]
    assert episodes.observations[:, 0].tolist() == list(range(8))
    assert episodes.transitions[3].tolist() == [3, 3, 0]  # action first
    assert episodes.lengths.dtype == episodes.starts.dtype == np.int64


def test_a_stream_that_ends_on_an_end_has_no_tail():
    assert paths(split_at_ends(line(range(4), timeouts=marks(4, 1, 3)))) == [[0, 1], [2, 3]]


def test_a_stream_without_ends_is_refused_with_the_cure():
    with pytest.raises(ValueError, match=r"line: terminals, timeouts: found no step .*goal=\(x, y\)"):
        split_at_ends(line(range(4)))


def test_goal_paths_lose_their_last_step_and_the_tail():
    #            0  1  2  3    4    5  6  7  8  9    10   11 12
    stream = line([3, 2, 1, 0.4, 0.2, 1, 2, 1, 0, 0.6, 2, 0.3, 0.1])
    episodes = split_at_goal(stream, goal=(0.0, 0.0))
    # The point leaves after steps 4 and 8, and each path loses that very step; the tail ends near the goal.
    assert paths(episodes) == [[0, 1, 2, 3], [5, 6, 7]]
    assert not episodes.terminated.any()


def test_the_stretch_before_the_first_leaving_is_a_path_even_if_it_begins_at_the_goal():
    assert paths(split_at_goal(line([0, 0, 0, 5, 5, 0, 5]), (0, 0))) == [[0, 1], [3, 4]]


def test_a_path_of_one_step_is_lost_altogether():
    assert paths(split_at_goal(line([0, 5, 5, 0, 5]), (0, 0))) == [[1, 2]]


def test_recorded_ends_are_ignored():
    stream = line([5, 5, 0, 5, 0, 5], terminals=marks(6, 0), timeouts=marks(6, 1))
    assert paths(split_at_goal(stream, (0, 0))) == [[0, 1], [3]]


def test_radius_and_distance_are_those_of_a_disc():
    xy = np.array([[5, 5], [0.4, 0.4], [5, 5], [0.3, 0.3], [5, 5]], dtype=float)
    stream = line(range(5), observations=xy)
    assert paths(split_at_goal(stream, (0, 0))) == [[0, 1, 2]]  # 0.57 is outside 0.5, 0.42 inside
    assert paths(split_at_goal(stream, (0, 0), radius=0.6)) == [[0], [2]]


def test_the_goal_comes_from_the_attributes():
    stream = line([5, 5, 0, 5])
    marked = from_arrays(
        {"observations": stream.observations, "actions": stream.actions}, {"default_goal": np.zeros(2)}
    )
    assert paths(split_at_goal(marked)) == [[0, 1]]
    assert split_at_goal(marked).attributes["default_goal"].tolist() == [0, 0]


def test_random_streams_against_a_naive_loop():
    rng = np.random.default_rng(1)
    for _ in range(50):
        xs = rng.uniform(0, 1, 80)
        near = xs.astype(np.float32) < 0.5
        expected, begin = [], 0
        for i in range(79):
            if near[i] and not near[i + 1]:
                expected.append(list(range(begin, i)))  # without step i
                begin = i + 1
        episodes = split_at_goal(line(xs), (0, 0))
        assert paths(episodes) == [path for path in expected if path]
        assert episodes.lengths.sum() == len(episodes.observations)


@pytest.mark.parametrize(
    ("stream", "goal", "message"),
    [
        (line([0, 5]), None, "goal: found None and no attribute 'default_goal'"),
        (line([0, 5]), (1, 2, 3), r"goal: found \[1.0, 2.0, 3.0\], expected two finite numbers"),
        (line([0, 5]), (np.nan, 0), "goal: found .*expected two finite"),
        (
            line([5, 5, 0, 0]),
            (0, 0),
            r"observations: found no path that leaves the goal \[0.0, 0.0\] by more than 0.5",
        ),
        (line([5, 5], observations=np.zeros((2, 1))), (0, 0), "observations: found 1 dimension"),
    ],
)
def test_goal_errors(stream, goal, message):
    with pytest.raises(ValueError, match=f"line: {message}"):
        split_at_goal(stream, goal)

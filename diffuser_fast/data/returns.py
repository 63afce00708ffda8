"""Discounted returns: what a value network learns to predict from a window."""

from dataclasses import dataclass, replace

import numpy as np

from ..core.scalars import real, whole
from ..core.spelling import setting
from .episodes import Episodes
from .windows import Windows


def n_step_returns(
    episodes: Episodes, discount: float, n: int, termination_penalty: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The first n terms of every step's return: float64 [N]; and where they are known: bool [N].

    A path that a time limit cut off would have gone on: of its last n - 1 steps they are not known. Of one that
    terminated they are, for nothing follows. penalty, errors: see `returns_to_go`.
    """
    n = whole("n", n, 1)
    returns = returns_to_go(episodes, discount, termination_penalty)
    left = np.repeat(episodes.starts + episodes.lengths, episodes.lengths) - np.arange(len(returns))
    beyond = left > n
    shorter = returns.copy()
    shorter[beyond] -= discount**n * returns[np.flatnonzero(beyond) + n]
    return shorter, (left >= n) | np.repeat(episodes.terminated, episodes.lengths)


def returns_to_go(episodes: Episodes, discount: float, termination_penalty: float | None = None) -> np.ndarray:
    """G_i = r_i + discount * G_{i+1} to the end of i's path: float64 [N], one number per step.

    termination_penalty: added to the last reward of every path that terminated (the released code uses -100
    in locomotion); None adds nothing. Raises ValueError for a discount outside [0, 1].
    """
    discount = real("discount", discount, 0, 1)
    rewards = episodes.rewards.astype(np.float64)
    lasts = episodes.starts + episodes.lengths - 1
    if termination_penalty is not None:
        rewards[lasts[episodes.terminated]] += termination_penalty
    carry = np.full(len(rewards), float(discount))
    carry[lasts] = 0.0  # nothing of the next path flows back into this one
    returns, ahead = rewards.tolist(), 0.0
    for i, factor in zip(range(len(returns) - 1, -1, -1), carry[::-1].tolist(), strict=True):
        returns[i] = ahead = returns[i] + factor * ahead
    return np.array(returns)


@dataclass(frozen=True, eq=False)
class ValueWindows:
    """Windows, each with the return from its first step to the end of its path, far beyond the window, or of n steps.

    windows: W windows; values: float32 [W]; low, high: the values that -1 and 1 stand for, or None where
    values are raw.
    """

    windows: Windows
    values: np.ndarray
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(
        cls,
        windows: Windows,
        episodes: Episodes,
        discount: float,
        *,
        termination_penalty: float | None = None,
        n_step: int | None = None,
        normed: bool = False,
    ) -> "ValueWindows":
        """Pair `windows` (made from `episodes`) with returns-to-go; `normed` maps their range to [-1, 1].

        n_step: with returns of so many steps instead, and only windows of which these are known (`n_step_returns`).
        Raises ValueError for targets that say nothing: rewards that were not recorded, or one return for all; and if
        every path is shorter than n_step.
        """
        if len(windows.transitions_n) != len(episodes.observations) + 1:
            raise ValueError(
                f"windows: found {len(windows.transitions_n) - 1} steps, expected those of episodes, "
                f"{len(episodes.observations)}"
            )
        if n_step is None:
            values = returns_to_go(episodes, discount, termination_penalty)[windows.starts]
        else:
            returns, known = n_step_returns(episodes, discount, n_step, termination_penalty)
            kept = known[windows.starts]
            if not kept.any():
                raise ValueError(
                    f"{episodes.source}: n_step: found {n_step}, expected at most the "
                    f"{episodes.lengths.max()} steps of the longest path"
                )
            windows = replace(windows, starts=windows.starts[kept], stops=windows.stops[kept])
            values = returns[windows.starts]
        _check_informative(episodes, values)
        if not normed:
            return cls(windows, values.astype(np.float32))
        low, high = float(values.min()), float(values.max())
        return cls(windows, (2.0 * (values - low) / (high - low) - 1.0).astype(np.float32), low, high)

    def __len__(self) -> int:
        return len(self.values)

    def batch(self, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        """n windows drawn uniformly with replacement: (float32 [n, H, A + O] normalised, float32 [n])."""
        chosen = rng.integers(len(self), size=n)
        return self.windows[chosen], self.values[chosen]


def _check_informative(episodes: Episodes, values: np.ndarray) -> None:
    if "rewards" not in episodes.recorded:
        cure = setting("fields", "{'rewards': NAME}", "rewards=NAME")
        raise ValueError(
            f"{episodes.source}: rewards: found none, which a value network learns from; {cure} names them"
        )
    if np.ptp(values) == 0:
        same = "0 at every step" if not episodes.rewards.any() else f"the same return, {values[0]:g}, for all windows"
        raise ValueError(f"{episodes.source}: rewards: found {same}, which a value network can learn nothing from")

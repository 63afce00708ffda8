"""Discounted returns-to-go: what a value network learns to predict from a window."""

from dataclasses import dataclass

import numpy as np

from ..core.scalars import real
from ..core.spelling import setting
from .episodes import Episodes
from .windows import Windows


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
    """Windows, each with the return from its first step to the end of its path, far beyond the window.

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
        normed: bool = False,
    ) -> "ValueWindows":
        """Pair `windows` (made from `episodes`) with returns-to-go; `normed` maps their range to [-1, 1].

        Raises ValueError for targets that say nothing: rewards that were not recorded, or one return for all.
        """
        if len(windows.transitions_n) != len(episodes.observations) + 1:
            raise ValueError(
                f"windows: found {len(windows.transitions_n) - 1} steps, expected those of episodes, "
                f"{len(episodes.observations)}"
            )
        values = returns_to_go(episodes, discount, termination_penalty)[windows.starts]
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

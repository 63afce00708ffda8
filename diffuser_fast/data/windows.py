"""Horizon windows: every stretch of H consecutive steps inside a path, gathered when asked for.

Only start rows are stored, so a data set of millions of windows costs its transitions once. Which stretches
count is the released code's choice (Janner et al. 2022): a path of L steps gives L - H windows, one fewer
than would fit; with padding it gives L - 1, the last ones running over the end into zeros.
"""

from dataclasses import dataclass

import numpy as np

from ..core.normalizers import Normalizers
from ..core.scalars import whole
from ..core.spelling import setting
from .episodes import Episodes

# Normalisers work in float64; normalising block by block keeps that from tripling the memory.
ROWS_AT_ONCE = 1 << 17


@dataclass(frozen=True, eq=False)
class Windows:
    """W windows of H steps over normalised transitions.

    transitions_n: float32 [N + 1, A + O], actions first; row N stands for a step beyond a path's end: zeros
    in physical units, normalised; starts: int64 [W], the row at which each window begins; stops: int64 [W],
    the row after the window's path; horizon: H; action_dim: A.
    """

    transitions_n: np.ndarray
    starts: np.ndarray
    stops: np.ndarray
    horizon: int
    action_dim: int

    @classmethod
    def of(
        cls,
        episodes: Episodes,
        horizon: int,
        normalizers: Normalizers,
        *,
        use_padding: bool = False,
        max_path_length: int | None = None,
    ) -> "Windows":
        """All windows of `episodes`.

        use_padding: let windows run over a path's end, into zeros (locomotion). max_path_length: with
        padding, no window of a path starts after step max_path_length - H - 1, as in the original, whose
        arrays have that length (1000 in locomotion); None leaves only the path's own length. Raises
        ValueError for a horizon below 1, a path longer than max_path_length, or if there is no window.
        """
        horizon = whole("horizon", horizon, 1)
        longest = int(episodes.lengths.max())
        if max_path_length is not None and longest > max_path_length:
            raise ValueError(
                f"{episodes.source}: found a path of {longest} steps, "
                f"expected at most {setting('max_path_length', str(max_path_length), str(max_path_length))}"
            )
        counts = episodes.lengths - (1 if use_padding else horizon)
        if use_padding and max_path_length is not None:
            counts = np.minimum(counts, max_path_length - horizon)
        counts = np.maximum(counts, 0)
        if not counts.any():
            raise ValueError(
                f"{episodes.source}: horizon: found {horizon} and no window in {len(episodes)} paths, "
                f"the longest of {longest} steps; "
                f"expected a path of at least {2 if use_padding else horizon + 1}"
            )
        first = np.cumsum(counts) - counts  # the number of the first window of each path
        offsets = np.arange(counts.sum()) - np.repeat(first, counts)
        return cls(
            transitions_n=_normalized(episodes, normalizers),
            starts=np.repeat(episodes.starts, counts) + offsets,
            stops=np.repeat(episodes.starts + episodes.lengths, counts),
            horizon=horizon,
            action_dim=episodes.actions.shape[1],
        )

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, indices) -> np.ndarray:
        """Windows by number: float32 [H, A + O] for an integer, [n, H, A + O] for an array, list or slice;
        normalised.
        """
        rows = self.starts[indices][..., None] + np.arange(self.horizon)
        beyond = rows >= self.stops[indices][..., None]
        return self.transitions_n[np.where(beyond, len(self.transitions_n) - 1, rows)]

    def batch(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """n windows drawn uniformly with replacement: float32 [n, H, A + O], normalised."""
        return self[rng.integers(len(self), size=n)]


def _normalized(episodes: Episodes, normalizers: Normalizers) -> np.ndarray:
    steps, dim = len(episodes.observations), episodes.actions.shape[1] + episodes.observations.shape[1]
    out = np.empty((steps + 1, dim), dtype=np.float32)
    for start in range(0, steps, ROWS_AT_ONCE):
        block = slice(start, min(start + ROWS_AT_ONCE, steps))
        out[block] = normalizers.normalize(
            np.concatenate((episodes.actions[block], episodes.observations[block]), axis=1)
        )
    out[steps] = normalizers.normalize(np.zeros(dim))
    return out

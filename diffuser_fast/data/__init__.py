"""Data sets: recorded streams, the paths they are cut into, and the windows a network trains on.

    episodes = load_dataset("maze2d-umaze.hdf5")
    normalizers = fitted(episodes, "limits")
    windows = Windows.of(episodes, 128, normalizers)
    x = windows.batch(rng, 32)  # float32 [32, 128, A + O], normalised, actions first

numpy only; h5py is loaded when an HDF5 file is read or written, minari when a data set of its own is.
"""

from .episodes import Episodes, load_dataset, split_at_ends, split_at_goal
from .files import load_stream, save_stream
from .returns import ValueWindows, n_step_returns, returns_to_go
from .statistics import fitted
from .stream import Stream, from_arrays
from .windows import Windows

__all__ = [
    "Episodes",
    "Stream",
    "ValueWindows",
    "Windows",
    "fitted",
    "from_arrays",
    "load_dataset",
    "load_stream",
    "n_step_returns",
    "returns_to_go",
    "save_stream",
    "split_at_ends",
    "split_at_goal",
]

"""Streams: transitions in the order they were recorded, under the names D4RL uses.

A stream knows what happened at each step; where its episodes begin and end is decided later, in
`episodes.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ..core.arrays import as_numbers
from .fields import FIELDS, FLAGS, REQUIRED, choose


@dataclass(frozen=True, eq=False)
class Stream:
    """N recorded steps of equal lengths, all finite; ValueError otherwise, naming source and field.

    observations: float32 [N, O], before the step; actions: float32 [N, A], of A = 0 where states alone are
    planned; rewards: float32 [N]; terminals:
    bool [N], the step ended the task; timeouts: bool [N], the record was cut after the step for another
    reason; infos: more arrays of length N; attributes: what is known of the whole, such as `env_id`, `seed`
    and `default_goal`; source: where it came from, for messages; recorded: the fields that were there, the
    others being zeros and False.
    """

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    terminals: np.ndarray
    timeouts: np.ndarray
    infos: Mapping[str, np.ndarray] = field(default_factory=dict)
    attributes: Mapping[str, object] = field(default_factory=dict)
    source: str = "stream"
    recorded: tuple[str, ...] = FIELDS

    def __post_init__(self) -> None:
        _check(self)

    def __len__(self) -> int:
        return len(self.observations)


def from_arrays(arrays: Mapping[str, np.ndarray], attributes: Mapping | None = None, source: str = "arrays") -> Stream:
    """A Stream from arrays or tensors under D4RL's or Gymnasium's names (`terminations`, `truncations`).

    `infos/x` becomes `infos["x"]`, other extra names are ignored. `observations` and `actions` are required.
    Missing rewards are zeros, missing terminals and timeouts are False; a column [N, 1] is read as [N]. Raises
    ValueError naming source and field.
    """
    chosen = choose(arrays, None, source)
    fields, steps = {}, None
    for name in FIELDS:
        dtype = bool if name in FLAGS else np.float32
        if name in chosen:
            array = _numbers(f"{source}: {name}", arrays[chosen[name][0]], np.float32 if dtype is np.float32 else None)
            steps = len(array) if steps is None and array.ndim else steps
        else:
            array = np.zeros(steps or 0, dtype)
        if name not in REQUIRED and array.ndim == 2 and array.shape[1] == 1:
            array = array[:, 0]
        if name in FLAGS and array.ndim == 1 and not np.isin(array, (0, 1)).all():
            odd = array[~np.isin(array, (0, 1))].flat[0]
            raise ValueError(f"{source}: {name}: found {odd}, expected true or false, 1 or 0")
        fields[name] = np.ascontiguousarray(array, dtype=dtype)
    infos = {name[6:]: np.asarray(array) for name, array in arrays.items() if name.startswith("infos/")}
    attributes = dict(attributes or {})
    return Stream(**fields, infos=infos, attributes=attributes, source=source, recorded=tuple(chosen))


def _numbers(name: str, array: np.ndarray, dtype: type | None) -> np.ndarray:
    try:
        return as_numbers(name, array, dtype, finite=False)
    except TypeError as error:
        raise ValueError(str(error)) from None


def _check(stream: Stream) -> None:
    def fail(name: str, found: str, expected: str):
        raise ValueError(f"{stream.source}: {name}: found {found}, expected {expected}")

    for name in FIELDS:
        array, axes = getattr(stream, name), "[steps, dimensions]" if name in REQUIRED else "[steps]"
        if array.ndim != axes.count(",") + 1:
            fail(name, f"an array of shape {list(array.shape)}", axes)
        if not len(array) or (name != "actions" and 0 in array.shape):
            fail(name, f"an array of shape {list(array.shape)}", "at least one step and one dimension")
    steps = len(stream)
    for name, array in [(name, getattr(stream, name)) for name in FIELDS] + [
        (f"infos/{name}", array) for name, array in stream.infos.items()
    ]:
        if np.ndim(array) == 0 or len(array) != steps:
            fail(name, f"an array of shape {list(np.shape(array))}", f"{steps} steps, as in observations")
    for name in FIELDS:
        finite = np.isfinite(getattr(stream, name))
        if not finite.all():
            bad = ~finite.reshape(steps, -1).all(1)
            fail(name, f"NaN or infinity in {bad.sum()} rows, first in row {bad.argmax()}", "finite numbers")

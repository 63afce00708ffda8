"""The first rows of a plan that are given: what has been promised while the plan is being made."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arrays import as_numbers
from .checkpoint import Checkpoint
from .conditions import Inpainting
from .scalars import whole
from .spelling import setting


@dataclass(frozen=True, eq=False)
class Prefix:
    """Rows at .. at + k - 1 of a plan, in physical units: actions ``[k, A]``, observations ``[k, O]``, or both.

    None leaves those free. With a leading ``[E]`` for E situations. They are inpainted after every update, also after
    those of guidance, and come back exactly as they were given.
    """

    actions: NDArray | None = None
    observations: NDArray | None = None
    at: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "at", whole("at", self.at, 0))
        lengths = set()
        for name in ("actions", "observations"):
            value: ArrayLike | None = getattr(self, name)
            if value is None:
                continue
            array = np.array(as_numbers(f"prefix: {name}", value))
            if array.ndim not in (2, 3):
                raise ValueError(f"prefix: {name}: found shape {list(array.shape)}, expected [k, D] or [E, k, D]")
            lengths.add(array.shape[-2])
            object.__setattr__(self, name, array)
        if len(lengths) > 1:
            raise ValueError(f"prefix: actions and observations: found lengths {sorted(lengths)}, expected the same")
        object.__setattr__(self, "length", lengths.pop() if lengths else 0)

    length: int = 0

    @property
    def rows(self) -> slice:
        """Which times of the plan it gives."""
        return slice(self.at, self.at + self.length)

    def freeze(
        self, inpainting: Inpainting, situations: int | None, checkpoint: Checkpoint
    ) -> tuple[Inpainting, int | None]:
        """The same conditions with these rows, and E if either is for E situations (else None)."""
        horizon = len(inpainting.mask)
        if self.at + self.length > horizon:
            raise ValueError(
                f"prefix: rows {self.at} .. {self.at + self.length - 1} do not lie in the horizon {horizon}"
            )
        columns = dict(zip(("actions", "observations"), checkpoint.columns, strict=True))
        mask, values, clipped = inpainting.mask.copy(), inpainting.values, list(inpainting.clipped)
        for name, held in columns.items():
            given = getattr(self, name)
            if given is None:
                continue
            normalizer = getattr(checkpoint.normalizers, name)
            if held.stop == held.start or (name == "actions" and checkpoint.inverse is not None):
                raise ValueError(f"prefix: {name}: the plans of this checkpoint do not hold them")
            if given.shape[-1] != normalizer.dim:
                raise ValueError(f"prefix: {name}: found {given.shape[-1]} numbers a row, expected {normalizer.dim}")
            if mask[self.rows, held].any():
                cure = setting("conditions", "{...}", "...")
                raise ValueError(f"prefix: {name}: some of its rows are given by {cure} already")
            if normalizer.outside(given).any():
                clipped.append(f"prefix: {name}: beyond the data's limits")
            lead = len(given) if given.ndim == 3 else 1
            if lead == 0:
                raise ValueError(f"prefix: {name}: for 0 situations, expected at least one")
            if len(values) not in (1, lead) and lead != 1:
                raise ValueError(f"prefix: {name}: for {lead} situations, found conditions for {len(values)}")
            if given.ndim == 3:
                situations = max(lead, situations or 1)
            values = np.repeat(values, max(lead // len(values), 1), axis=0) if lead > 1 else values.copy()
            given_n = normalizer.normalize(given)
            if np.abs(given_n).max(initial=0.0) > np.finfo(np.float32).max:
                raise ValueError(f"prefix: {name}: too large for float32 once normalised")
            mask[self.rows, held] = True
            values[:, self.rows, held] = given_n
        return replace(inpainting, mask=mask, values=values, clipped=tuple(clipped)), situations

    def restore(self, actions: NDArray[np.float32], observations: NDArray[np.float32]) -> None:
        """Put the rows into plans ``[.., B, H, D]`` as they were given."""
        for given, array in ((self.actions, actions), (self.observations, observations)):
            if given is not None:
                array[..., self.rows, :] = given[:, None] if given.ndim == 3 else given

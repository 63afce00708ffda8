"""What a network is: frozen records that say everything but the weights.

Source: Janner et al. 2022, appendix C, and the released networks (TemporalUnet, ValueFunction, TemporalValue).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from .scalars import flag, whole
from .spelling import setting

MAX_HORIZON = 1 << 16


@dataclass(frozen=True)
class UNetSpec:
    """The temporal U-Net (TemporalUnet). Input and output are trajectories ``[B, H, D]``.

    horizon: H it was trained with; it runs at every multiple of ``stride``.
    transition_dim: D = A + O.
    dim: width of the first level, and of the time embedding.
    dim_mults: width of each level as a multiple of ``dim``; every level but the last halves the horizon.
    attention: linear attention after every level and in the middle.
    kernel_size: taps of the convolutions in residual blocks (the head has them too).
    groups: groups of every GroupNorm.
    """

    horizon: int
    transition_dim: int
    dim: int = 32
    dim_mults: tuple[int, ...] = (1, 2, 4, 8)
    attention: bool = False
    kernel_size: int = 5
    groups: int = 8

    def __post_init__(self) -> None:
        _check_sizes(self)
        object.__setattr__(self, "attention", flag("attention", self.attention))
        self.check_horizon(self.horizon)

    @property
    def stride(self) -> int:
        """The horizon must be a multiple of this: each skip must meet its own length on the way up."""
        return 2 ** (len(self.dim_mults) - 1)

    def check_horizon(self, horizon: int) -> None:
        """Raise ValueError if the network cannot run at this horizon."""
        horizon = whole("horizon", horizon, 1, MAX_HORIZON)
        if horizon % self.stride:
            below = horizon - horizon % self.stride
            near = [str(h) for h in (below, below + self.stride) if h]
            raise ValueError(
                f"horizon: {horizon} is not a multiple of {self.stride}, which dim_mults {self.dim_mults} needs "
                f"(each level but the last halves it); the nearest are {' and '.join(near)}"
            )


@dataclass(frozen=True)
class ValueSpec:
    """A trajectory's value: half a U-Net and a dense head. Input ``[B, H, D]``, output ``[B]``. Horizon is fixed.

    middle: "narrowing" has two further blocks of half and a quarter of the last width, each halving the
    horizon (ValueFunction); "none" goes straight to the head (TemporalValue of the maze2d branch).
    """

    horizon: int
    transition_dim: int
    dim: int = 32
    dim_mults: tuple[int, ...] = (1, 2, 4, 8)
    middle: str = "narrowing"
    kernel_size: int = 5
    groups: int = 8

    def __post_init__(self) -> None:
        _check_sizes(self)
        if self.middle not in ("narrowing", "none"):
            raise ValueError(f"middle: found {self.middle!r}, expected 'narrowing' or 'none'")
        narrowest = self.dim * self.dim_mults[-1] // (4 if self.middle == "narrowing" else 1)
        if narrowest % self.groups:
            raise ValueError(
                f"dim_mults: the middle narrows to {narrowest} channels, which {self.groups} groups do not divide"
            )

    def check_horizon(self, horizon: int) -> None:
        """Raise ValueError unless ``horizon`` is the one the dense head was trained for."""
        if horizon != self.horizon:
            raise ValueError(
                f"horizon: the value network was trained for {self.horizon}, found {horizon}; "
                f"its dense head cannot change length ({setting('guide', 'None', 'none')} plans without it)"
            )


Spec = UNetSpec | ValueSpec
_KINDS = {"unet": UNetSpec, "value": ValueSpec}


def spec_to_json(spec: Spec) -> dict[str, Any]:
    """A record of plain values that ``spec_from_json`` reads back to an equal spec."""
    kind = next(name for name, cls in _KINDS.items() if type(spec) is cls)
    return {"kind": kind, **asdict(spec), "dim_mults": list(spec.dim_mults)}


def spec_from_json(record: dict[str, Any]) -> Spec:
    """The inverse of ``spec_to_json``; ValueError on a record that is not one."""
    fields = dict(record)
    kind = fields.pop("kind", None)
    if kind not in _KINDS:
        raise ValueError(f"spec: kind {kind!r} is not one of {sorted(_KINDS)}")
    cls = _KINDS[kind]
    unknown = set(fields) - set(cls.__dataclass_fields__)
    if unknown:
        raise ValueError(f"spec: {kind} has no fields {sorted(unknown)}")
    if "dim_mults" in fields:
        fields["dim_mults"] = tuple(fields["dim_mults"])
    try:
        return cls(**fields)
    except TypeError as error:
        raise ValueError(f"spec: {error}") from None


# Whole numbers that both networks have, and their range.
_SIZES = {
    "horizon": (1, MAX_HORIZON),
    "transition_dim": (1, 4096),
    "groups": (1, 4096),
    "dim": (4, 4096),
    "kernel_size": (1, 31),
}


def _check_sizes(spec: Spec) -> None:
    for name, limits in _SIZES.items():
        object.__setattr__(spec, name, whole(name, getattr(spec, name), *limits))
    if spec.kernel_size % 2 == 0:
        raise ValueError(f"kernel_size: found {spec.kernel_size}, expected an odd number")
    if spec.dim % 2:
        raise ValueError(f"dim: found {spec.dim}, expected an even number (half sines, half cosines)")
    if not isinstance(spec.dim_mults, tuple) or not 1 <= len(spec.dim_mults) <= 12:
        raise ValueError(f"dim_mults: found {spec.dim_mults!r}, expected a tuple of 1 to 12 whole numbers")
    object.__setattr__(spec, "dim_mults", tuple(whole("dim_mults", mult, 1, 4096) for mult in spec.dim_mults))
    for mult in spec.dim_mults:
        if spec.dim * mult % spec.groups:
            raise ValueError(
                f"dim_mults: {spec.dim} x {mult} channels cannot be split into {spec.groups} groups of GroupNorm"
            )

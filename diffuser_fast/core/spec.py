"""What a network is: frozen records that say everything but the weights.

Source: Janner et al. 2022, appendix C, and the released networks (TemporalUnet, ValueFunction, TemporalValue). Fields
whose defaults are the original's say how its relatives differ.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from .embedding import Embedding
from .ops import ACTS
from .scalars import flag, shown, whole
from .spelling import setting

MAX_HORIZON = 1 << 16


class _Levels:
    """What both networks have: levels of some width, norms in groups, an embedding of the denoising step."""

    @property
    def levels(self) -> tuple[int, ...]:
        """Channels of each level."""
        return self.widths or tuple(self.dim * mult for mult in self.dim_mults)

    @property
    def time(self) -> Embedding:
        """How it is told of the denoising step."""
        return Embedding.of_width(self.dim) if self.embedding is None else self.embedding

    @property
    def is_original(self) -> bool:
        """Whether it is a network of the original's, and not of a relative."""
        fields = self.__dataclass_fields__.items()
        return all(getattr(self, name) == field.default for name, field in fields if name not in _FIRST)

    def groups_of(self, channels: int) -> int:
        """Groups of a norm over so many channels."""
        return min(self.groups, channels // self.group_size) if self.group_size > 1 else self.groups


@dataclass(frozen=True)
class UNetSpec(_Levels):
    """The temporal U-Net (TemporalUnet). Input and output are trajectories ``[B, H, D]``.

    horizon: H it was trained with; it runs at every multiple of ``stride``.
    transition_dim: D = A + O.
    dim: width of the head, and of the time embedding unless ``embedding`` says otherwise.
    dim_mults: width of each level as a multiple of ``dim``; every level but the last halves the horizon.
    attention: linear attention after every level and in the middle.
    kernel_size: taps of the convolutions in residual blocks (the head has them too, unless ``head_kernel``).
    groups: groups of every GroupNorm (of the head's: ``head_groups``); with a ``group_size`` above 1 as many as leave
    so many channels to each, if that is fewer.
    widths: of each level, where they are no multiples of ``dim``; ``dim_mults`` is then empty.
    condition: C numbers that a plan is conditioned on beside the denoising step, 0 for none; they join the embedding,
    behind ``condition_mlp`` (widths of dense layers, Mish between them) if it has some.
    film: both of them scale the first half of a residual block, channel by channel, and do not only add to it.
    attention_adds: what attention's result is added to, "x" or its "norm". head_act: the head's activation.
    block_attention: linear attention in every residual block, before its skip: without a norm, queries as they are.
    given: so many numbers at the end of a transition are given in every plan, and not predicted. local: they are a
    condition along time: a residual block of them is added behind the first block, which does not read them.
    """

    horizon: int
    transition_dim: int
    dim: int = 32
    dim_mults: tuple[int, ...] = (1, 2, 4, 8)
    attention: bool = False
    kernel_size: int = 5
    groups: int = 8
    widths: tuple[int, ...] = ()
    group_size: int = 1
    embedding: Embedding | None = None
    condition: int = 0
    condition_mlp: tuple[int, ...] = ()
    film: bool = False
    head_kernel: int | None = None
    head_groups: int | None = None
    head_act: str = "mish"
    attention_adds: str = "x"
    block_attention: bool = False
    given: int = 0
    local: bool = False

    def __post_init__(self) -> None:
        _check_sizes(self)
        object.__setattr__(self, "given", whole("given", self.given, 0, self.transition_dim - 1))
        for name in ("attention", "film", "block_attention", "local"):
            object.__setattr__(self, name, flag(name, getattr(self, name)))
        object.__setattr__(self, "condition", whole("condition", self.condition, 0, 1 << 16))
        _widths(self, "condition_mlp", 4)
        if self.condition_mlp and not self.condition:
            raise ValueError("condition_mlp: the network takes no condition")
        if self.head_kernel is not None:
            object.__setattr__(self, "head_kernel", _odd("head_kernel", self.head_kernel))
        if self.head_groups is not None:
            object.__setattr__(self, "head_groups", whole("head_groups", self.head_groups, 1, 4096))
            if self.dim % self.head_groups:
                raise ValueError(f"head_groups: {self.head_groups} do not divide the head's {self.dim} channels")
        _one_of("head_act", self.head_act, ACTS)
        _one_of("attention_adds", self.attention_adds, ("x", "norm"))
        if self.local and not self.given:
            raise ValueError("local: nothing of a transition is given")
        self.check_horizon(self.horizon)

    @property
    def predicted_dim(self) -> int:
        """Numbers of a transition that the network predicts, the first of them."""
        return self.transition_dim - self.given

    @property
    def stride(self) -> int:
        """The horizon must be a multiple of this: each skip must meet its own length on the way up."""
        return 2 ** (len(self.levels) - 1)

    def check_horizon(self, horizon: int) -> None:
        """Raise ValueError if the network cannot run at this horizon."""
        horizon = whole("horizon", horizon, 1, MAX_HORIZON)
        if horizon % self.stride:
            below = horizon - horizon % self.stride
            near = [str(h) for h in (below, below + self.stride) if h]
            levels = f"widths {self.widths}" if self.widths else f"dim_mults {self.dim_mults}"
            raise ValueError(
                f"horizon: {horizon} is not a multiple of {self.stride}, which {levels} needs "
                f"(each level but the last halves it); the nearest are {' and '.join(near)}"
            )


@dataclass(frozen=True)
class ValueSpec(_Levels):
    """A trajectory's value: half a U-Net and a dense head. Input ``[B, H, D]``, output ``[B]``. Horizon is fixed.

    middle: "narrowing" has two further blocks of half and a quarter of the last width, each halving the
    horizon (ValueFunction); "none" goes straight to the head (TemporalValue of the maze2d branch).
    middle_kernel: taps of the middle's blocks, if not ``kernel_size``. halve_last: the last level halves the horizon
    too. hidden: width of the head's hidden layer, if not half of what it takes of the trajectory. any_horizon: it runs
    at every horizon that leaves the head as many time steps as the one it was trained for. Other fields as of UNetSpec.
    """

    horizon: int
    transition_dim: int
    dim: int = 32
    dim_mults: tuple[int, ...] = (1, 2, 4, 8)
    middle: str = "narrowing"
    kernel_size: int = 5
    groups: int = 8
    widths: tuple[int, ...] = ()
    group_size: int = 1
    embedding: Embedding | None = None
    middle_kernel: int | None = None
    halve_last: bool = True
    hidden: int | None = None
    any_horizon: bool = False

    def __post_init__(self) -> None:
        _check_sizes(self)
        _one_of("middle", self.middle, ("narrowing", "none"))
        for name in ("halve_last", "any_horizon"):
            object.__setattr__(self, name, flag(name, getattr(self, name)))
        if self.middle_kernel is not None:
            object.__setattr__(self, "middle_kernel", _odd("middle_kernel", self.middle_kernel))
        if self.hidden is not None:
            object.__setattr__(self, "hidden", whole("hidden", self.hidden, 1, 1 << 16))
        narrowest = self.levels[-1] // (4 if self.middle == "narrowing" else 1)
        if narrowest < 1 or self.groups_of(narrowest) < 1 or narrowest % self.groups_of(narrowest):
            raise ValueError(
                f"dim_mults: the middle narrows to {narrowest} channels, which {self.groups} groups do not divide"
            )

    def last_length(self, horizon: int) -> int:
        """Time steps that are left for the head: every convolution of stride 2 leaves ceil(n / 2) of n."""
        halvings = len(self.levels) - (not self.halve_last) + (2 if self.middle == "narrowing" else 0)
        return (horizon + (1 << halvings) - 1) >> halvings

    def check_horizon(self, horizon: int) -> None:
        """Raise ValueError unless ``horizon`` is the one the dense head was trained for."""
        horizon = whole("horizon", horizon, 1, MAX_HORIZON)
        if self.any_horizon and self.last_length(horizon) == self.last_length(self.horizon):
            return
        if horizon != self.horizon:
            raise ValueError(
                f"horizon: the value network was trained for {self.horizon}, found {horizon}; "
                f"its dense head cannot change length ({setting('guide', 'None', 'none')} plans without it)"
            )


@dataclass(frozen=True)
class InverseSpec:
    """Inverse dynamics (Ajay et al. 2023): the action ``[A]`` between two observations ``[2 O]``, a dense network.

    hidden: widths of its layers but the last. act: between them.
    """

    observation_dim: int
    action_dim: int
    hidden: tuple[int, ...]
    act: str = "relu"

    def __post_init__(self) -> None:
        for name in ("observation_dim", "action_dim"):
            object.__setattr__(self, name, whole(name, getattr(self, name), 1, 4096))
        _widths(self, "hidden", 8)
        _one_of("act", self.act, ACTS)


Spec = UNetSpec | ValueSpec | InverseSpec
_KINDS = {"unet": UNetSpec, "value": ValueSpec, "inverse": InverseSpec}


def spec_to_json(spec: Spec) -> dict[str, Any]:
    """A record of plain values that ``spec_from_json`` reads back to an equal spec.

    Fields that specs have gained stand in it where they are not the original's.
    """
    kind = next(name for name, cls in _KINDS.items() if type(spec) is cls)
    record = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(spec).items()}
    usual = {name: field.default for name, field in type(spec).__dataclass_fields__.items()}
    return {"kind": kind} | {n: v for n, v in record.items() if n in _FIRST or getattr(spec, n) != usual[n]}


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
    for name in ("dim_mults", "widths", "condition_mlp", "hidden"):
        if isinstance(fields.get(name), list):
            fields[name] = tuple(fields[name])
    try:
        if fields.get("embedding") is not None:
            fields["embedding"] = Embedding(**fields["embedding"])
        return cls(**fields)
    except TypeError as error:
        raise ValueError(f"spec: {error}") from None


# Fields that a record has always had.
_FIRST = {"horizon", "transition_dim", "dim", "dim_mults", "attention", "middle", "kernel_size", "groups"}
# Whole numbers that both networks have, and their range.
_SIZES = {
    "horizon": (1, MAX_HORIZON),
    "transition_dim": (1, 4096),
    "groups": (1, 4096),
    "group_size": (1, 4096),
    "dim": (4, 4096),
    "kernel_size": (1, 31),
}


def _check_sizes(spec: Spec) -> None:
    for name, limits in _SIZES.items():
        object.__setattr__(spec, name, whole(name, getattr(spec, name), *limits))
    _odd("kernel_size", spec.kernel_size)
    if spec.embedding is not None and not isinstance(spec.embedding, Embedding):
        raise ValueError(f"embedding: found {shown(spec.embedding)}, expected an Embedding")
    if spec.embedding is None and spec.dim % 2:
        raise ValueError(f"dim: found {spec.dim}, expected an even number (half sines, half cosines)")
    if spec.widths and spec.dim_mults:
        raise ValueError("widths: the levels have widths or dim_mults, not both; dim_mults must be empty")
    _widths(spec, "widths", 12)
    if not spec.widths and (not isinstance(spec.dim_mults, tuple) or not 1 <= len(spec.dim_mults) <= 12):
        raise ValueError(f"dim_mults: found {spec.dim_mults!r}, expected a tuple of 1 to 12 whole numbers")
    object.__setattr__(spec, "dim_mults", tuple(whole("dim_mults", mult, 1, 4096) for mult in spec.dim_mults))
    for width, what in zip(spec.levels, spec.widths or (f"{spec.dim} x {mult}" for mult in spec.dim_mults)):
        groups = spec.groups_of(width)
        if groups < 1 or width % groups:
            name = "widths" if spec.widths else "dim_mults"
            raise ValueError(f"{name}: {what} channels cannot be split into {spec.groups} groups of GroupNorm")


def _widths(spec: Spec, name: str, most: int, least: int = 0) -> None:
    given = getattr(spec, name)
    if not isinstance(given, tuple) or not least <= len(given) <= most:
        raise ValueError(f"{name}: found {shown(given)}, expected a tuple of {least} to {most} whole numbers")
    object.__setattr__(spec, name, tuple(whole(name, width, 1, 1 << 16) for width in given))


def _odd(name: str, value: Any) -> int:
    value = whole(name, value, *_SIZES["kernel_size"])
    if value % 2 == 0:
        raise ValueError(f"{name}: found {value}, expected an odd number")
    return value


def _one_of(name: str, value: Any, names: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in names:
        raise ValueError(f"{name}: found {value!r}, expected {' or '.join(repr(n) for n in names)}")

"""Spec -> Program: the networks of the original, op by op.

Each lowering gives ``net`` over the trajectory, ``time`` from the embedding of the denoising step to one row of the
time-embedding tables and, for a network that takes a condition, ``condition`` from that to what is added to every row.
Weight names are the package's own; formats translate to them.
Source: Janner et al. 2022, appendix C; the released TemporalUnet, ValueFunction and TemporalValue; Chi et al. 2023 and
Ajay et al. 2023 for conditions.
"""

from __future__ import annotations

from dataclasses import dataclass

from .program import Builder, Program
from .spec import InverseSpec, Spec, UNetSpec, ValueSpec

HEADS, HEAD_DIM = 4, 32  # of the original's linear attention


@dataclass(frozen=True)
class Lowered:
    """net: ``[D, H]`` (and a row of time tables) -> output; time: embedding ``[width, 1]`` -> that row, ``[S, 1]``.

    condition: ``[C, 1]`` -> what is added to the row, ``[S, 1]``; None if the network takes none, as ``time`` is for
    one that does not see the step.
    """

    net: Program
    time: Program | None = None
    condition: Program | None = None

    @property
    def programs(self) -> tuple[Program, ...]:
        """All that there are."""
        return tuple(program for program in (self.net, self.time, self.condition) if program is not None)

    @property
    def weights(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every weight of every program."""
        return {name: shape for program in self.programs for name, shape in program.weights.items()}


def lower(spec: Spec, horizon: int | None = None) -> Lowered:
    """The programs of a network at ``horizon`` (default: the one it was trained for); ValueError if it cannot."""
    if isinstance(spec, InverseSpec):
        return _lower_inverse(spec)
    horizon = spec.horizon if horizon is None else horizon
    spec.check_horizon(horizon)
    return _lower_unet(spec, horizon) if isinstance(spec, UNetSpec) else _lower_value(spec, horizon)


class _NetworkBuilder:
    """Builds the programs side by side: what a block adds or scales by in ``net`` is a projection in the others."""

    def __init__(self, spec: Spec, horizon: int) -> None:
        self.spec, e = spec, spec.time
        self.net = Builder((spec.transition_dim, horizon))
        self.time = Builder((e.width, 1))
        hidden = self.time.act(self.time.conv(0, "time.linear1", e.hidden, k=1), e.act)
        self.embedding = self.time.conv(hidden, "time.linear2", e.out, k=1)
        self.activated = self.time.act(self.embedding)
        self.row: int | None = None  # all projections so far, concatenated: a row of the time tables
        self.condition: Builder | None = None
        if getattr(spec, "condition", 0):
            self.condition, x = Builder((spec.condition, 1)), 0
            for i, width in enumerate(spec.condition_mlp):
                x = self.condition.conv(self.condition.act(x) if i else x, f"condition.linear{i + 1}", width, k=1)
            self.condition_activated = self.condition.act(x)
            self.condition_row: int | None = None

    def project(self, name: str, channels: int, *, activated: bool = True) -> None:
        """The next columns of a row: Linear(Mish([embedding, condition])), or of the embedding without the Mish.

        One dense layer over both is two whose results are added, so that either is computed on its own clock.
        """
        source = self.activated if activated else self.embedding
        part = self.time.conv(source, f"{name}.time", channels, k=1)
        self.row = part if self.row is None else self.time.concat(self.row, part)
        if self.condition is not None:
            part = self.condition.conv(self.condition_activated, f"{name}.condition", channels, k=1, bias=False)
            row = self.condition_row
            self.condition_row = part if row is None else self.condition.concat(row, part)

    def step_bias(self, x: int, name: str, *, activated: bool = True) -> int:
        """x plus the projection."""
        self.project(name, self.net.shapes[x][0], activated=activated)
        return self.net.step_bias(x)

    def conv_norm_act(
        self, x: int, name: str, channels: int, kernel: int | None = None, groups: int | None = None, act: str = "mish"
    ) -> int:
        x = self.net.conv(x, f"{name}.conv", channels, k=kernel or self.spec.kernel_size)
        return self.net.act(self.net.group_norm(x, f"{name}.norm", groups or self.spec.groups_of(channels)), act)

    def residual_block(self, x: int, name: str, channels: int, kernel: int | None = None) -> int:
        """ResidualTemporalBlock: conv-norm-Mish twice, the time's share after the first, plus x (1x1 if widths differ).

        With FiLM (Perez et al. 2018) the projection's first half scales what its second half is added to.
        """
        y = self.conv_norm_act(x, f"{name}.first", channels, kernel)
        if getattr(self.spec, "film", False):
            self.project(name, 2 * channels)
            y = self.net.film(y)
        else:
            y = self.step_bias(y, name)
        y = self.conv_norm_act(y, f"{name}.second", channels, kernel)
        if getattr(self.spec, "block_attention", False):
            y = self.net.add(self.attended(y, f"{name}.attention", channels, 1.0), y)
        return self.net.add(
            y, x if self.net.shapes[x][0] == channels else self.net.conv(x, f"{name}.skip", channels, k=1)
        )

    def level(self, x: int, name: str, channels: int, local: int | None = None) -> int:
        """Two residual blocks, then attention if the network has it. local: a condition, of which a block is added."""
        x = self.residual_block(x, f"{name}.block0", channels)
        if local is not None:
            x = self.net.add(x, self.residual_block(local, "local.block", channels))
        return self.attention(self.residual_block(x, f"{name}.block1", channels), f"{name}.attention")

    def attention(self, x: int, name: str) -> int:
        """x (or its norm) + out(attention(norm(x))).

        Keys are normalised over time, queries scaled by 1 / sqrt(head width).
        """
        if not getattr(self.spec, "attention", False):
            return x
        normed = self.net.channel_norm(x, f"{name}.norm")
        added = normed if self.spec.attention_adds == "norm" else x
        return self.net.add(self.attended(normed, name, self.net.shapes[x][0], HEAD_DIM**-0.5), added)

    def attended(self, x: int, name: str, channels: int, q_scale: float) -> int:
        """out(attention(x))."""
        net, inner = self.net, (HEADS * HEAD_DIM, self.net.shapes[x][1])
        qkv = net.conv(x, f"{name}.qkv", 3 * HEADS * HEAD_DIM, k=1, bias=False)
        mixed = net.emit("linear_attention", (qkv,), inner, heads=HEADS, q_scale=q_scale)
        return net.conv(mixed, f"{name}.out", channels, k=1)

    def done(self, output: int) -> Lowered:
        assert self.row is not None and self.net.table_width == self.time.shapes[self.row][0]
        condition = None if self.condition is None else self.condition.done(self.condition_row)
        return Lowered(self.net.done(output), self.time.done(self.row), condition)


def _lower_unet(spec: UNetSpec, horizon: int) -> Lowered:
    n = _NetworkBuilder(spec, horizon)
    widths = spec.levels
    x, local, skips = 0, None, []
    if spec.local:
        x, local = n.net.slice(0, 0, spec.predicted_dim), n.net.slice(0, spec.predicted_dim, spec.given)
    for i, width in enumerate(widths):
        x = n.level(x, f"down{i}", width, None if i else local)
        skips.append(x)
        if i < len(widths) - 1:
            x = n.net.conv(x, f"down{i}.downsample", width, k=3, stride=2)
    x = n.residual_block(x, "mid.block0", widths[-1])
    x = n.residual_block(n.attention(x, "mid.attention"), "mid.block1", widths[-1])
    # The first level's skip is never used: there is one level less on the way up (true of every released U-Net).
    for j, width in enumerate(reversed(widths[:-1])):
        x = n.level(n.net.concat(x, skips.pop()), f"up{j}", width)
        x = n.net.conv(x, f"up{j}.upsample", width, k=4, stride=2, pad=1, transposed=True)
    groups = spec.head_groups or spec.groups_of(spec.dim)
    x = n.conv_norm_act(x, "head", spec.dim, spec.head_kernel, groups, spec.head_act)
    return n.done(n.net.conv(x, "head.out", spec.transition_dim, k=1))


def _lower_value(spec: ValueSpec, horizon: int) -> Lowered:
    n = _NetworkBuilder(spec, horizon)
    x = 0
    for i, width in enumerate(spec.levels):
        x = n.level(x, f"down{i}", width)
        if spec.halve_last or i < len(spec.levels) - 1:
            x = n.net.conv(x, f"down{i}.downsample", width, k=3, stride=2)
    if spec.middle == "narrowing":
        for i, divisor in enumerate((2, 4)):
            width = spec.levels[-1] // divisor
            x = n.residual_block(x, f"mid{i}.block", width, spec.middle_kernel)
            x = n.net.conv(x, f"mid{i}.downsample", width, k=3, stride=2)
    channels, length = n.net.shapes[x]
    # The head is dense over [flattened x, embedding]; the embedding's columns and the bias go to the time tables.
    x = n.net.conv(x, "head.linear1", spec.hidden or channels * length // 2, k=length, pad=0, bias=False)
    x = n.net.act(n.step_bias(x, "head", activated=False))
    return n.done(n.net.conv(x, "head.linear2", 1, k=1))


def _lower_inverse(spec: InverseSpec) -> Lowered:
    b, x = Builder((2 * spec.observation_dim, 1)), 0
    for i, width in enumerate((*spec.hidden, spec.action_dim)):
        x = b.conv(b.act(x, spec.act) if i else x, f"linear{i + 1}", width, k=1)
    return Lowered(b.done(x))

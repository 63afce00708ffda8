"""Spec -> Program: the networks of the original, op by op.

Each lowering gives two programs: ``net`` over the trajectory, and ``time`` from the embedding of the denoising step
to one row of the time-embedding tables. Weight names are the package's own; formats translate to them.
Source: Janner et al. 2022, appendix C; the released TemporalUnet, ValueFunction and TemporalValue.
"""

from __future__ import annotations

from dataclasses import dataclass

from .program import Builder, Program
from .spec import Spec, UNetSpec, ValueSpec

HEADS, HEAD_DIM = 4, 32  # of the original's linear attention


@dataclass(frozen=True)
class Lowered:
    """net: ``[D, H]`` (and a row of time tables) -> output; time: embedding ``[dim, 1]`` -> that row, ``[S, 1]``."""

    net: Program
    time: Program

    @property
    def weights(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every weight of both programs."""
        return {**self.net.weights, **self.time.weights}


def lower(spec: Spec, horizon: int | None = None) -> Lowered:
    """The programs of a network at ``horizon`` (default: the one it was trained for); ValueError if it cannot."""
    horizon = spec.horizon if horizon is None else horizon
    spec.check_horizon(horizon)
    return _lower_unet(spec, horizon) if isinstance(spec, UNetSpec) else _lower_value(spec)


class _NetworkBuilder:
    """Builds ``net`` and ``time`` side by side: each step_bias of the one is a projection in the other."""

    def __init__(self, spec: Spec, horizon: int) -> None:
        self.spec = spec
        self.net = Builder((spec.transition_dim, horizon))
        self.time = Builder((spec.dim, 1))
        hidden = self.time.act(self.time.conv(0, "time.linear1", 4 * spec.dim, k=1))
        self.embedding = self.time.conv(hidden, "time.linear2", spec.dim, k=1)
        self.activated = self.time.act(self.embedding)
        self.biases: int | None = None  # all projections so far, concatenated: a row of the time tables

    def step_bias(self, x: int, name: str, *, activated: bool = True) -> int:
        """x + Linear(Mish(embedding)), or without the Mish."""
        source = self.activated if activated else self.embedding
        part = self.time.conv(source, name, self.net.shapes[x][0], k=1)
        self.biases = part if self.biases is None else self.time.concat(self.biases, part)
        return self.net.step_bias(x)

    def conv_norm_mish(self, x: int, name: str, channels: int) -> int:
        x = self.net.conv(x, f"{name}.conv", channels, k=self.spec.kernel_size)
        return self.net.act(self.net.group_norm(x, f"{name}.norm", self.spec.groups))

    def residual_block(self, x: int, name: str, channels: int) -> int:
        """ResidualTemporalBlock: conv-norm-Mish twice, the time bias after the first, plus x (1x1 if widths differ)."""
        y = self.step_bias(self.conv_norm_mish(x, f"{name}.first", channels), f"{name}.time")
        y = self.conv_norm_mish(y, f"{name}.second", channels)
        return self.net.add(
            y, x if self.net.shapes[x][0] == channels else self.net.conv(x, f"{name}.skip", channels, k=1)
        )

    def level(self, x: int, name: str, channels: int) -> int:
        """Two residual blocks, then attention if the network has it."""
        x = self.residual_block(self.residual_block(x, f"{name}.block0", channels), f"{name}.block1", channels)
        return self.attention(x, f"{name}.attention")

    def attention(self, x: int, name: str) -> int:
        """x + out(attention(norm(x))): keys are normalised over time, queries scaled by 1 / sqrt(head width)."""
        if not getattr(self.spec, "attention", False):
            return x
        net, (channels, length) = self.net, self.net.shapes[x]
        qkv = net.conv(net.channel_norm(x, f"{name}.norm"), f"{name}.qkv", 3 * HEADS * HEAD_DIM, k=1, bias=False)
        mixed = net.emit("linear_attention", (qkv,), (HEADS * HEAD_DIM, length), heads=HEADS, q_scale=HEAD_DIM**-0.5)
        return net.add(net.conv(mixed, f"{name}.out", channels, k=1), x)

    def done(self, output: int) -> Lowered:
        assert self.biases is not None and self.net.table_width == self.time.shapes[self.biases][0]
        return Lowered(self.net.done(output), self.time.done(self.biases))


def _lower_unet(spec: UNetSpec, horizon: int) -> Lowered:
    n = _NetworkBuilder(spec, horizon)
    widths = [spec.dim * mult for mult in spec.dim_mults]
    x, skips = 0, []
    for i, width in enumerate(widths):
        x = n.level(x, f"down{i}", width)
        skips.append(x)
        if i < len(widths) - 1:
            x = n.net.conv(x, f"down{i}.downsample", width, k=3, stride=2)
    x = n.residual_block(x, "mid.block0", widths[-1])
    x = n.residual_block(n.attention(x, "mid.attention"), "mid.block1", widths[-1])
    # The first level's skip is never used: there is one level less on the way up (true of every released U-Net).
    for j, width in enumerate(reversed(widths[:-1])):
        x = n.level(n.net.concat(x, skips.pop()), f"up{j}", width)
        x = n.net.conv(x, f"up{j}.upsample", width, k=4, stride=2, pad=1, transposed=True)
    x = n.conv_norm_mish(x, "head", spec.dim)
    return n.done(n.net.conv(x, "head.out", spec.transition_dim, k=1))


def _lower_value(spec: ValueSpec) -> Lowered:
    n = _NetworkBuilder(spec, spec.horizon)
    x = 0
    for i, mult in enumerate(spec.dim_mults):
        x = n.level(x, f"down{i}", spec.dim * mult)
        x = n.net.conv(x, f"down{i}.downsample", spec.dim * mult, k=3, stride=2)
    if spec.middle == "narrowing":
        for i, divisor in enumerate((2, 4)):
            width = spec.dim * spec.dim_mults[-1] // divisor
            x = n.residual_block(x, f"mid{i}.block", width)
            x = n.net.conv(x, f"mid{i}.downsample", width, k=3, stride=2)
    channels, length = n.net.shapes[x]
    # The head is dense over [flattened x, embedding]; the embedding's columns and the bias go to the time tables.
    x = n.net.conv(x, "head.linear1", channels * length // 2, k=length, pad=0, bias=False)
    x = n.net.act(n.step_bias(x, "head.time", activated=False))
    return n.done(n.net.conv(x, "head.linear2", 1, k=1))

"""The case table of ops: every kind at sizes 1, 2, 3, odd, no multiple of a vector's width, and the largest in use.

The largest are those of the named workloads: 512 channels in with five taps, horizon 384, one dense head. A case draws
its numbers from its name and a seed, so that it is the same case whatever other cases there are.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from ..core.lower import HEAD_DIM, lower
from ..core.ops import ACTS, COLUMNS_READ, EPS, conv_length
from ..core.passes import fuse, vjp
from ..core.program import Builder, Op, Program, Shape
from ..core.spec import UNetSpec, ValueSpec
from .weights import random_weights


@dataclass(frozen=True, eq=False)
class OpCase:
    """One op (or a few that engines treat as one) and its numbers, all float32.

    like: how the inputs are drawn, see ``DRAWS``. weights, inputs: by name, inputs ``[batch, C, H]``; table: one row of
    time tables ``[S]``, or None.
    """

    name: str
    program: Program
    batch: int = 2
    like: str = "normal"
    seed: int = 0

    def seeded(self, seed: int) -> OpCase:
        """The same case with other numbers."""
        return replace(self, seed=seed)

    @cached_property
    def weights(self) -> dict[str, NDArray[np.float32]]:
        return random_weights(self.program, self._rng("weights"))

    @cached_property
    def inputs(self) -> dict[str, NDArray[np.float32]]:
        rng = self._rng("inputs")
        shapes = {name: (self.batch, *self.program.shapes[v]) for name, v in self.program.inputs.items()}
        # Gradients that come in are plain normals: the delicate one is the value they are taken at.
        return {
            name: (DRAWS["normal"] if n else DRAWS[self.like])(rng, shape).astype(np.float32)
            for n, (name, shape) in enumerate(shapes.items())
        }

    @cached_property
    def table(self) -> NDArray[np.float32] | None:
        width = self.program.table_width
        return self._rng("table").normal(size=width).astype(np.float32) if width else None

    def _rng(self, what: str) -> np.random.Generator:
        return np.random.default_rng([zlib.crc32(f"{self.name} {what}".encode()), self.seed])


DRAWS = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    # A mean thirty times the spread: a variance taken as a difference of squares is lost.
    "offset": lambda rng, shape: 30 + rng.normal(size=shape),
    # A variance below eps: the norm hardly divides.
    "small": lambda rng, shape: 1e-3 * rng.normal(size=shape),
    # No variance at all. Groups of 2^n such numbers have exact sums, so that nothing is left for eps to magnify.
    "constant": lambda rng, shape: np.full(shape, 0.75),
    # A softmax that is nearly one-hot, and exponentials that must not overflow.
    "large": lambda rng, shape: 30 * rng.normal(size=shape),
    # For activations: the whole range of exp, both sides of softplus's threshold, zero and what rounds to it.
    "range": lambda rng, shape: np.resize(
        np.concatenate(([0.0, -0.0, 1e-30, -1e-30, 20.0, -20.0, 88.8, -104.0], rng.uniform(-110, 110, 40))), shape
    ),
    # Its negative tail by itself, where the result is small and its relative precision shows.
    "tail": lambda rng, shape: rng.uniform(-25, -8, shape),
}


@cache
def op_cases() -> tuple[OpCase, ...]:
    """The case table of ops. Names are unique; every kind of core/ops.py occurs alone."""
    cases = (*_convs(), *_norms(), *_elementwise(), *_attentions(), *_blocks(), *_networks())
    assert len({case.name for case in cases}) == len(cases)
    return cases


def _single(kind: str, ins: list[Shape], outs: list[Shape], weights: dict[str, tuple[int, ...]], **attrs) -> Program:
    """A program of one op. Its time table is three columns wider than the op reads, where it reads one."""
    width = attrs["table"] + COLUMNS_READ[kind] * outs[0][0] + 3 if attrs.get("table", -1) >= 0 else 0
    numbers = tuple(range(len(ins) + len(outs)))
    op = Op(kind, numbers[len(ins) :], numbers[: len(ins)], tuple(weights), attrs)
    inputs = dict(zip(("x", "dy" if "vjp" in kind else "r"), numbers[: len(ins)], strict=False))
    outputs = dict(zip(("y", "u"), numbers[len(ins) :], strict=False))
    return Program((op,), (*ins, *outs), inputs, outputs, weights, width)


def _conv(
    c_in: int, c_out: int, h: int, k: int = 5, *, stride: int = 1, pad: int | None = None, transposed: bool = False,
    longer: int = 0, bias: bool = True, residual: bool = False, batch: int = 2, norm: dict | None = None,
) -> OpCase:  # fmt: skip
    """A conv, or with ``norm`` (groups, table, second output) a conv_block. ``longer``: an adjoint's extra output."""
    pad = k // 2 if pad is None else pad
    length = conv_length(h, k, stride, pad, transposed) + longer
    weights = {"w": (c_in, c_out, k) if transposed else (c_out, c_in, k)}
    weights |= {"b": (c_out,)} if bias else {}
    ins, outs = [(c_in, h), *([(c_out, length)] if residual else [])], [(c_out, length)]
    attrs = {"k": k, "stride": stride, "pad": pad, "transposed": transposed}
    name = f"{c_in}x{h} to {c_out}x{length} k{k} s{stride} p{pad}" + " transposed" * transposed
    name += " unbiased" * (not bias) + " + r" * residual
    if norm is None:
        return OpCase(f"conv {name} B{batch}", _single("conv", ins, outs, weights, **attrs), batch)
    groups, table, second = norm["groups"], norm.get("table", -1), norm.get("second", False)
    weights |= {"gamma": (c_out,), "beta": (c_out,)}
    act = norm.get("act", "mish")
    program = _single(
        "conv_block", ins, outs * (1 + second), weights, **attrs, groups=groups, eps=EPS, act=act, table=table
    )
    name += f" G{groups} table {table} {act}" + " with u" * second
    return OpCase(f"conv_block {name} B{batch}", program, batch)


def _convs() -> Iterator[OpCase]:
    for c_in, c_out, h, k in (
        (1, 1, 1, 1), (1, 1, 3, 5), (2, 3, 2, 3), (3, 2, 3, 5), (5, 7, 7, 3), (6, 32, 16, 5), (9, 16, 6, 5),
        (14, 32, 32, 5), (15, 17, 9, 5), (17, 15, 11, 5), (23, 32, 4, 5), (23, 31, 13, 1), (24, 33, 10, 3),
        (32, 6, 384, 1), (32, 32, 384, 5), (31, 47, 5, 7), (33, 65, 3, 5), (48, 96, 6, 5), (8, 8, 5, 31),
        (128, 384, 4, 1), (256, 256, 1, 5), (256, 256, 4, 5), (512, 128, 96, 5), (512, 512, 2, 5), (512, 512, 1, 1),
    ):  # fmt: skip
        yield _conv(c_in, c_out, h, k, batch=1 if c_in * c_out * h > 1e6 else 3)
    for batch in (1, 2, 5, 17):
        yield _conv(6, 24, 8, batch=batch)
    yield _conv(7, 5, 6, residual=True)
    yield _conv(32, 32, 9, 1, residual=True, bias=False)
    yield _conv(64, 128, 4, bias=False)
    for h in (1, 2, 3, 4, 5, 20, 384):  # down-sampling
        yield _conv(32, 32, h, 3, stride=2)
    yield _conv(3, 5, 7, 3, stride=2, residual=True)
    yield _conv(256, 256, 8, 3, stride=2)
    for h in (1, 2, 3, 16, 192):  # up-sampling
        yield _conv(32, 32, h, 4, stride=2, pad=1, transposed=True)
    yield _conv(5, 3, 3, 4, stride=2, pad=1, transposed=True, residual=True)
    yield _conv(256, 256, 4, 4, stride=2, pad=1, transposed=True)
    for h in (1, 2, 3, 4, 5, 7, 20):  # adjoints of down-sampling, whose input had h steps
        out = conv_length(h, 3, 2, 1, False)
        yield _conv(24, 24, out, 3, stride=2, transposed=True, bias=False, longer=h - conv_length(out, 3, 2, 1, True))
    yield _conv(24, 16, 3, 1, stride=2, transposed=True, bias=False, longer=1)  # whose last step met no tap
    yield _conv(5, 3, 2, 2, stride=3, pad=0, transposed=True, bias=False, longer=2)
    for h in (1, 2, 3, 8):  # of up-sampling
        yield _conv(24, 24, 2 * h, 4, stride=2, pad=1, bias=False)
    for c_in, c_out, h, k in ((32, 14, 32, 5), (5, 3, 3, 5), (17, 9, 1, 5), (33, 23, 7, 1), (256, 512, 4, 5)):
        yield _conv(c_in, c_out, h, k, transposed=True, bias=False)
    yield _conv(16, 16, 4, transposed=True, bias=False, residual=True)
    for channels, h in ((64, 1), (64, 2), (31, 3), (16, 12)):  # the dense head: k = H, no padding; and its adjoint
        yield _conv(channels, channels * h // 2, h, h, pad=0, bias=False)
        yield _conv(channels * h // 2, channels, 1, h, pad=0, transposed=True, bias=False)
    yield _conv(32, 1, 1, 1)


# Channels, length, groups: one element per group, two, odd, no multiple of a vector; the named workloads' largest.
_GROUPED = (
    (8, 1, 8), (8, 1, 1), (16, 1, 8), (8, 2, 8), (24, 1, 8), (8, 3, 2), (12, 7, 4), (40, 9, 8), (24, 5, 8), (33, 3, 11),
    (32, 4, 8), (48, 6, 8), (256, 1, 8), (256, 4, 8), (512, 3, 8), (32, 384, 8),
)  # fmt: skip


def _norms() -> Iterator[OpCase]:
    def grouped(
        kind: str, c: int, h: int, groups: int, like: str = "normal", batch: int = 2, act: str = "mish"
    ) -> OpCase:
        ins = [(c, h)] * (1 if kind == "group_norm" else 2)
        weights = {"gamma": (c,)} if kind == "group_norm_vjp" else {"gamma": (c,), "beta": (c,)}
        attrs = {"groups": groups, "eps": EPS, **({"act": act} if kind == "norm_act_vjp" else {})}
        name = f"{kind} {c}x{h} G{groups} {like} B{batch}" + f" {act}" * (kind == "norm_act_vjp")
        return OpCase(name, _single(kind, ins, [(c, h)], weights, **attrs), batch, like)

    for kind in ("group_norm", "group_norm_vjp", "norm_act_vjp"):
        for c, h, groups in _GROUPED:
            yield grouped(kind, c, h, groups)
        yield grouped(kind, 24, 5, 8, "small", batch=20)
        for like in ("offset", "small", "constant"):
            yield grouped(kind, 64, 16, 8, like)
    for act in ACTS[1:]:
        yield grouped("norm_act_vjp", 40, 9, 8, act=act)
    for c, h, like in (
        (1, 1, "normal"), (2, 3, "normal"), (3, 2, "normal"), (17, 5, "normal"), (23, 1, "normal"), (32, 7, "normal"),
        (128, 4, "normal"), (256, 1, "normal"), (512, 2, "normal"), (32, 384, "normal"), (48, 5, "offset"),
        (48, 5, "small"), (48, 5, "constant"),
    ):  # fmt: skip
        program = _single("channel_norm", [(c, h)], [(c, h)], {"gamma": (c,), "beta": (c,)}, eps=EPS)
        yield OpCase(f"channel_norm {c}x{h} {like}", program, 3, like)


def _elementwise() -> Iterator[OpCase]:
    shapes = ((1, 1), (2, 3), (3, 7), (17, 5), (32, 4), (31, 1), (512, 3), (32, 384))
    for kind in ("act", "act_vjp"):
        for act in ACTS:
            for c, h in shapes if act == "mish" else shapes[2:4]:
                program = _single(kind, [(c, h)] * (1 if kind == "act" else 2), [(c, h)], {}, act=act)
                yield OpCase(f"{kind} {act} {c}x{h}", program)
            for like in ("range", "tail"):
                program = _single(kind, [(17, 9)] * (1 if kind == "act" else 2), [(17, 9)], {}, act=act)
                yield OpCase(f"{kind} {act} 17x9 {like}", program, like=like)
    for c, h in shapes:
        yield OpCase(f"add {c}x{h}", _single("add", [(c, h)] * 2, [(c, h)], {}))
    for c, h, table in ((1, 1, 0), (3, 7, 0), (33, 5, 4), (32, 32, 17), (512, 2, 0)):
        for kind in ("step_bias", "film"):
            yield OpCase(f"{kind} {c}x{h} table {table}", _single(kind, [(c, h)], [(c, h)], {}, table=table))
    for a, b, h in ((1, 1, 1), (3, 5, 7), (17, 15, 2), (16, 16, 3), (256, 256, 4), (32, 6, 384)):
        yield OpCase(f"concat {a}+{b}x{h}", _single("concat", [(a, h), (b, h)], [(a + b, h)], {}))
    for c, lo, width, h in ((1, 0, 1, 1), (7, 0, 3, 5), (7, 3, 4, 2), (33, 16, 17, 3), (512, 256, 256, 4)):
        yield OpCase(f"slice {lo}:{lo + width} of {c}x{h}", _single("slice", [(c, h)], [(width, h)], {}, lo=lo))
    yield from _aliases()


def _aliases() -> Iterator[OpCase]:
    """Values that engines need not copy: what is concatenated or sliced lies in one buffer, and must survive there."""
    b = Builder((5, 6))
    yield OpCase("add x + x", b.done(b.add(0, 0)))
    b = Builder((5, 6))
    yield OpCase("concat x, x", b.done(b.concat(b.act(0), b.act(0)), b.concat(0, 0)))
    b = Builder((5, 6))
    joined = b.concat(b.act(0), b.conv(0, "c", 9, k=3))
    yield OpCase("concat of made values, read by a convolution", b.done(b.conv(joined, "d", 7, k=5), joined))
    b = Builder((12, 3))
    x = b.act(0)
    yield OpCase(
        "slices of one value", b.done(b.add(b.slice(x, 0, 5), b.slice(x, 7, 5)), b.conv(b.slice(x, 3, 6), "c", 4, k=3))
    )
    b = Builder((6, 4))
    joined = b.concat(b.act(0), b.conv(0, "c", 9, k=3))
    inner = b.slice(b.slice(joined, 4, 8), 1, 5)
    yield OpCase("slice of a slice of a concat", b.done(b.conv(inner, "d", 3, k=3), joined))


def _attentions() -> Iterator[OpCase]:
    for heads, width, h, like in (
        (4, HEAD_DIM, 1, "normal"), (4, HEAD_DIM, 2, "normal"), (4, HEAD_DIM, 3, "normal"), (4, HEAD_DIM, 4, "normal"),
        (4, HEAD_DIM, 7, "normal"), (4, HEAD_DIM, 16, "normal"), (4, HEAD_DIM, 33, "normal"), (4, HEAD_DIM, 5, "large"),
        (4, HEAD_DIM // 2, 4, "constant"), (1, 1, 1, "normal"), (1, 8, 5, "normal"), (2, 3, 6, "normal"),
        (3, 17, 3, "normal"),
    ):  # fmt: skip
        inner = heads * width
        program = _single("linear_attention", [(3 * inner, h)], [(inner, h)], {}, heads=heads, q_scale=width**-0.5)
        yield OpCase(f"linear_attention {heads}x{width} H{h} {like}", program, 3, like)


def _blocks() -> Iterator[OpCase]:
    for c_in, c_out, h, k, groups in (
        (1, 8, 1, 5, 8), (2, 3, 2, 3, 3), (3, 8, 3, 5, 2), (6, 32, 16, 5, 8), (14, 32, 32, 5, 8), (23, 32, 4, 5, 8),
        (17, 24, 7, 5, 8), (24, 40, 5, 3, 8), (33, 12, 9, 5, 4), (48, 48, 6, 5, 8), (16, 16, 1, 5, 8),
        (32, 32, 384, 5, 8), (256, 256, 1, 5, 8), (256, 256, 4, 5, 8), (512, 128, 24, 5, 8), (512, 512, 2, 5, 8),
    ):  # fmt: skip
        yield _conv(c_in, c_out, h, k, norm={"groups": groups})
    for residual in (False, True):
        for table in (-1, 0, 5):
            for second in (False, True):
                extra = {"groups": 8, "table": table, "second": second}
                yield _conv(13, 24, 6, residual=residual, batch=3, norm=extra)
    extra = {"groups": 8, "table": 32, "second": True}
    yield _conv(64, 128, 16, residual=True, norm=extra)
    yield _conv(16, 16, 4, residual=True, batch=17, norm=extra)
    yield _conv(16, 24, 5, 3, stride=2, residual=True, norm=extra)
    yield _conv(16, 24, 3, 4, stride=2, pad=1, transposed=True, norm=extra)
    yield _conv(12, 8, 7, 1, norm=extra)
    for act in ACTS[1:]:
        yield _conv(13, 24, 6, residual=True, norm=extra | {"act": act})


def _networks() -> Iterator[OpCase]:
    """Whole networks, fused: every op meets its neighbours in memory."""
    for name, spec in {
        "unet H16": UNetSpec(16, 6, dim=16, dim_mults=(1, 2, 4)),
        "unet H4 with attention": UNetSpec(4, 23, dim=16, dim_mults=(1, 4, 8), attention=True),
        "unet of dim 24, kernel 3": UNetSpec(6, 9, dim=24, dim_mults=(2, 1), kernel_size=3),
        "unet with FiLM, widths, few groups": UNetSpec(
            8,
            5,
            dim=16,
            dim_mults=(),
            widths=(16, 24, 40),
            film=True,
            group_size=4,
            head_groups=4,
            head_kernel=3,
            head_act="silu",
        ),
        "unet whose attention adds its norm": UNetSpec(
            4, 7, dim=16, dim_mults=(1, 2), attention=True, attention_adds="norm"
        ),
        "value H8 whose last level keeps its length": ValueSpec(
            8, 6, dim=16, dim_mults=(1, 2), group_size=4, middle_kernel=3, halve_last=False, hidden=5
        ),
        "value H20": ValueSpec(20, 6, dim=16, dim_mults=(1, 2, 8)),
        "value H12 without middle": ValueSpec(12, 6, dim=16, dim_mults=(1, 2, 2), middle="none"),
        "value H4": ValueSpec(4, 23, dim=16, dim_mults=(1, 4, 8)),
    }.items():
        program = lower(spec).net
        yield OpCase(f"network {name}", fuse(program), batch=5)
        if isinstance(spec, ValueSpec):
            yield OpCase(f"network gradient of {name}", fuse(vjp(program)), batch=5)

"""A Program -> the launches that run it once, over an arena of activations, reused as values die."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from numpy.typing import NDArray

from ...core.ops import CONVS
from ...core.passes import plan_memory
from ...core.program import Op, Program
from ..gpu.fusion_groups import FusionGroup, GroupedProgram, fusion_groups
from ..gpu.refs import Ref, ValueRef
from .launches import Launch
from .target import Target
from .tiling import ProblemSize, power
from .weights import Store


@dataclass(frozen=True)
class NetworkLaunches:
    """launches: in order; their "table" pointers are relative to one row of time-embedding tables, buffer "table row".
    outputs: where the program's outputs lie, by name. arena: float32 needed. partials, tile_counters: elements of the
    scratch buffers needed."""

    launches: tuple[Launch, ...]
    outputs: Mapping[str, ValueRef]
    arena: int
    partials: int
    tile_counters: int


@dataclass(frozen=True)
class TableRef:
    """Where the time-embedding tables of a denoising step lie: the first sample's row, and ``ld`` numbers to the next
    sample's (0: all see the same). sample: the first row of what is added to it for each sample, or None; sample_ld."""

    row: Ref
    ld: int = 0
    sample: Ref | None = None
    sample_ld: int = 0


def network_launches(
    program: Program, weights: Mapping[str, NDArray], batch: int, inputs: Mapping[str, ValueRef], *, arena: str,
    store: Store, target: Target,
) -> NetworkLaunches:  # fmt: skip
    """The launches of a fused Program. inputs: where each lies, by name; arena: the name of the activations' buffer."""
    return _Builder(program, weights, batch, inputs, arena, store, target).done()


def at_denoising_step(launches: tuple[Launch, ...], table: TableRef) -> list[Launch]:
    """The same launches with their step biases taken from the time-embedding tables at ``table``."""

    def placed(launch: Launch) -> Launch:
        column = launch.pointers.get("table")
        if column is None:
            return launch
        pointers = {**launch.pointers, "table": table.row + column.offset}
        pointers["sample_table"] = None if table.sample is None else table.sample + column.offset
        return replace(
            launch, pointers=pointers, constants={**launch.constants, "LDT": table.ld, "LDS": table.sample_ld}
        )

    return [placed(launch) for launch in launches]


class _Builder:
    def __init__(
        self, program: Program, weights: Mapping[str, NDArray], batch: int, inputs: Mapping[str, ValueRef], arena: str,
        store: Store, target: Target,
    ) -> None:  # fmt: skip
        self.program, self.weights, self.batch, self.arena = program, weights, batch, arena
        self.store, self.target = store, target
        self.groups = fusion_groups(program)
        self.memory = plan_memory(GroupedProgram(tuple(self.groups), program.shapes, program.inputs, program.outputs))
        self.refs = {program.inputs[name]: ref for name, ref in inputs.items()}
        self.launches: list[Launch] = []
        self.partials = self.tile_counters = 0

    def done(self) -> NetworkLaunches:
        for group in self.groups:
            if isinstance(group, Op):
                self._join(group)
            elif group.op.kind in CONVS:
                self._conv(group)
            else:
                getattr(self, f"_{group.op.kind}")(group.op)
        outputs = {name: self.ref(v) for name, v in self.program.outputs.items()}
        return NetworkLaunches(
            tuple(self.launches), outputs, self.batch * self.memory.size, self.partials, self.tile_counters
        )

    def ref(self, value: int) -> ValueRef:
        """Where a value lies."""
        if value not in self.refs:
            at = self.memory.views[value]
            self.refs[value] = ValueRef(Ref(self.arena, self.batch * at.offset + at.channel), at.ld)
        return self.refs[value]

    def _emit(
        self, kernel: str, grid: tuple[int, ...], pointers: dict, warps: int = 4, pipelined: int = 1, **constants
    ) -> None:
        grid = (*grid, 1, 1)[:3]
        constants["PDL"] = self.target.pdl
        self.launches.append(Launch(kernel, grid, pointers, constants, {}, warps, pipelined))

    def _join(self, op: Op) -> None:
        if op.kind == "slice":
            self.refs[op.outs[0]] = self.ref(op.ins[0]).columns(op.attrs["lo"])
        elif op.outs[0] not in self.memory.aliases:  # not written in place
            into = self.ref(op.outs[0])
            for value in op.ins:
                self._elementwise("copy", value, into)
                into = into.columns(self.program.shapes[value][0])

    def _conv(self, group: FusionGroup) -> None:
        op, shapes, tail = group.op, self.program.shapes, group.tail
        a, (ci, h_in), (co, h) = op.attrs, shapes[op.ins[0]], shapes[group.outs[0]]
        mode = tail.kind if tail else "norm_act" if op.kind == "conv_block" else "none"
        norm = mode in ("norm_act", "norm_act_vjp")
        groups = (tail or op).attrs["groups"] if norm else None
        width = co // groups if norm else 16
        groups = groups or -(-co // width)
        residual = group.skip.ins[0] if group.skip else op.ins[1] if len(op.ins) == 2 else None
        how = None if residual is None else "conv" if group.skip else "same"
        late = op.kind == "conv_block"
        problem = ProblemSize(
            self.batch, h, ci, a["k"], shapes[residual][0] if group.skip else 0, groups, width, norm,
            self.target.operand, self.target.dot,
        )  # fmt: skip
        tiling, cp = self.target.tiling(problem), power(width)
        grid = tiling.grid(problem)
        layout = {"bk": tiling.bk, "cg": width, "cp": cp, "columns": grid[1] * tiling.gb * cp}
        if tiling.has_partials(problem):
            self.partials = max(self.partials, grid[2] * self.batch * h * layout["columns"])
            self.tile_counters = max(self.tile_counters, grid[0] * grid[1])
        table = group.bias.attrs["table"] if group.bias else a["table"] if late else -1
        x, y = self.ref(op.ins[0]), self.ref(group.outs[0])
        r = None if residual is None else self.ref(residual)
        at = self.ref(tail.ins[0]) if mode in ("act_vjp", "norm_act_vjp") else None
        pre = None if group.pre is None else self.ref(group.pre)
        affine = op.weights[2:] if late else tail.weights if mode == "norm_act_vjp" else ()
        gamma, beta = (self._vector(name) for name in affine) if affine else (None, None)
        bias = op.weights[1] if len(op.weights) > 1 else None
        skip = group.skip.weights if group.skip else ()
        pointers = {
            "x": x.ref,
            "w": self._packed(op.weights[0], a["transposed"], layout),
            "bias": self._vector(bias) if bias else None,
            "r": r and r.ref,
            "skip_w": self._packed(skip[0], group.skip.attrs["transposed"], layout) if skip else None,
            "skip_bias": self._vector(skip[1]) if len(skip) > 1 else None,
            "gamma": gamma,
            "beta": beta,
            "table": Ref("table row", table) if table >= 0 else None,
            "sample_table": None,
            "u": at and at.ref,
            "pre": pre and pre.ref,
            "y": y.ref,
            "partials": Ref("partials") if tiling.has_partials(problem) else None,
            "tile_counters": Ref("tile_counters", 0, "int32") if tiling.has_partials(problem) else None,
        }
        self._emit(
            "conv", grid, pointers, tiling.warps, tiling.stages,
            B=self.batch, H_IN=h_in, CI=ci, LDX=x.ld, H=h, CO=co, LDY=y.ld, K=a["k"], STRIDE=a["stride"], PAD=a["pad"],
            TRANSPOSED=bool(a["transposed"]), CR=problem.skip, LDR=r.ld if r else 0, LDU=at.ld if at else 0,
            LDP=pre.ld if pre else 0, LDT=0, LDS=0, CG=width, CP=cp, EARLY="none" if late or not how else how,
            LATE=how if late and how else "none", BEFORE=table >= 0 and not late, AFTER=table >= 0 and late, MODE=mode,
            EPS=(op if late else tail).attrs["eps"] if norm else 0.0,
            ACT=(tail or op).attrs["act"] if mode != "none" else "none",
            NB=tiling.nb, BM=tiling.bm, HT=tiling.ht, GB=tiling.gb, BK=tiling.bk, SPLIT_K=tiling.split_k,
            COLS=layout["columns"], OPERAND=self.target.operand, DOT=self.target.dot, EXACT=self.target.exact,
            EMULATE=self.target.interpreted,
        )  # fmt: skip

    def _vector(self, name: str) -> Ref:
        return self.store.vector(self.weights, name)

    def _packed(self, name: str, transposed: bool, layout: dict[str, int]) -> Ref:
        return self.store.convolution(self.weights, name, bool(transposed), **layout)

    def _group_norm(self, op: Op, mode: str = "norm") -> None:
        c, h = self.program.shapes[op.outs[0]]
        groups = op.attrs["groups"]
        width = c // groups
        cp, hp = power(width), power(h)
        nb, gb = self.target.group_tile(self.batch, hp, groups, cp)
        u, y = self.ref(op.ins[0]), self.ref(op.outs[0])
        dy = self.ref(op.ins[1]) if len(op.ins) == 2 else None
        pointers = {
            "u": u.ref, "dy": dy and dy.ref, "gamma": self._vector(op.weights[0]),
            "beta": self._vector(op.weights[1]) if len(op.weights) > 1 else None, "y": y.ref,
        }  # fmt: skip
        self._emit(
            "group_norm", (-(-self.batch // nb), -(-groups // gb)), pointers, 8 if nb * hp * gb * cp > 4096 else 4,
            B=self.batch, H=h, C=c, LDU=u.ld, LDD=dy.ld if dy else 0, LDY=y.ld, CG=width, CP=cp, MODE=mode,
            EPS=op.attrs["eps"], ACT=op.attrs.get("act", "none"), NB=nb, HP=hp, GB=gb, EXACT=self.target.exact,
        )  # fmt: skip

    def _group_norm_vjp(self, op: Op) -> None:
        self._group_norm(op, "norm_vjp")

    def _norm_act_vjp(self, op: Op) -> None:
        self._group_norm(op, "norm_act_vjp")

    def _channel_norm(self, op: Op) -> None:
        c, h = self.program.shapes[op.outs[0]]
        rows, cp = self.batch * h, power(c)
        br = self.target.row_tile(rows, cp)
        x, y = self.ref(op.ins[0]), self.ref(op.outs[0])
        gamma, beta = (self._vector(name) for name in op.weights)
        self._emit(
            "channel_norm", (-(-rows // br),), {"x": x.ref, "gamma": gamma, "beta": beta, "y": y.ref},
            ROWS=rows, C=c, LDX=x.ld, LDY=y.ld, EPS=op.attrs["eps"], BR=br, CP=cp,
        )  # fmt: skip

    def _linear_attention(self, op: Op) -> None:
        inner, h = self.program.shapes[op.outs[0]]
        heads = op.attrs["heads"]
        x, y = self.ref(op.ins[0]), self.ref(op.outs[0])
        self._emit(
            "linear_attention", (self.batch, heads), {"qkv": x.ref, "y": y.ref},
            H=h, HEADS=heads, W=inner // heads, LDX=x.ld, LDY=y.ld, Q_SCALE=float(op.attrs["q_scale"]),
            BH=max(16, min(32, power(h))), WP=max(16, power(inner // heads)),
        )  # fmt: skip

    def _act(self, op: Op) -> None:
        self._elementwise("act", op.ins[0], self.ref(op.outs[0]), act=op.attrs["act"])

    def _act_vjp(self, op: Op) -> None:
        self._elementwise("act_vjp", op.ins[0], self.ref(op.outs[0]), self.ref(op.ins[1]), act=op.attrs["act"])

    def _add(self, op: Op) -> None:
        self._elementwise("add", op.ins[0], self.ref(op.outs[0]), self.ref(op.ins[1]))

    def _step_bias(self, op: Op) -> None:
        self._elementwise("bias", op.ins[0], self.ref(op.outs[0]), table=Ref("table row", op.attrs["table"]))

    def _film(self, op: Op) -> None:
        self._elementwise("film", op.ins[0], self.ref(op.outs[0]), table=Ref("table row", op.attrs["table"]))

    def _elementwise(
        self, mode: str, value: int, y: ValueRef, other: ValueRef | None = None, *, table: Ref | None = None,
        act: str = "none",
    ) -> None:  # fmt: skip
        c, h = self.program.shapes[value]
        rows, cp, x = self.batch * h, min(128, power(c)), self.ref(value)
        br = self.target.row_tile(rows, cp)
        self._emit(
            "pointwise", (-(-rows // br), -(-c // cp)),
            {"x": x.ref, "other": other and other.ref, "table": table, "sample_table": None, "y": y.ref},
            ROWS=rows, H=h, C=c, LDX=x.ld, LDO=other.ld if other else 0, LDT=0, LDS=0, LDY=y.ld, MODE=mode, ACT=act,
            BR=br, CP=cp, EXACT=self.target.exact,
        )  # fmt: skip

"""A SamplingLoop -> the launches of one whole plan, denoising step after step, and the buffers they name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...core.loop import SamplingLoop, TimeTables
from ..gpu import staging
from ..gpu.order import Part, parts
from ..gpu.refs import Ref, ValueRef
from ..gpu.staging import Mode, StagingBuffer, TableForm, row_words
from .launches import Launch
from .network import NetworkLaunches, TableRef, at_denoising_step, network_launches
from .target import Target
from .tiling import power
from .weights import Store

MOST_NUMBERS = 2**31 - 1  # in one buffer: kernels' offsets are int32
COLUMNS = ("p", "q", "a", "b", "d", "s", "gx", "g0", "u")  # as in kernels/trajectory.py
COLUMN_WORDS = 12  # from one row of them to the next: a multiple of 16 bytes


@dataclass(frozen=True)
class Networks:
    """The launches of a loop's networks, the same for all modes: denoiser; of a guide its gradient and its value alone.

    store: their weights. scratch: float32 and int32 elements that split convolutions need.
    """

    denoiser: NetworkLaunches
    gradient: NetworkLaunches | None
    value: NetworkLaunches | None
    store: Store

    @property
    def scratch(self) -> tuple[int, int]:
        """Elements of "partials" and of "tile_counters"."""
        nets = [net for net in (self.denoiser, self.gradient, self.value) if net is not None]
        return max(net.partials for net in nets), max(net.tile_counters for net in nets)


@dataclass(frozen=True)
class LaunchList:
    """The launches of a plan in order, and the staging buffers they read and write. ``str``: a line for each launch."""

    launches: tuple[Launch, ...]
    inputs: StagingBuffer
    outputs: StagingBuffer

    def __str__(self) -> str:
        return "\n".join(map(str, self.launches))


def networks(loop: SamplingLoop, batch: int, target: Target) -> Networks:
    """Every network of the loop as launches; x is read where the output buffer has it, at the beginning."""
    store, depth = Store(target.operand), loop.transition_dim
    x = ValueRef(staging.outputs(loop, batch, Mode()).ref("x"), depth)

    def one(program, weights, arena: str, **others: ValueRef) -> NetworkLaunches:
        made = network_launches(
            program, weights, batch, {"x": x, **others}, arena=arena, store=store, target=target
        )  # fmt: skip
        if (most := max(made.arena, made.partials)) > MOST_NUMBERS:
            raise ValueError(
                f"batch: {batch} plans need {most} numbers of memory for the {arena}, kernels count to {MOST_NUMBERS}"
            )
        return made

    denoiser = one(loop.denoiser.fused, loop.denoiser.weights, "denoiser")
    if loop.guide is None:
        return Networks(denoiser, None, None, store)
    gradient = one(loop.guide.gradient, loop.guide.weights, "gradient", dy=ValueRef(Ref("ones"), 1))
    value = one(loop.guide.fused, loop.guide.weights, "value")
    return Networks(denoiser, gradient, value, store)


def buffers(loop: SamplingLoop, batch: int, nets: Networks, target: Target, device: torch.device) -> dict[str, Tensor]:
    """Every buffer but those for staging: weights, tables, coefficients, arenas, scratch. All a plan needs, at load."""
    steps, scale = loop.steps, target.gradient_scale
    columns = np.zeros((steps.rows, COLUMN_WORDS))
    columns[:, : len(COLUMNS)] = np.stack([getattr(steps, name) for name in COLUMNS], axis=1)
    columns[:, [COLUMNS.index("gx"), COLUMNS.index("g0")]] /= scale
    partials, tile_counters = nets.scratch
    memory = nets.store.memory(device)
    memory |= {
        "columns": torch.tensor(columns.ravel(), dtype=torch.float32, device=device),
        "denoiser": torch.zeros(max(1, nets.denoiser.arena), device=device),
        "partials": torch.zeros(partials + 1, device=device),
        "tile_counters": torch.zeros(tile_counters + 1, dtype=torch.int32, device=device),
        "previous_x0": torch.zeros(batch * loop.horizon * loop.transition_dim, device=device),
    }
    if loop.clip is not None:
        memory |= {name: torch.tensor(bound, device=device) for name, bound in zip(("low", "high"), loop.clip)}
    memory |= _resident("denoiser", loop.denoiser.tables, device)
    if loop.guide is not None:
        memory |= _resident("guide", loop.guide.tables, device)
        memory |= {
            "gradient": torch.zeros(max(1, nets.gradient.arena), device=device),
            "value": torch.zeros(max(1, nets.value.arena), device=device),
            # dy of the gradient program: the value of each plan counts once, times the scale of gradients.
            "ones": torch.full((batch,), scale, device=device),
        }
    return memory


def launch_list(loop: SamplingLoop, batch: int, mode: Mode, nets: Networks, target: Target) -> LaunchList:
    """One whole plan as in core/loop.py: begin, then for each denoising step guidance updates, network, update; ranking
    in between."""
    return _Builder(loop, batch, mode, nets, target).done()


class _Builder:
    def __init__(self, loop: SamplingLoop, batch: int, mode: Mode, nets: Networks, target: Target) -> None:
        self.loop, self.batch, self.mode, self.nets, self.target = loop, batch, mode, nets, target
        self.inputs, self.outputs = staging.inputs(loop, batch, mode), staging.outputs(loop, batch, mode)
        self.size = loop.horizon * loop.transition_dim
        self.block = min(power(self.size), (1 << 16) if target.interpreted else 256)
        self.launches: list[Launch] = []

    def done(self) -> LaunchList:
        gradient, net = None, self.nets.denoiser.outputs["y"]
        for k, part in parts(self.loop, self.mode.start):
            match part:
                case Part.BEGIN:
                    self._begin()
                case Part.GRADIENT:
                    gradient = self._network(self.nets.gradient, "guide", k)["dx"]
                case Part.GUIDANCE:
                    pointers = {"x": self.outputs.ref("x"), "g": gradient.ref, "columns": self._columns(k)}
                    constants = {"D": self.loop.transition_dim, "LDG": gradient.ld}
                    self._emit("guidance_update", pointers | self._inpainting, **constants)
                case Part.VALUE:
                    self._network(self.nets.value, "guide", k)
                case Part.RANK:
                    self._rank(k)
                case Part.DENOISER:
                    self._network(self.nets.denoiser, "denoiser", k)
                case Part.UPDATE:
                    self._update(k, net, gradient if self.loop.steps.g0[k] else None)
        return LaunchList(tuple(self.launches), self.inputs, self.outputs)

    def _begin(self) -> None:
        pointers = {"x": self.outputs.ref("x"), "bad": self.outputs.ref("bad"), "chain": self._chain(0)}
        pointers["given"] = self.inputs.ref("given") if self.mode.given else None
        self._emit("begin", pointers | self._inpainting | self._noise(0), CHAIN=self._chain_words, R=self.loop.rows)

    def _update(self, k: int, net: ValueRef, gradient: ValueRef | None) -> None:
        loop, steps = self.loop, self.loop.steps
        clipped = loop.clip is not None
        pointers = {
            "x": self.outputs.ref("x"), "net": net.ref, "g": gradient and gradient.ref,
            "previous_x0": Ref("previous_x0") if steps.d.any() else None, "columns": self._columns(k),
            "low": Ref("low") if clipped else None, "high": Ref("high") if clipped else None,
            "chain": self._chain(k + 1 - self.mode.start), "bad": self.outputs.ref("bad"),
        }  # fmt: skip
        noisy = bool(steps.s[k])
        pointers |= self._inpainting | (self._noise(k + 1) if noisy else {})
        self._emit(
            "update", pointers, {"k": k}, D=loop.transition_dim, LDN=net.ld, LDG=gradient.ld if gradient else 0,
            FIRST=k == self.mode.start, NOISE=noisy, UNCLIPPED=bool(self.loop.steps.u[k]), CHAIN=self._chain_words,
        )  # fmt: skip

    def _rank(self, k: int) -> None:
        """The last evaluation of the value in the last denoising step, before anything overwrites it."""
        value = (self.nets.gradient if self.loop.steps.guide_steps[k] else self.nets.value).outputs["y"]
        count = self.mode.candidates
        block = min(power(count), 1 << 10 if self.target.interpreted else 32)
        self._raw(
            "rank", (self.batch // count, -(-count // block), 1),
            {"value": value.ref, "values": self.outputs.ref("values"), "order": self.outputs.ref("order")},
            LDV=value.ld, COUNT=count, CP=power(count), BLOCK=block,
        )  # fmt: skip

    def _network(self, net: NetworkLaunches, which: str, k: int) -> Mapping[str, ValueRef]:
        network, form = getattr(self.loop, which), getattr(self.mode, f"{which}_tables")
        own = form is not None
        form = form if own else TableForm.of(network.tables)
        words = row_words(network.program.table_width)

        def begin(name: str) -> Ref:
            return self.inputs.ref(name) if own else Ref(name)

        self.launches += at_denoising_step(net.launches, TableRef(
            begin(f"{which} table") + k * words * (self.batch if form.each else 1), words if form.each else 0,
            begin(f"{which} sample table") if form.per_sample else None, words if form.per_sample else 0,
        ))  # fmt: skip
        return net.outputs

    def _emit(self, kernel: str, pointers: dict, scalars: dict | None = None, **constants) -> None:
        """A launch over the trajectories."""
        grid = (self.batch, -(-self.size // self.block), 1)
        constants |= {"SIZE": self.size, "INPAINT_EACH": self.mode.inpaint_each, "BLOCK": self.block}
        self._raw(kernel, grid, pointers, scalars, **constants)

    def _raw(self, kernel: str, grid: tuple, pointers: dict, scalars: dict | None = None, **constants) -> None:
        # The first launch follows a copy, which is no kernel that it could overlap with.
        constants["PDL"] = self.target.pdl and bool(self.launches)
        self.launches.append(Launch(kernel, grid, pointers, constants, scalars or {}))

    def _columns(self, k: int) -> Ref:
        return Ref("columns", k * COLUMN_WORDS)

    @property
    def _inpainting(self) -> dict[str, Ref]:
        return {"mask": self.inputs.ref("mask"), "inpaint_values": self.inputs.ref("inpaint_values")}

    def _noise(self, entry: int) -> dict[str, Ref]:
        """Entry 0 is the first noise, k + 1 that of denoising step k; the tape begins with the first that is wanted."""
        if not self.mode.tape:
            return {"address": self.inputs.ref("address")}
        return {"tape": self.inputs.ref("tape", max(0, entry - self.mode.start) * self.batch * self.size)}

    @property
    def _chain_words(self) -> int:
        return (self.loop.rows + 1 - self.mode.start) * self.size if self.mode.chain else 0

    def _chain(self, entry: int) -> Ref | None:
        return self.outputs.ref("chain", entry * self.size) if self.mode.chain else None


def _resident(which: str, tables: TimeTables, device: torch.device) -> dict[str, Tensor]:
    """The loop's own time-embedding tables, by the names of their buffers."""
    found = {f"{which} table": _padded(tables.per_step, device)}
    if tables.per_sample is not None:
        found[f"{which} sample table"] = _padded(tables.per_sample, device)
    return found


def _padded(array: NDArray, device: torch.device) -> Tensor:
    """An array with its rows ``row_words`` apart, in one dimension."""
    width = array.shape[-1]
    padded = np.zeros((*array.shape[:-1], row_words(width)), np.float32)
    padded[..., :width] = array
    return torch.tensor(padded.ravel(), device=device)

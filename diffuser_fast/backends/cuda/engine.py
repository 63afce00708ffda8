"""The Engine over CUDA kernels: stages, weights and memory at load, one replay per plan."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...core.conditions import Inpainting
from ...core.loop import PlanTables, Result, SamplingLoop, TimeTables
from ...core.samplers import ENGINE_COLUMNS
from ..engine import Noise
from ..gpu import staging
from ..gpu.arguments import Arguments
from ..gpu.plan import loop_stages
from ..gpu.stages import SCRIPT_FIELDS, StageList
from ..gpu.staging import Mode, StagingBuffer, TableForm, mode_of
from .device import Buffer, Device, Staging
from .division import chosen, divided
from .tiling import tilings
from .weights import packed

PRECISIONS = ("float32", "fp16")
GRADIENT_SCALE = {"float32": 1.0, "fp16": 64.0}  # a power of two, so that small gradients do not vanish in halves
MODES = 8  # that an engine keeps ready: the least recently used goes first
MOST_NUMBERS = 2**31 - 1  # of a piece of memory: kernels count in int32


@dataclass(frozen=True, eq=False)
class _Prepared:
    """A mode made ready. kept: what its record points to."""

    staging: Staging
    inputs: dict[str, NDArray]
    outputs: dict[str, NDArray]
    run: Callable[[], None]
    kept: list[Buffer]
    kernels: int

    @property
    def reason(self) -> str | None:
        return getattr(self.run, "reason", None)


class CudaEngine:
    """See backends/engine.py. It belongs to one thread at a time.

    ``reason`` says why plans are launched kernel by kernel instead of as one graph, or is None; ``kernels`` how many a
    plan is.
    """

    def __init__(self, loop: SamplingLoop, batch: int, device: Device, precision: str, launches: str | None) -> None:
        self.loop, self.batch, self.device = loop, batch, device
        self.launches = launches or chosen(loop, batch, device)
        self.exact, self.scale = precision == "float32", GRADIENT_SCALE[precision]
        self.division = divided(loop, batch, device, self.launches)
        stages = self._stages(0)
        self._kept: list[Buffer] = []
        self._record: dict[str, int] = {}
        weights, places = packed(stages.convolutions, exact=self.exact)
        for name, array in {"packed": weights, "places": places, "vectors": stages.vectors}.items():
            self._hold(name, array)
        self._hold_loop()
        self._hold("arrived", np.zeros(1, np.int32))
        if self.launches == "stages":
            groups = -(-batch // stages.group)
            arena = device.empty(groups * stages.group * max(1, stages.arena), "arena")
            self._kept.append(arena)
            self._record["arena"] = arena.pointer
        self._modes: OrderedDict[Mode, _Prepared] = OrderedDict()
        prepared = self._prepared(Mode(candidates=batch))
        self.reason, self.kernels = prepared.reason, prepared.kernels

    def __call__(
        self, inpainting: Inpainting, noise: Noise, *, x: NDArray | None = None, start: int = 0,
        tables: PlanTables | None = None, candidates: int | None = None, chain: bool = False,
    ) -> Result:  # fmt: skip
        """See backends/engine.py."""
        self.loop.plan_tables(tables, self.batch)  # ValueError if they do not fit
        mode = mode_of(
            inpainting, noise, self.batch, x=x, start=start, tables=tables, candidates=candidates, chain=chain
        )
        prepared = self._prepared(mode)
        staging.write(prepared.inputs, mode, inpainting, noise, x, tables)
        prepared.outputs["bad"][...] = self.loop.rows
        prepared.run()
        return staging.result(prepared.outputs, self.loop, mode)

    def cancel(self) -> None:
        """Nothing: a plan is one graph, which ends sooner than a host could tell it to."""

    def _stages(self, start: int) -> StageList:
        return loop_stages(self.loop, group=self.division.group, start=start, gradient_scale=self.scale)

    def _hold(self, name: str, array: NDArray) -> None:
        """An array on the device, which the record points to by this name."""
        self._kept.append(self.device.holding(array))
        self._record[name] = self._kept[-1].pointer

    def _hold_loop(self) -> None:
        """What of the loop is the same for all plans."""
        loop, steps = self.loop, self.loop.steps
        columns = np.stack([getattr(steps, name) for name in ENGINE_COLUMNS], axis=1)
        columns[:, [ENGINE_COLUMNS.index("gx"), ENGINE_COLUMNS.index("g0")]] /= self.scale
        self._hold("columns", columns.astype(np.float32))
        self._hold("table_steps", np.array([loop.table_step(k) for k in range(loop.rows)], np.int32))
        for name, bound in zip(("clip_low", "clip_high"), loop.clip or ()):
            self._hold(name, np.asarray(bound, np.float32))
        for name, network in (("denoiser", loop.denoiser), ("guide", loop.guide)):
            if network is not None:
                self._hold_tables(name, network.tables)

    def _hold_tables(self, name: str, tables: TimeTables) -> None:
        width = max(1, tables.per_step.shape[2])  # kernels read none of a table of no columns
        self._hold(f"{name}_table", tables.per_step if tables.per_step.size else np.zeros(1, np.float32))
        if tables.per_sample is not None:
            self._hold(f"{name}_added", tables.per_sample)
        self._record |= _strides(name, TableForm.of(tables), width, self.batch)

    def _prepared(self, mode: Mode) -> _Prepared:
        if mode not in self._modes:
            self._modes[mode] = self._prepare(mode)
            if len(self._modes) > MODES:
                self._modes.popitem(last=False)
        self._modes.move_to_end(mode)
        return self._modes[mode]

    def _prepare(self, mode: Mode) -> _Prepared:
        loop, batch, stages = self.loop, self.batch, self._stages(mode.start)
        tiles = tilings(stages, room=self.division.room, tiles=self.division.tiles)
        record, kept, host = dict(self._record), [], {}
        for name, array in {"stages": stages.rows, "script": stages.script, "tiles": tiles}.items():
            kept.append(self.device.holding(array))
            host[name] = np.ascontiguousarray(array)
            record |= {name: kept[-1].pointer, f"host_{name}": host[name].ctypes.data}
        inputs, outputs = staging.inputs(loop, batch, mode), staging.outputs(loop, batch, mode)
        if (most := max(inputs.words, outputs.words)) > MOST_NUMBERS:
            raise ValueError(f"batch: {batch} plans are {most} numbers in one array, kernels count to {MOST_NUMBERS}")
        # One piece of memory: what goes up, the flag of what is not finite, which goes both ways, and what comes down.
        memory = self.device.staging(
            inputs.words + outputs.words, inputs.words + outputs.fields["bad"].words, inputs.words
        )
        record |= self._places(mode, inputs, outputs, memory.there.pointer)
        record |= {
            "batch": batch, "horizon": loop.horizon, "depth": loop.transition_dim, "rows": loop.rows,
            "start": mode.start, "candidates": mode.candidates, "group": stages.group, "arena_floats": stages.arena,
            "stage_count": len(stages.stages), "script_count": len(stages.script), "exact": int(self.exact),
        }  # fmt: skip
        found = inputs.of(memory.host[: inputs.words]), outputs.of(memory.host[inputs.words :])
        found[1]["bad"][...] = loop.rows
        # Without a guide nothing is ranked: values stay zero, plans in their order.
        found[1]["order"][...] = np.tile(np.arange(mode.candidates), batch // mode.candidates)
        run = self.device.replay(Arguments(**record), memory, launches=self.launches)
        kernels = 1 if self.launches != "stages" else int(stages.script[:, SCRIPT_FIELDS.index("count")].sum())
        return _Prepared(memory, *found, run, [*kept, *host.values()], kernels)

    def _places(self, mode: Mode, inputs: StagingBuffer, outputs: StagingBuffer, base: int) -> dict[str, int]:
        """Where the fields of a plan lie on the device, and how far their rows lie apart."""
        words = {name: field.offset for name, field in inputs.fields.items()}
        words |= {name: inputs.words + field.offset for name, field in outputs.fields.items()}
        names = {name.replace(" sample table", "_added").replace(" table", "_table"): at for name, at in words.items()}
        names["inpaint"] = names.pop("inpaint_values")
        found = {name: base + 4 * at for name, at in names.items()}
        if mode.inpaint_each:
            found["inpaint_ld"] = self.loop.horizon * self.loop.transition_dim
        for name in ("denoiser", "guide"):
            form = getattr(mode, f"{name}_tables")
            if form is not None:
                found |= _strides(name, form, inputs.fields[f"{name} table"].ld, self.batch)
                found.setdefault(f"{name}_added", 0)
        return found


def _strides(name: str, form: TableForm, words: int, batch: int) -> dict[str, int]:
    """How far apart the rows of time-embedding tables lie, each of so many words."""
    return {
        f"{name}_step": words * (batch if form.each else 1),
        f"{name}_ld": words if form.each else 0,
        f"{name}_added_ld": words if form.per_sample else 0,
    }

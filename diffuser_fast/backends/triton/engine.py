"""The Engine over Triton kernels: everything at load, one replay per plan."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ...core.conditions import Inpainting
from ...core.loop import PlanTables, Result, SamplingLoop
from ...core.program import Program
from ...core.verify import unsupported
from ..engine import Noise
from ..gpu.graph import Replay
from ..gpu.refs import Ref, ValueRef
from ..gpu.staging import Mode, TableForm, mode_of, result, row_words, write
from . import loop as loops
from .launches import (
    Launch,
    Specialisation,
    bind,
    compile_all,
    distinct,
    without_overlap,
)
from .network import TableRef, at_denoising_step, network_launches
from .one_program import launched
from .support import SUPPORT
from .target import INTERPRETED, PRECISIONS, Target
from .weights import Store

INVARIANT: frozenset[str] = frozenset()  # how a convolution is cut depends on the batch
OPTIONS: frozenset[str] = frozenset()  # of ``ready``, beside those of every backend
SCHEDULES: frozenset[str] = frozenset()  # a graph is captured with its rows
MODES = 8  # graphs that an engine keeps: the least recently used goes first
LEAST_CAPABILITY = 80


def isas() -> list[str]:
    """None: kernels are made for the device."""
    return []


def why_not(loop: SamplingLoop | None = None, device: str | None = None) -> str | None:
    """A sentence, or None if this backend can run the loop here."""
    return _why_not_on(device) or (None if loop is None else loop.unsupported(SUPPORT))


def _why_not_on(device: str | None) -> str | None:
    if INTERPRETED:
        if device == "cpu":
            return None
        return "TRITON_INTERPRET is set: kernels are interpreted on the CPU, for tests, which ask for device 'cpu'"
    if device is not None and torch.device(device).type != "cuda":
        return f"the Triton kernels run on CUDA devices, not on {device!r}"
    if torch.version.cuda is None:
        return "this torch is built without CUDA"
    try:
        torch.cuda.init()
        major, minor = torch.cuda.get_device_capability(device)
    except (RuntimeError, AssertionError) as error:
        return f"CUDA cannot be used: {str(error).strip().splitlines()[0]}"
    if 10 * major + minor < LEAST_CAPABILITY:
        return f"the GPU has compute capability {major}.{minor}; the kernels are made for 8.0 and newer"
    return None


def ready(
    loop: SamplingLoop, *, device: str | None = None, batch: int, precision: str = "float32", threads: int | None = None
) -> TritonEngine:
    """An engine for ``batch`` plans on a CUDA device (default: the current one). threads: of the CPU engine; ignored.

    ValueError on a precision there is not, or on weights that it cannot hold.
    """
    _check(precision)
    if (reason := why_not(loop, device)) is not None:
        raise RuntimeError(reason)
    return TritonEngine(loop, _device(device), batch, precision)


def evaluate(
    program: Program, weights: Mapping[str, NDArray], inputs: Mapping[str, NDArray], table: NDArray | None = None,
    *, device: str | None = None, precision: str = "float32", threads: int | None = None,
) -> dict[str, NDArray[np.float32]]:  # fmt: skip
    """Evaluate one Program by itself, fused or not; see one_program.py. For tests."""
    _check(precision)
    if (reason := why_not(None, device) or unsupported(program, SUPPORT)) is not None:
        raise RuntimeError(reason)
    chosen = _device(device)
    return launched(program, weights, inputs, table, Target(precision, _capability(chosen)), chosen)


def launch_list(
    loop: SamplingLoop, *, batch: int, precision: str = "float32", capability: int | None = 90, mode: Mode | None = None
) -> loops.LaunchList:
    """The launches of a plan as data. No GPU is needed. capability: 90 for sm_90; None for the interpreter."""
    _check(precision)
    target = Target(precision, capability)
    nets = loops.networks(loop, batch, target)
    return loops.launch_list(loop, batch, mode or Mode(candidates=batch), nets, target)


def specialisations(
    loop: SamplingLoop, *, batch: int, precision: str = "float32", capability: int = 90, mode: Mode | None = None
) -> list[Specialisation]:
    """What has to be compiled for a plan, each once: exactly what the engine launches on such a GPU."""
    return distinct(launch_list(loop, batch=batch, precision=precision, capability=capability, mode=mode).launches)


def program_specialisations(
    program: Program, *, batch: int, precision: str = "float32", capability: int = 90, tables: TableForm | None = None
) -> list[Specialisation]:
    """What has to be compiled for one Program by itself, whatever its weights, with time-embedding tables of a form."""
    _check(precision)
    target, form, words = Target(precision, capability), tables or TableForm(), row_words(program.table_width)
    refs = {name: ValueRef(Ref(f"input {name}"), program.shapes[v][0]) for name, v in program.inputs.items()}
    weights = {name: np.zeros(shape, np.float32) for name, shape in program.weights.items()}
    made = network_launches(program, weights, batch, refs, arena="arena", store=Store(target.operand), target=target)
    table = TableRef(
        Ref("table"), words if form.each else 0, Ref("sample table") if form.per_sample else None,
        words if form.per_sample else 0,
    )  # fmt: skip
    return distinct(at_denoising_step(made.launches, table))


@dataclass(frozen=True)
class _Prepared:
    """A mode made ready: its launches, the host's staging buffers (pinned where there is a GPU), and the call that runs
    them."""

    launch_list: loops.LaunchList
    inputs: NDArray[np.float32]
    outputs: NDArray[np.float32]
    run: Callable[[], None]
    reason: str | None = None


class TritonEngine:
    """See backends/engine.py. It belongs to one thread at a time.

    ``reason`` says why plans are launched one kernel at a time instead of as one graph, or is None; ``kernels`` how
    many a plan is.
    """

    def __init__(self, loop: SamplingLoop, device: torch.device, batch: int, precision: str) -> None:
        self.loop, self.batch, self.device = loop, batch, device
        self.target = Target(precision, _capability(device))
        self._nets = loops.networks(loop, batch, self.target)
        self._memory = loops.buffers(loop, batch, self._nets, self.target, device)
        self._modes: OrderedDict[Mode, _Prepared] = OrderedDict()
        prepared = self._prepared(Mode(candidates=batch))
        self.reason, self.kernels = prepared.reason, len(prepared.launch_list.launches)

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
        write(prepared.launch_list.inputs.of(prepared.inputs), mode, inpainting, noise, x, tables)
        prepared.run()
        return result(prepared.launch_list.outputs.of(prepared.outputs), self.loop, mode)

    def cancel(self) -> None:
        """Nothing: a plan is one graph, which ends sooner than a host could tell it to."""

    def _prepared(self, mode: Mode) -> _Prepared:
        if mode not in self._modes:
            self._modes[mode] = self._prepare(mode)
            if len(self._modes) > MODES:
                self._modes.popitem(last=False)
        self._modes.move_to_end(mode)
        return self._modes[mode]

    def _prepare(self, mode: Mode) -> _Prepared:
        launch_list = loops.launch_list(self.loop, self.batch, mode, self._nets, self.target)
        pinned = self.device.type == "cuda"
        host = [torch.zeros(buffer.words, pin_memory=pinned) for buffer in (launch_list.inputs, launch_list.outputs)]
        there = [torch.zeros(len(buffer), device=self.device) for buffer in host]
        if self.loop.guide is None:  # nothing is ranked: values stay zero, plans in their order
            order = torch.arange(mode.candidates, dtype=torch.int32).repeat(self.batch // mode.candidates)
            field = launch_list.outputs.fields["order"]
            there[1].view(torch.int32)[field.offset : field.offset + field.words].copy_(order)
        memory = self._memory | {"inputs": there[0], "outputs": there[1]}

        def work(launches: Sequence[Launch]) -> Callable[[], None]:
            calls = [bind(launch, memory) for launch in launches]

            def enqueue() -> None:
                there[0].copy_(host[0], non_blocking=True)
                for call in calls:
                    call()
                host[1].copy_(there[1], non_blocking=True)

            return enqueue

        staged = [buffer.numpy() for buffer in host]
        if not pinned:
            return _Prepared(launch_list, *staged, work(launch_list.launches))
        compile_all(launch_list.launches, memory, self.device)
        replay = Replay(work(launch_list.launches), self.device)
        if replay.reason is not None and self.target.pdl:
            # An older driver may refuse overlapping launches in a graph; a graph without them is worth more.
            plain = without_overlap(launch_list.launches)
            compile_all(plain, memory, self.device)
            replay = Replay(work(plain), self.device)
        return _Prepared(launch_list, *staged, replay, replay.reason)


def _check(precision: str) -> None:
    if precision not in PRECISIONS:
        raise ValueError(f"precision: the triton backend has {', '.join(PRECISIONS)}, found {precision!r}")


def _device(device: str | None) -> torch.device:
    """The device by its number; by default torch's current one."""
    chosen = torch.device(device or ("cpu" if INTERPRETED else "cuda"))
    return torch.device("cuda", torch.cuda.current_device()) if chosen == torch.device("cuda") else chosen


def _capability(device: torch.device) -> int | None:
    if device.type != "cuda":
        return None
    major, minor = torch.cuda.get_device_capability(device)
    return 10 * major + minor

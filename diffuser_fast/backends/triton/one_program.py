"""One Program by itself, for tests: inputs in, outputs out, all memory full of NaN beforehand."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...core.program import Program
from ..gpu.refs import Ref, ValueRef
from .launches import bind
from .network import TableRef, at_denoising_step, network_launches
from .target import Target
from .weights import Store

GUARD = 64  # elements of NaN on either side of every input and output


def launched(
    program: Program, weights: Mapping[str, NDArray], inputs: Mapping[str, NDArray], table: NDArray | None,
    target: Target, device: torch.device,
) -> dict[str, NDArray[np.float32]]:  # fmt: skip
    """inputs, outputs: ``[B, C, H]`` by name; table: what it sees of a denoising step, ``[S]`` or ``[B, S]``.

    AssertionError if anything is written where nothing belongs.
    """
    batch, store = len(next(iter(inputs.values()))), Store(target.operand)
    refs = {name: ValueRef(Ref(f"input {name}", GUARD), program.shapes[v][0]) for name, v in program.inputs.items()}
    launches = network_launches(program, weights, batch, refs, arena="arena", store=store, target=target)
    table = np.zeros(1) if table is None else np.asarray(table)
    kept = {f"input {name}": _guarded(np.asarray(array).transpose(0, 2, 1), device) for name, array in inputs.items()}
    kept["table row"] = _guarded(table, device)
    memory = store.memory(device) | {name: array.clone() for name, array in kept.items()}
    memory["arena"] = torch.full((launches.arena + GUARD,), torch.nan, device=device)
    memory["partials"] = torch.full((launches.partials + GUARD,), torch.nan, device=device)
    memory["tile_counters"] = torch.zeros(launches.tile_counters + 1, dtype=torch.int32, device=device)
    row = TableRef(Ref("table row", GUARD), table.shape[1] if table.ndim == 2 else 0)
    for launch in at_denoising_step(launches.launches, row):
        bind(launch, memory)()
    assert torch.isnan(memory["arena"][launches.arena :]).all(), "the arena was overrun"
    assert torch.isnan(memory["partials"][launches.partials :]).all(), "the partials were overrun"
    assert not memory["tile_counters"].any(), "a tile counter was not reset"
    for name, array in kept.items():
        assert torch.equal(torch.nan_to_num(memory[name]), torch.nan_to_num(array)), f"{name} was changed"
    outputs = {}
    for name, at in launches.outputs.items():
        c, h = program.shapes[program.outputs[name]]
        y = memory[at.ref.buffer].as_strided((batch, h, c), (h * at.ld, at.ld, 1), at.ref.offset)
        outputs[name] = np.ascontiguousarray(y.cpu().numpy().transpose(0, 2, 1))
    return outputs


def _guarded(array: NDArray, device: torch.device) -> Tensor:
    """The elements of an array in the middle of NaN."""
    edge = np.full(GUARD, np.nan, np.float32)
    return torch.tensor(np.concatenate((edge, np.asarray(array, np.float32).ravel(), edge)), device=device)

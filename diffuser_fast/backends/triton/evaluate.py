"""One Program by itself, for tests: inputs in, outputs out, all memory full of NaN beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...core.program import Program
from .launches import Ref, ValueRef, bind
from .network import at_denoising_step, network_launches
from .target import Target
from .weights import Store

GUARD = 64  # elements of NaN on either side of every input and output


def evaluate(
    program: Program, weights: Mapping[str, NDArray], inputs: Sequence[NDArray], table: NDArray | None,
    target: Target, device: torch.device,
) -> list[NDArray[np.float32]]:  # fmt: skip
    """inputs: ``[B, C, H]`` each; table: ``[S]``. AssertionError if anything is written where nothing belongs."""
    batch, store = len(inputs[0]), Store(target.operand)
    refs = {v: ValueRef(Ref(f"input {n}", GUARD), program.shapes[v][0]) for n, v in enumerate(program.inputs)}
    launches = network_launches(program, weights, batch, refs, arena="arena", store=store, target=target)
    memory = store.memory(device)
    memory |= {f"input {n}": _guarded(array, device) for n, array in enumerate(inputs)}
    memory["arena"] = torch.full((launches.arena + GUARD,), torch.nan, device=device)
    memory["partials"] = torch.full((launches.partials + GUARD,), torch.nan, device=device)
    memory["tile_counters"] = torch.zeros(launches.tile_counters + 1, dtype=torch.int32, device=device)
    table_row = np.zeros(1) if table is None else table
    guarded_row = np.concatenate((np.full(GUARD, np.nan), table_row))
    memory["table row"] = torch.tensor(guarded_row, dtype=torch.float32, device=device)
    for launch in at_denoising_step(launches.launches, Ref("table row", GUARD)):
        bind(launch, memory)()
    assert torch.isnan(memory["arena"][launches.arena :]).all(), "the arena was overrun"
    assert torch.isnan(memory["partials"][launches.partials :]).all(), "the partials were overrun"
    assert not memory["tile_counters"].any(), "a tile counter was not reset"
    for n, array in enumerate(inputs):
        kept = memory[f"input {n}"]
        assert torch.equal(torch.nan_to_num(kept), torch.nan_to_num(_guarded(array, device))), "an input was changed"
    outputs = []
    for value, at in zip(program.outputs, launches.outputs, strict=True):
        c, h = program.shapes[value]
        y = memory[at.ref.buffer].as_strided((batch, h, c), (h * at.ld, at.ld, 1), at.ref.offset)
        outputs.append(np.ascontiguousarray(y.cpu().numpy().transpose(0, 2, 1)))
    return outputs


def _guarded(array: NDArray, device: torch.device) -> Tensor:
    """``[B, C, H]`` -> its elements as ``[B, H, C]`` in the middle of NaN."""
    flat = np.asarray(array, np.float32).transpose(0, 2, 1).ravel()
    edge = np.full(GUARD, np.nan, np.float32)
    return torch.tensor(np.concatenate((edge, flat, edge)), device=device)

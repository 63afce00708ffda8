"""What a plan's kernels are given: one record of pointers and numbers, whose fields are named once for both languages.

Pointers are to the device's memory (in the host emulator to the host's), and 0 where there is no such array. All arrays
are dense unless a field says how far their rows lie apart.
"""

from __future__ import annotations

import ctypes
import textwrap

_FLOATS, _WHOLE, _WORDS = "const float*", "const int32_t*", "const uint32_t*"
ARGUMENTS: dict[str, tuple[tuple[str, str], ...]] = {
    "what is run (stages.py): rows, the script, and an engine's own division of the work": (
        ("stages", _WHOLE), ("script", _WHOLE), ("tiles", _WHOLE),
    ),
    "the same in the host's memory": (
        ("host_stages", _WHOLE), ("host_script", _WHOLE), ("host_tiles", _WHOLE),
    ),
    "weights: convolutions as the engine packs them, where each begins, vectors": (
        ("packed", _WORDS), ("places", _WHOLE), ("vectors", _FLOATS),
    ),
    "the StepTable [R, kColumns], gx and g0 divided by the scale of gradients; clipping [D], or neither": (
        ("columns", _FLOATS), ("clip_low", _FLOATS), ("clip_high", _FLOATS),
    ),
    "time-embedding tables: those of denoising step k begin at k * .._step; samples lie .._ld apart (0: one row for "
    "all); what is added for each sample, .._added_ld apart, or NULL": (
        ("denoiser_table", _FLOATS), ("denoiser_added", _FLOATS), ("guide_table", _FLOATS), ("guide_added", _FLOATS),
        ("denoiser_step", "int32_t"), ("denoiser_ld", "int32_t"), ("denoiser_added_ld", "int32_t"),
        ("guide_step", "int32_t"), ("guide_ld", "int32_t"), ("guide_added_ld", "int32_t"),
    ),
    "[R], which step of these tables each denoising step sees": (("table_steps", _WHOLE),),
    "what a plan is made from: where it is inpainted [H, D], the values [1 or N, H, D] (inpaint_ld floats from sample "
    "to sample, 0: the same for all); the seed's halves, the first plan's number and the candidates [4], or a tape, "
    "entry 0 being the first noise and entry i that of the i-th step that is run; x [N, H, D] or NULL": (
        ("mask", _WHOLE), ("inpaint", _FLOATS), ("address", _WORDS), ("tape", _FLOATS), ("given", _FLOATS),
        ("inpaint_ld", "int32_t"),
    ),
    "memory to work in, floats of it for one trajectory, trajectories of a group; a counter of blocks, 0 between "
    "plans": (
        ("arena", "float*"), ("arena_floats", "int32_t"), ("group", "int32_t"), ("arrived", "int32_t*"),
    ),
    "what a plan is: x [N, H, D], values [N], order [N], the first step that was not finite (at first R), and the "
    "states [N, R + 1 - start, H, D], or NULL": (
        ("x", "float*"), ("values", "float*"), ("order", "int32_t*"), ("bad", "int32_t*"), ("chain", "float*"),
    ),
    "inputs and outputs of one Program by itself [N, H, C], by number": (("io", "float* const*"),),
    "N, H, D, R, the first denoising step, plans that are ranked together; how many rows stages and script have; "
    "whether products are of float32, not of halves": (
        ("batch", "int32_t"), ("horizon", "int32_t"), ("depth", "int32_t"), ("rows", "int32_t"), ("start", "int32_t"),
        ("candidates", "int32_t"), ("stage_count", "int32_t"), ("script_count", "int32_t"),
        ("exact", "int32_t"),
    ),
}  # fmt: skip
FIELDS = tuple(field for fields in ARGUMENTS.values() for field in fields)


class Arguments(ctypes.Structure):
    """The record, laid out as C++ has it. Fields that are not given are 0."""

    _fields_ = [(name, ctypes.c_int32 if kind == "int32_t" else ctypes.c_void_p) for name, kind in FIELDS]


def record() -> str:
    """The record in C++."""
    lines = ["struct Arguments {"]
    for comment, fields in ARGUMENTS.items():
        lines += [f"  // {line}" for line in textwrap.wrap(comment, 105)]
        lines += [f"  {kind} {name};" for name, kind in fields]
    return "\n".join([*lines, "};", "", ""])

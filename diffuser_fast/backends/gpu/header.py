"""csrc/cuda/stage.gen.h: a stage as Python writes it and as kernels read it, typed once."""

from __future__ import annotations

from collections.abc import Iterable

from ...core.header import HEAD, TAIL, enum
from .arguments import record
from .stages import SCRIPT_FIELDS, STAGE_FIELDS, enumerations

FLOATS = ("eps", "scalar")  # of a stage; all else are whole numbers
_HEAD = HEAD.format(module="diffuser_fast.backends.gpu.header", path="csrc/cuda/stage.gen.h").replace(
    "#pragma once\n", "#pragma once\n#include <stdint.h>\n"
)


def header() -> str:
    """The text of csrc/cuda/stage.gen.h."""
    return (
        _HEAD
        + enum("StageField", "stage", STAGE_FIELDS, count="StageFields")
        + enum("ScriptField", "script", SCRIPT_FIELDS, count="ScriptFields")
        + "".join(enum(name, name.lower(), members) for name, members in enumerations().items())
        + _row("Stage", STAGE_FIELDS)
        + _row("Step", SCRIPT_FIELDS)
        + record()
        + TAIL
    )


def _row(name: str, fields: Iterable[str]) -> str:
    """A row of int32 by names."""
    members = [f"  {'float' if field in FLOATS else 'int32_t'} {field};" for field in fields]
    return "\n".join([f"struct {name} {{", *members, "};", "", ""])


if __name__ == "__main__":
    print(header(), end="")

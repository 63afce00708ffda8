"""csrc/ops.gen.h: what Python and C++ both know of Programs and StepTables, so that no number is typed twice."""

from __future__ import annotations

from collections.abc import Iterable

from .ops import ACTS, KINDS, OP_FIELDS, VALUE_FIELDS
from .samplers import ENGINE_COLUMNS

HEAD = """\
// Written by `python -m {module} > {path}`; a test compares the two.
// clang-format off
#pragma once

namespace df {{

"""
TAIL = "}  // namespace df\n"


def header() -> str:
    """The text of csrc/ops.gen.h."""
    return (
        HEAD.format(module=__name__ if __name__ != "__main__" else "diffuser_fast.core.header", path="csrc/ops.gen.h")
        + enum("Opcode", "", {name: kind.opcode for name, kind in KINDS.items()})
        + enum("OpField", "op", OP_FIELDS, count="OpFields")
        + enum("ValueField", "value", VALUE_FIELDS, count="ValueFields")
        + enum("Act", "act", ACTS, count="Acts")
        + enum("Column", "column", ENGINE_COLUMNS, count="Columns")
        + TAIL
    )


def enum(
    name: str, prefix: str, members: Iterable[str] | dict[str, int], count: str | None = None, *, scoped: bool = False
) -> str:
    """A C++ enumeration: ``kPrefixMember = number``, and ``kCount`` with how many there are."""
    numbered = members if isinstance(members, dict) else {member: n for n, member in enumerate(members)}
    lines = [f"  k{camel(prefix)}{camel(member)} = {n}," for member, n in numbered.items()]
    if count:
        lines.append(f"  k{count} = {len(numbered)},")
    return "\n".join([f"enum {'class ' * scoped}{name} : int {{", *lines, "};", "", ""])


def constant(name: str, value: int, comment: str = "") -> str:
    """A C++ constant."""
    return f"constexpr int k{camel(name)} = {value};{'  // ' * bool(comment)}{comment}\n"


def real_constant(name: str, value: float) -> str:
    """A C++ constant, to the bit."""
    return f"constexpr double k{camel(name)} = {value!r};\n"


def camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


if __name__ == "__main__":
    print(header(), end="")

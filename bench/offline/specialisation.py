"""What the compiler is given: a kernel with everything fixed that is fixed when it is launched."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# The tile of a program, by the names that kernels give its sides; see kernels/.
SIDES = ("NB", "BM", "HT", "GB", "CP", "BK", "HP", "BLOCK", "BR", "BH", "WP")
# Sizes worth a word in a table, by the same names.
SIZES = ("B", "H", "H_IN", "CI", "CO", "CR", "C", "K", "STRIDE", "MODE", "OPERAND", "DOT", "SPLIT_K")


@dataclass(frozen=True)
class Specialisation:
    """kernel: "module:name". signature: (argument, type) in order, types as Triton spells them ("*fp32", "i32",
    "constexpr"). constants: (argument, value) of the constexpr ones. aligned: pointers that are multiples of 16.
    options: (name, value) of the compiler: warps, stages, registers at most, dependent launch.
    """

    kernel: str
    signature: tuple[tuple[str, str], ...]
    constants: tuple[tuple[str, Any], ...]
    aligned: tuple[str, ...] = ()
    options: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def of(
        cls, kernel: Any, signature: Mapping[str, str], constants: Mapping[str, Any], attrs: Mapping[tuple[int], Any],
        options: Mapping[str, Any],
    ) -> Specialisation:  # fmt: skip
        """From a jitted function and the mappings that Triton's ASTSource and compile take."""
        name = f"{kernel.fn.__module__}:{kernel.fn.__name__}"
        ordered = tuple((argument, signature[argument]) for argument in kernel.arg_names)
        aligned = tuple(kernel.arg_names[i] for (i,) in sorted(attrs))
        return cls(name, ordered, tuple(constants.items()), aligned, tuple(sorted(options.items())))

    @property
    def function(self) -> Any:
        """The jitted function."""
        module, _, name = self.kernel.partition(":")
        return getattr(importlib.import_module(module), name)

    @property
    def name(self) -> str:
        """Of the kernel alone."""
        return self.kernel.partition(":")[2]

    @property
    def shape(self) -> str:
        """For people: "H32 CI64 CO128 K5 norm_act; tile NB2 BM32"."""
        given = dict(self.constants)
        sizes = [f"{n}{given[n]}" if isinstance(given[n], int) else str(given[n]) for n in SIZES if given.get(n)]
        tile = [f"{n}{given[n]}" for n in SIDES if n in given]
        return " ".join(sizes) + (f"; tile {' '.join(tile)}" if tile else "")

    @property
    def variant(self) -> tuple[Any, ...]:
        """All that changes the kernel's code rather than its sizes: types, missing pointers, flags, modes."""
        return self.signature, tuple((name, value) for name, value in self.constants if type(value) is not int)

    @property
    def weight(self) -> int:
        """Elements of a program's tile: the largest is the likeliest to spill."""
        given, product = dict(self.constants), 1
        for side in SIDES:
            product *= given.get(side, 1)
        return product

    def key(self, capability: int, compiler: str) -> str:
        """A name for what the compiler makes of it: hexadecimal SHA-256 of the kernel's source and the rest."""
        record = [
            self.function.cache_key, self.signature, self.constants, self.aligned, self.options, capability, compiler,
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(record, default=str).encode()).hexdigest()

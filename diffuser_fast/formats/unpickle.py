"""Pickles read as data, by a machine for the few opcodes that configurations need. It can neither import nor call.

The original pickles its configurations together with their classes. Python's own reader would import those classes
(they are not installed, and no longer load on a new Python) and run whatever a foreign file asks for. Here a class is
a ``Name``, an object of it a ``Record``, and a call is refused, except the few that make plain containers, numbers,
paths and slices, which are made here (inert.py).
"""

from __future__ import annotations

import io
import os
import pickletools
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..core.contents import START, looks_like
from .inert import STAND_INS, Array, DType, Refused

LIMIT = 1 << 20  # bytes of a file, and elements copied; a configuration has under a thousand of either
KEY_LENGTH = 16  # members of a tuple that is a key


@dataclass(frozen=True)
class Name:
    """Stands for whatever ``module.name`` is; nothing was imported and it cannot be called."""

    module: str
    name: str

    def __str__(self) -> str:
        text = f"{self.module}.{self.name}"
        return text if len(text) <= 100 and text.isprintable() else ascii(text[:100])


@dataclass(eq=False)
class Record:
    """Stands for an object: the name of its class, and the attributes the pickle gave it."""

    type: Name
    state: dict[Any, Any] = field(default_factory=dict)


def read_pickle(path: str | os.PathLike[str]) -> Any:
    """The object in a file: None, numbers, strings, bytes, slices, containers, ``Name``, ``Record``, and arrays of
    numbers as ``inert.Array``, nothing else.

    Raises ValueError naming the file: no pickle, cut short, larger than a configuration, or asking for a call.
    Shared and recursive references are kept as they are, so what walks the result must bound its depth.
    """
    with open(path, "rb") as file:
        data = file.read(LIMIT + 1)
    if len(data) > LIMIT:
        raise ValueError(f"{path}: larger than {LIMIT} bytes, which no configuration is; it was not read")
    try:
        return Machine().run(data)
    except Refused as error:
        raise ValueError(f"{path}: the pickle {error}; only inert records are read, so nothing was run") from None
    except (
        ValueError,
        IndexError,
        KeyError,
        TypeError,
        AttributeError,
        struct.error,
        OverflowError,
    ) as error:
        looks = looks_like(data[:START])
        what = (
            f"({type(error).__name__}: {' '.join(str(error).split())[:100]})"
            if looks.startswith(("nothing known", "a bare"))
            else f"but {looks}"
        )
        raise ValueError(f"{path}: not a whole pickle {what}") from None


class Machine:
    """The pickle machine: stack, marks (heights of the stack) and memo. Bad operands end in an ordinary exception.

    Every operation takes time and memory in proportion to the bytes it was read from: a small file stays small.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.copied = 0

    def run(self, data: bytes) -> Any:
        for opcode, argument, _ in pickletools.genops(io.BytesIO(data)):
            if opcode.name == "STOP":
                return self.pop()
            if opcode.name in _CONSTANTS:
                self.stack.append(_CONSTANTS[opcode.name])
            elif opcode.name in _LITERALS:
                if isinstance(argument, int) and argument.bit_length() > 64:
                    raise Refused(f"holds a whole number of {argument.bit_length()} bits")
                self.stack.append(argument)
            elif opcode.name in _OPERATIONS:
                _OPERATIONS[opcode.name](self, argument)
            elif opcode.name not in _SILENT:
                raise Refused(f"uses {opcode.name}, which plain records do not need")
        raise ValueError("no STOP")

    def pop(self) -> Any:
        if self.marks and len(self.stack) <= self.marks[-1]:
            raise ValueError("a mark where a value should be")
        return self.stack.pop()

    def pop_to_mark(self) -> list[Any]:
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def copies(self, *sources: Any) -> None:
        # References are free, copies are not: a small file could ask for very many.
        self.copied += sum(len(s) for s in sources if hasattr(s, "__len__"))
        if self.copied > self.limit:
            raise Refused(f"asks to copy more than {self.limit} elements")

    def put(self, key: int) -> None:
        self.memo[key] = self.stack[-1]

    def global_name(self, argument: str) -> None:
        module, name = argument.split(" ", 1)
        self.stack.append(Name(module, name))

    def stack_global(self, _: Any) -> None:
        name, module = self.pop(), self.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise TypeError("a global's name must be a string")
        self.stack.append(Name(module, name))

    def extend(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, set):
            target.update(map(_key, values))
        elif type(target) is list:
            target.extend(values)
        else:
            raise Refused(f"appends to a {described(target)}")

    def set_items(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict:
            raise Refused(f"sets items of a {described(target)}")
        target.update(_pairs(list(zip(values[0::2], values[1::2], strict=True))))

    def new_object(self, keywords: Any = ()) -> None:
        arguments, kind = self.pop(), self.pop()
        if arguments or keywords:
            raise Refused(f"asks to call {described(kind)} with arguments")
        if not isinstance(kind, Name):
            raise TypeError("an object's class must be a global")
        self.stack.append(Record(kind))

    def build(self, state: Any) -> None:
        target = self.stack[-1]
        if isinstance(target, (DType, Array)) and isinstance(state, tuple):
            self.copies(*state)
            target.__setstate__(state)
            return
        if not isinstance(target, Record) or not isinstance(state, dict):
            raise Refused(f"sets the state of a {described(target)} from a {described(state)}")
        self.copies(state)
        target.state.update(state)

    def reduce(self, arguments: Any, function: Any) -> None:
        name = str(function) if isinstance(function, Name) else described(function)
        calls = self.calls()
        if name not in calls or not isinstance(arguments, tuple):
            raise Refused(f"asks to call {name}")
        self.copies(*arguments)
        self.stack.append(calls[name](*arguments))

    def calls(self) -> Mapping[str, Callable[..., Any]]:
        """What a pickle may call, and what is done instead."""
        return _CONTAINERS

    def persistent(self, reference: Any) -> Any:
        """What a reference to something outside the pickle stands for."""
        raise Refused("refers to something outside of it")


def _key(value: Any) -> Any:
    # Nested tuples may share their members, and then hashing takes exponential time.
    parts = value if type(value) is tuple else (value,)
    if len(parts) > KEY_LENGTH:
        raise Refused(f"uses a tuple of {len(parts)} as a key")
    for part in parts:
        if not isinstance(part, (str, bytes, int, float, Name, type(None))):
            raise Refused(f"uses a {described(part)} as a key")
    return value


def _pairs(values: Any = ()) -> dict[Any, Any]:
    items = values.items() if isinstance(values, dict) else values
    return {_key(key): value for key, value in items}


def _reconstructed(kind: Name, parent: Any, state: Any) -> Record:
    """What protocols 0 and 1 call to make an object."""
    if not isinstance(kind, Name) or parent not in (Name("builtins", "object"), Name("__builtin__", "object")) or state:
        raise Refused(f"asks to make a {described(kind)} out of {described(parent)}")
    return Record(kind)


def described(value: Any) -> str:
    """A value for an error: its class, and nothing of what it holds."""
    if isinstance(value, Name):
        return str(value)
    return str(value.type) if isinstance(value, Record) else type(value).__name__


# Globals a pickle may call, and what stands in for them. None of the originals is run.
_CONTAINERS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _pairs,
    "collections.defaultdict": lambda factory=None, values=(): _pairs(values),
    "torch.device": lambda *arguments: Record(Name("torch", "device"), {"arguments": arguments}),
}
_CONTAINERS |= STAND_INS
for _builtins in ("builtins", "__builtin__"):
    _CONTAINERS |= {
        f"{_builtins}.dict": _pairs,
        f"{_builtins}.list": lambda values=(): list(values),
        f"{_builtins}.tuple": lambda values=(): tuple(values),
        f"{_builtins}.set": lambda values=(): set(map(_key, values)),
        f"{_builtins}.frozenset": lambda values=(): frozenset(map(_key, values)),
    }
for _copyreg in ("copyreg", "copy_reg"):
    _CONTAINERS[f"{_copyreg}._reconstructor"] = _reconstructed

_SILENT = {"PROTO", "FRAME"}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_LITERALS = {
    "INT", "LONG", "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip
_OPERATIONS: dict[str, Callable[[Machine, Any], None]] = {
    "MARK": lambda m, _: m.marks.append(len(m.stack)),
    "EMPTY_LIST": lambda m, _: m.stack.append([]),
    "EMPTY_DICT": lambda m, _: m.stack.append({}),
    "EMPTY_SET": lambda m, _: m.stack.append(set()),
    "LIST": lambda m, _: m.stack.append(m.pop_to_mark()),
    "TUPLE": lambda m, _: m.stack.append(tuple(m.pop_to_mark())),
    "TUPLE1": lambda m, _: m.stack.append((m.pop(),)),
    "TUPLE2": lambda m, _: m.stack.append((m.pop(), m.pop())[::-1]),
    "TUPLE3": lambda m, _: m.stack.append((m.pop(), m.pop(), m.pop())[::-1]),
    "DICT": lambda m, _: (values := m.pop_to_mark(), m.stack.append({}), m.set_items(values)),
    "FROZENSET": lambda m, _: m.stack.append(frozenset(map(_key, m.pop_to_mark()))),
    "APPEND": lambda m, _: m.extend([m.pop()]),
    "APPENDS": lambda m, _: m.extend(m.pop_to_mark()),
    "ADDITEMS": lambda m, _: m.extend(m.pop_to_mark()),
    "SETITEM": lambda m, _: m.set_items([m.pop(), m.pop()][::-1]),
    "SETITEMS": lambda m, _: m.set_items(m.pop_to_mark()),
    "PUT": Machine.put,
    "BINPUT": Machine.put,
    "LONG_BINPUT": Machine.put,
    "MEMOIZE": lambda m, _: m.put(len(m.memo)),
    "GET": lambda m, key: m.stack.append(m.memo[key]),
    "BINGET": lambda m, key: m.stack.append(m.memo[key]),
    "LONG_BINGET": lambda m, key: m.stack.append(m.memo[key]),
    "POP": lambda m, _: m.pop(),
    "POP_MARK": lambda m, _: m.pop_to_mark(),
    "DUP": lambda m, _: m.stack.append(m.stack[-1]),
    "GLOBAL": Machine.global_name,
    "STACK_GLOBAL": Machine.stack_global,
    "NEWOBJ": lambda m, _: m.new_object(),
    "NEWOBJ_EX": lambda m, _: m.new_object(m.pop()),
    "BUILD": lambda m, _: m.build(m.pop()),
    "BINPERSID": lambda m, _: m.stack.append(m.persistent(m.pop())),
    "REDUCE": lambda m, _: m.reduce(m.pop(), m.pop()),
}

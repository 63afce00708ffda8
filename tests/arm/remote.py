"""``diffuser_fast._cpu`` in another process, perhaps of another architecture: tests of the engine run there unchanged.

    pytest tests/csrc --remote "qemu-aarch64 -cpu max build/arm/remote"

remote.cc is the other end. Only the engine is there; what it is compared with is computed here. Arguments go over as
they are: that arrays are what the binding takes for such is tested where the binding is (csrc/bind_cpu.cc).
"""

from __future__ import annotations

import struct
import subprocess
import sys
import threading
import weakref
from types import ModuleType

import numpy as np

STATUS = {"ok": 0, "busy": -2, "not_finite": -4, "cancelled": -10}  # of csrc/api.h
ARGUMENT = -3


class Process:
    """The process at the other end, started when it is first asked."""

    def __init__(self, command):
        self.command, self.process, self.lock = command, None, threading.Lock()
        self.forgotten = []  # engines that nobody holds any longer: they are closed before the next is opened

    def open(self, *fields):
        while self.forgotten:
            self.ask("close", self.forgotten.pop())
        return self.ask("open", *fields)

    def ask(self, *fields):
        """Fields of a request -> those of the answer. A number is an int; a text, an array, None are what they are.

        One request at a time: threads wait for each other here, so tests of what happens meanwhile make no sense.
        """
        with self.lock:
            return self._ask(fields)

    def _ask(self, fields):
        if self.process is None:
            self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        wire = self.process.stdin
        wire.write(struct.pack("<q", len(fields)))
        for field in fields:
            if isinstance(field, (int, np.integer)):
                field = struct.pack("<Q", int(field) & (1 << 64) - 1)
            data = field.encode() if isinstance(field, str) else field
            data = data if data is None or isinstance(data, bytes) else np.ascontiguousarray(data).tobytes()
            wire.write(struct.pack("<q", -1 if data is None else len(data)) + (data or b""))
        wire.flush()
        return [self._read(n) for n in (self._number() for _ in range(self._number()))]

    def _number(self):
        return struct.unpack("<q", self._read(8))[0]

    def _read(self, n):
        found = self.process.stdout.read(n)
        if len(found) < n:
            raise RuntimeError(f"{self.command[-1]} ended with {self.process.wait()}")
        return found


def number(field):
    """Of an answer."""
    return struct.unpack("<q", field)[0]


def fill(array, field):
    """Writes an answer's array over one of here."""
    array[...] = np.frombuffer(field, array.dtype).reshape(array.shape)


def module(command):
    """What stands in for ``_cpu``."""
    remote, made = Process(command), ModuleType("diffuser_fast._cpu")

    class Engine:
        def __init__(self, *, programs, columns, guide_steps, denoiser_tables, guide_tables, clip_low, clip_high,
                     table_steps, table_count, rows, batch, horizon, depth, threads, cores, group, profile, isa,
                     ):  # fmt: skip
            fields = []
            for one in programs:
                fields.append(int(one is not None))
                if one is not None:
                    fields += [one.ops, one.values, one.inputs, one.outputs, len(one.weights), *one.weights]
                    fields += [one.layouts, one.size, one.table_width]
            self.programs, self.batch = programs, batch
            self.steps = table_count if table_steps is not None else rows
            fields += [columns, guide_steps, *self._tables(denoiser_tables, 0), *self._tables(guide_tables, 1)]
            fields += [table_steps, clip_low, clip_high, np.array(cores, np.int32) if cores else None]
            fields += [table_count, batch, horizon, depth, rows, threads, group, int(profile), isa or ""]
            error, *facts = remote.open(*fields)
            if error:
                raise ValueError(error.decode())
            self.id, self.isa = number(facts[0]), facts[1].decode()
            self.threads, self.intra_op, self.group, self.groups = map(number, facts[2:])
            self.intra_op = bool(self.intra_op)
            weakref.finalize(self, remote.forgotten.append, self.id).atexit = False  # perhaps in the midst of a request

        def _tables(self, pair, role):
            width = self.programs[role].table_width if self.programs[role] is not None else 0
            if pair is None or width == 0 or self.steps == 0:
                return None, None, 0
            return *pair, 1 if pair[0].size == self.steps * width else self.batch

        def plan(self, *, mask, inpaint_values, inpaint_batch, tape, seed, plan, x, start, denoiser_tables,
                 guide_tables, candidates, x_out, values, order, chain, schedule, interruptible):  # fmt: skip
            fields = [mask, inpaint_values, inpaint_batch, start, x, tape, seed, plan, candidates]
            fields += [*self._tables(denoiser_tables, 0), *self._tables(guide_tables, 1), int(chain is not None)]
            fields.append(int(schedule is not None))
            if schedule is not None:
                assert "deadline" not in schedule, "deadlines have nothing to do with the CPU: they do not go over"
                fields += [schedule["rows"], schedule["n_schedules"], schedule["most"], schedule["skipped"]]
            status, detail, sentence, *found = remote.ask("plan", self.id, *fields)
            if number(status) == ARGUMENT:
                raise ValueError(sentence.decode())
            ran = None if schedule is None else schedule["ran"]
            for array, field in zip((x_out, values, order, chain, ran), found, strict=True):
                if array is not None:
                    fill(array, field)
            return number(status), number(detail)

        def run(self, role, inputs, table_row, outputs, fill_with):
            width = self.programs[role].table_width
            samples = self.batch if table_row is not None and table_row.size != width else 1
            fill_with = np.float32(fill_with).tobytes()
            status, *found = remote.ask("run", self.id, role, *inputs, table_row, samples, fill_with)
            for array, field in zip(outputs, found, strict=True):
                fill(array, field)
            return number(status)

        def first_noise(self, seed, plan, candidates, out):
            fill(out, remote.ask("first_noise", self.id, seed, plan, candidates)[0])

        def cancel(self):
            remote.ask("cancel", self.id)

        @property
        def shares(self):
            return bool(self._state(0))

        @property
        def dissolved(self):
            return self._state(1)

        @property
        def resumed(self):
            return self._state(2)

        def _state(self, i):
            return number(remote.ask("state", self.id)[i])

    def called(name):
        def call(isa, *arguments):
            *given, y = arguments
            known, found = remote.ask(name, isa, *given)
            if not number(known):
                raise ValueError(f"isa: this CPU does not have {isa}")
            fill(y, found)

        return call

    def self_test(path):
        """Of a bundle, in the C library at the other end: what it says against it."""
        status, sentence = remote.ask("self_test", str(path))
        return sentence.decode() if number(status) else None

    made.Engine, made.STATUS, made.self_test = Engine, STATUS, self_test
    made.isas = lambda: [name.decode() for name in remote.ask("isas")]
    for name in ("function", "philox", "normals"):
        setattr(made, name, called(name))
    return made


def install(command):
    """From now on ``diffuser_fast._cpu`` is the engine of that process. Before anything has imported it."""
    assert "diffuser_fast._cpu" not in sys.modules, "the engine of this machine is already loaded"
    sys.modules["diffuser_fast._cpu"] = module(command)

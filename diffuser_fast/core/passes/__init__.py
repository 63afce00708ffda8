"""Passes: a whole Program in, a whole Program out (or what an engine needs to run it: tables, memory, records)."""

from .branches import branch_weights, branches
from .fuse import fuse
from .memory import Arena, View, plan_memory
from .serialize import executed, serialize_ops, serialize_values
from .time_tables import Dense, time_tables
from .vjp import vjp

__all__ = [
    "Arena", "Dense", "View", "branch_weights", "branches", "executed", "fuse", "plan_memory", "serialize_ops",
    "serialize_values", "time_tables", "vjp",
]  # fmt: skip

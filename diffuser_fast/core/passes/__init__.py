"""Passes: a whole Program in, and out comes a Program (fuse, vjp) or what an engine needs to run one.

time_tables: time-embedding tables; plan_memory: where each value lies; serialize: the records that C++ reads.
"""

from .fuse import fuse
from .memory import Arena, View, plan_memory
from .serialize import Serialized, serialize
from .time_tables import embedding, time_tables
from .vjp import vjp

__all__ = ["Arena", "Serialized", "View", "embedding", "fuse", "plan_memory", "serialize", "time_tables", "vjp"]

"""The GPU engine: a SamplingLoop as a list of Triton launches over static buffers, replayed as one CUDA graph.

None of its kernels has run on a GPU yet: they are proven in Triton's interpreter and compiled offline.
"""

from ..gpu.staging import TableForm
from .engine import (
    INVARIANT,
    OPTIONS,
    SCHEDULES,
    evaluate,
    isas,
    launch_list,
    program_specialisations,
    ready,
    specialisations,
    why_not,
)
from .launches import Specialisation
from .support import SUPPORT
from .target import PRECISIONS

NAME = "triton"

__all__ = [
    "INVARIANT",
    "NAME",
    "OPTIONS",
    "PRECISIONS",
    "SCHEDULES",
    "SUPPORT",
    "Specialisation",
    "TableForm",
    "evaluate",
    "isas",
    "launch_list",
    "program_specialisations",
    "ready",
    "specialisations",
    "why_not",
]  # fmt: skip

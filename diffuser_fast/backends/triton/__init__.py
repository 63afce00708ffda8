"""The GPU engine: a SamplingLoop as a list of Triton launches over static buffers, replayed as one CUDA graph.

None of its kernels has run on a GPU yet: they are proven in Triton's interpreter and compiled offline.
"""

from .engine import OPTIONS, SCHEDULES, launch_list, program_specialisations, ready, run, specialisations, why_not
from .launches import Specialisation
from .staging import TableForm
from .support import SUPPORT
from .target import PRECISIONS

NAME = "triton"

__all__ = [
    "NAME",
    "OPTIONS",
    "PRECISIONS",
    "SCHEDULES",
    "SUPPORT",
    "Specialisation",
    "TableForm",
    "launch_list",
    "program_specialisations",
    "ready",
    "run",
    "specialisations",
    "why_not",
]  # fmt: skip

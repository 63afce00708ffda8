"""The GPU engine: a SamplingLoop as a list of Triton launches over static buffers, replayed as one CUDA graph.

None of its kernels has run on a GPU yet: they are proven in Triton's interpreter and compiled offline.
"""

from .engine import launch_list, ready, run, specialisations, why_not
from .launches import Specialisation
from .target import PRECISIONS

__all__ = ["PRECISIONS", "Specialisation", "launch_list", "ready", "run", "specialisations", "why_not"]

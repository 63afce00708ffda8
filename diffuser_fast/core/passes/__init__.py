"""Passes: a whole Program in, a whole Program out (``fold`` and ``place`` give numbers and addresses)."""

from .fold import embedding, fold
from .fuse import fuse
from .place import Layout, flat, place
from .vjp import vjp

__all__ = ["Layout", "embedding", "flat", "fold", "fuse", "place", "vjp"]

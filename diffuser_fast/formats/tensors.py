"""Tensors by name, of a safetensors file or of a bare state dict that torch wrote."""

from __future__ import annotations

from pathlib import Path

from numpy.typing import NDArray

from .native import is_safetensors, read_header, read_safetensors
from .state_dict import plain_keys
from .torch_zip import Archive


def read_tensors(path: Path) -> dict[str, NDArray]:
    """Name -> array, float32 or wider; ValueError names the file, FileNotFoundError where there is none."""
    if is_safetensors(path):
        return read_safetensors(path, read_header(path))
    archive = Archive(path)
    return plain_keys(archive.state_dict(archive.content, "its content"))

"""Triton is made for Linux alone; elsewhere its backend cannot be imported, and says so (tests/cli, doctor)."""

import importlib.util

if importlib.util.find_spec("triton") is None:
    collect_ignore_glob = ["test_*.py"]

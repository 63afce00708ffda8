"""Triton's interpreter on CPU tensors. Triton reads TRITON_INTERPRET when a kernel is decorated, so these tests need a
process of their own: `make test` runs them in one, `TRITON_INTERPRET=1 pytest tests/interpreted` does the same."""

import os

if os.environ.get("TRITON_INTERPRET") != "1":
    collect_ignore_glob = ["test_*.py"]

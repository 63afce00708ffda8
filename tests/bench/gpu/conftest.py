"""As in the folder above: the benchmarks are imported from the checkout."""

import pytest

pytest.importorskip("torch")

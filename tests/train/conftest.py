"""Training in one thread."""

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    """Bitwise equality needs one order of summation."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)

"""What every test here runs under."""

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """These tensors are small: a second thread costs more than it saves."""
    torch.set_num_threads(1)

"""Arrays are arrays, whoever made them; everything else is refused by the argument's name."""

import re

import numpy as np
import pytest
import torch

from diffuser_fast.core.arrays import as_numbers
from diffuser_fast.core.checkpoint import Weights
from diffuser_fast.core.lower import lower
from diffuser_fast.core.normalizers import Gaussian
from diffuser_fast.core.spec import UNetSpec

ROW = [0.5, -2.0, 3.0]
LEAF = torch.tensor(ROW, requires_grad=True)
MASKED = np.ma.masked_array(ROW, mask=[False, True, False])


@pytest.mark.parametrize(
    "value",
    [
        ROW, tuple(ROW), np.array(ROW), np.array(ROW, np.float16), np.array(ROW, object), np.ma.masked_array(ROW),
        [np.float32(v) for v in ROW], torch.tensor(ROW), LEAF, LEAF * 1, torch.tensor(ROW, dtype=torch.bfloat16),
        torch.tensor(ROW, dtype=torch.float8_e4m3fn), torch.nn.Parameter(torch.tensor(ROW)),
        [torch.tensor(v, requires_grad=True) for v in ROW], torch.tensor([*ROW, 1.0])[:3], torch.tensor(ROW).double(),
    ],
    ids=lambda value: f"{type(value).__name__}",
)  # fmt: skip
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_numbers(value, dtype):
    found = as_numbers("x", value, dtype)
    assert type(found) is np.ndarray and found.dtype == dtype and found.tolist() == ROW


def test_rows_of_tensors_and_a_view_on_the_wrong_way_round():
    assert as_numbers("x", [LEAF, LEAF]).tolist() == [ROW, ROW]
    assert as_numbers("x", [[LEAF[0], 2.0], [3, 4]]).tolist() == [[0.5, 2], [3, 4]]
    assert as_numbers("x", torch.tensor([[1, 2], [3, 4]]).T).tolist() == [[1, 3], [2, 4]]


def test_an_array_is_not_copied():
    array = np.array(ROW)
    assert as_numbers("x", array) is array and as_numbers("x", array, np.float32) is not array


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("here", "x: expected numbers, found str"),
        (["1", "2"], "x: expected numbers, found list of dtype <U1"),  # numpy would read them
        ([1j, 2], "x: expected numbers, found list of dtype complex128"),  # and drop the imaginary part
        (MASKED, "x: expected numbers, found a masked array that hides 1 of them"),  # and show what is hidden
        ([1, [2, 3]], "x: expected numbers, found list of uneven lengths"),
        ([object(), 1], "x: expected numbers, found list with <object object"),
        (np.array([1], "datetime64[D]"), "x: expected numbers, found ndarray of dtype datetime64[D]"),
        (torch.tensor(ROW).to_sparse(), "x: expected dense numbers, found Tensor of dtype torch.float32"),
        (torch.empty(3, device="meta"), "x: expected dense numbers, found Tensor of dtype torch.float32"),
        (torch.tensor([1j]), "x: expected numbers, found Tensor of dtype complex64"),
        (lambda: 1, "x: expected numbers, found function"),
    ],
)
def test_what_is_no_number(value, sentence):
    with pytest.raises(TypeError, match=f"^{re.escape(sentence)}"):
        as_numbers("x", value)


@pytest.mark.parametrize(
    ("value", "dtype"),
    [([1, np.nan], np.float64), ([1, None], np.float64), ([1, 1e300], np.float32), (torch.tensor([1, np.inf]), float)],
)
def test_what_is_not_finite(value, dtype):
    with pytest.raises(ValueError, match=r"x: expected finite numbers, found (nan|inf) at index \[1\]"):
        as_numbers("x", value, dtype)
    assert not np.isfinite(as_numbers("x", value, dtype, finite=False)[1])


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float64])
def test_weights_may_be_tensors_and_are_their_own(kind):
    spec = UNetSpec(8, 3, dim=8, dim_mults=(1,))
    tensors = {name: torch.full(shape, 0.5, dtype=kind).requires_grad_() for name, shape in lower(spec).weights.items()}
    weights = Weights(spec, tensors)
    with torch.no_grad():
        for tensor in tensors.values():
            tensor.mul_(2)
    assert all((array == 0.5).all() and array.dtype == np.float32 for array in weights.arrays.values())


def test_statistics_may_be_tensors():
    assert Gaussian(LEAF, torch.ones(3, dtype=torch.bfloat16)).means.tolist() == ROW
    assert Gaussian.fit(torch.stack([LEAF, LEAF + 2])).means.tolist() == [1.5, -1, 4]
    with pytest.raises(TypeError, match="stds: expected numbers, found list of dtype <U3"):
        Gaussian([0.0], ["1.0"])

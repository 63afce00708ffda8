"""Numbers are numbers, whoever made them; everything else is refused by the argument's name."""

import enum
import re

import numpy as np
import pytest
import torch

from diffuser_fast.core.guidance import Guide
from diffuser_fast.core.samplers import ddim, ddpm
from diffuser_fast.core.scalars import flag, real, shown, whole
from diffuser_fast.core.schedule import cosine
from diffuser_fast.core.spec import UNetSpec, ValueSpec, spec_to_json


class Colour(enum.IntEnum):
    RED = 3


SIXES = [6, np.int8(6), np.int64(6), np.uint16(6), np.array(6), torch.tensor(6), torch.tensor(6, dtype=torch.int8)]
HALVES = [0.5, np.float16(0.5), np.float32(0.5), np.float64(0.5), np.longdouble(0.5), np.array(0.5, np.float32)]
HALVES += [torch.tensor(0.5), torch.tensor(0.5, requires_grad=True), torch.tensor(0.5, dtype=torch.bfloat16)]


@pytest.mark.parametrize("value", [*SIXES, Colour.RED], ids=repr)
def test_whole_numbers(value):
    found = whole("n", value, 0, 6)
    assert type(found) is int and found == int(value)
    assert type(real("n", value)) is float


@pytest.mark.parametrize("value", HALVES, ids=repr)
def test_real_numbers(value):
    found = real("n", value, 0, 1)
    assert type(found) is float and found == 0.5
    with pytest.raises(ValueError, match=r"n: found .*0.5.*, expected a whole number"):
        whole("n", value)


@pytest.mark.parametrize("value", [True, np.True_, np.array(True), torch.tensor(True)], ids=repr)
def test_truth_is_no_number(value):
    assert flag("f", value) is True
    for check in (whole, real):
        with pytest.raises(ValueError, match=r"n: found .*[Tt]rue"):
            check("n", value)


@pytest.mark.parametrize("value", [None, "6", b"6", 6j, [6], np.array([6]), torch.tensor([6]), np.str_("6"), int, {}])
def test_what_is_no_number(value):
    for check in (whole, real, flag):
        with pytest.raises(ValueError, match="n: found "):
            check("n", value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, np.float32("nan"), torch.tensor(float("inf"))])
def test_what_is_not_finite(value):
    for low in (-np.inf, 0):
        with pytest.raises(ValueError, match="n: found "):
            real("n", value, low)


def test_limits_are_said():
    for call, sentence in [
        (lambda: whole("n", 7, 1, 6), "n: found 7, expected a whole number from 1 to 6"),
        (lambda: whole("n", np.int64(0), 1), f"n: found {np.int64(0)!r}, expected a whole number at least 1"),
        (lambda: whole("n", "x"), "n: found 'x', expected a whole number"),
        (lambda: real("n", -1, 0), "n: found -1, expected a number at least 0"),
        (lambda: real("n", 2, 0, 1), "n: found 2, expected a number from 0 to 1"),
        (lambda: real("n", "x"), "n: found 'x', expected a finite number"),
        (lambda: flag("n", 1), "n: found 1, expected True or False"),
    ]:
        with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
            call()


def test_what_is_shown_is_one_short_line():
    text = shown(np.zeros((40, 40)))
    assert "\n" not in text and len(text) == 60 and text.endswith("...")


def test_records_keep_pythons_own_numbers():
    """So that they compare, hash and go into JSON as if they had been written by hand."""
    guide = Guide(np.float32(0.5), np.int64(2), torch.tensor(1), np.True_)
    assert guide == Guide(0.5, 2, 1, True) and repr(guide) == repr(Guide(0.5, 2, 1, True))
    sizes = (np.int64(16), np.int64(5), np.int32(16), (np.int64(1), np.int64(2)))
    assert spec_to_json(UNetSpec(*sizes, attention=np.False_)) == spec_to_json(UNetSpec(16, 5, 16, (1, 2)))
    assert repr(ValueSpec(*sizes[:3], (np.int64(1), np.int64(4)))) == repr(ValueSpec(16, 5, 16, (1, 4)))


def test_samplers_take_them():
    schedule = cosine(np.int64(6))
    np.testing.assert_array_equal(ddpm(schedule, n_steps=np.int64(3)).s, ddpm(cosine(6), n_steps=3).s)
    np.testing.assert_array_equal(ddim(schedule, eta=np.float32(0.5)).s, ddim(cosine(6), eta=0.5).s)

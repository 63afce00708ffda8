"""The kinds of op, and the C++ header written from them."""

from pathlib import Path

import pytest

from diffuser_fast.core.ops import (
    KINDS,
    OP_FIELDS,
    VALUE_FIELDS,
    conv_length,
    header,
    op_weight_bytes,
)
from diffuser_fast.core.program import Builder

HEADER = Path(__file__).resolve().parents[2] / "csrc" / "ops.gen.h"


def test_the_header_in_csrc_is_this_one():
    if not HEADER.exists():
        pytest.skip("csrc/ops.gen.h is not written yet")
    assert HEADER.read_text() == header(), "run python -m diffuser_fast.core.ops > csrc/ops.gen.h"


def test_opcodes_and_fields_are_distinct():
    assert len({kind.opcode for kind in KINDS.values()}) == len(KINDS)
    assert len(set(OP_FIELDS)) == len(OP_FIELDS) and len(set(VALUE_FIELDS)) == len(VALUE_FIELDS)
    for name, kind in KINDS.items():
        assert set(kind.attrs) <= set(OP_FIELDS), name
        assert kind.ins[1] <= 2 and kind.weights[1] <= 4 and kind.outs[1] <= 2, name


def test_the_header_numbers_each_name_once():
    names = [line.split(" = ")[0].strip() for line in header().splitlines() if " = " in line]
    assert len(names) == len(set(names)) == len(KINDS) + len(OP_FIELDS) + len(VALUE_FIELDS) + 3
    assert f"kConvBlock = {KINDS['conv_block'].opcode}," in header()
    assert f"kOpQScale = {OP_FIELDS.index('q_scale')}," in header()


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("k", [1, 3, 4, 5])
@pytest.mark.parametrize("length", [1, 2, 7, 8])
def test_conv_length_counts_windows(length, k, stride):
    pad = k // 2
    starts = range(-pad, length + pad - k + 1, stride)
    assert conv_length(length, k, stride, pad, False) == len(starts)
    # Scattering instead of gathering: from the first tap of the first to the last tap of the last, less the padding.
    assert conv_length(length, k, stride, pad, True) == (length - 1) * stride + k - 2 * pad


def test_weight_bytes():
    b = Builder((3, 8))
    program = b.done(b.conv(0, "c", 5, k=3))
    assert op_weight_bytes(program.ops[0], program.weights) == 4 * (5 * 3 * 3 + 5)

"""The kinds of op, and the C++ headers written from them."""

from pathlib import Path

import pytest

from diffuser_fast.backends.cpu import header as layout_header
from diffuser_fast.core import header
from diffuser_fast.core.ops import ACTS, ATTRS, KINDS, OP_FIELDS, VALUE_FIELDS, conv_length, op_weight_bytes
from diffuser_fast.core.program import Builder
from diffuser_fast.core.samplers import ENGINE_COLUMNS

CSRC = Path(__file__).resolve().parents[2] / "csrc"


@pytest.mark.parametrize(("path", "module"), [("ops.gen.h", header), ("cpu/layout.gen.h", layout_header)])
def test_the_headers_in_csrc_are_these(path, module):
    command = f"python -m {module.__name__} > csrc/{path}"
    assert (CSRC / path).read_text() == module.header(), f"run {command}"
    assert f"`{command}`" in module.header().splitlines()[0]


@pytest.mark.parametrize("module", [header, layout_header])
def test_the_headers_number_each_name_once(module):
    names = [line.split(" = ")[0].split()[-1] for line in module.header().splitlines() if " = " in line]
    assert len(names) == len(set(names)) > 20


def test_opcodes_and_fields_are_distinct():
    assert len({kind.opcode for kind in KINDS.values()}) == len(KINDS)
    assert len(set(OP_FIELDS)) == len(OP_FIELDS) and len(set(VALUE_FIELDS)) == len(VALUE_FIELDS)
    for name, kind in KINDS.items():
        assert set(kind.attrs) <= set(OP_FIELDS) & set(ATTRS), name
        assert kind.ins[1] <= 2 and kind.weights[1] <= 4 and kind.outs[1] <= 2, name


def test_the_header_has_every_kind_field_activation_and_column():
    text = header.header()
    for name, kind in KINDS.items():
        assert f" k{header.camel(name)} = {kind.opcode}," in text
    for prefix, names in (("Op", OP_FIELDS), ("Value", VALUE_FIELDS), ("Act", ACTS), ("Column", ENGINE_COLUMNS)):
        for n, name in enumerate(names):
            assert f" k{prefix}{header.camel(name)} = {n}," in text


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

"""Program and Op: their digest, their text, and what an op's record asserts."""

import subprocess
import sys
from dataclasses import replace

import pytest

from diffuser_fast.core.lower import lower
from diffuser_fast.core.program import Builder, Op
from diffuser_fast.core.spec import UNetSpec, ValueSpec

SPEC = ValueSpec(8, 5, dim=8, dim_mults=(1, 4))


def test_the_digest_is_the_same_in_another_process():
    code = (
        "from diffuser_fast.core.lower import lower; from diffuser_fast.core.spec import ValueSpec;"
        "print(lower(ValueSpec(8, 5, dim=8, dim_mults=(1, 4))).net.digest())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert other.strip() == lower(SPEC).net.digest()


def test_the_digest_tells_programs_apart():
    program = lower(SPEC).net
    op = program.ops[0]
    others = [
        lower(replace(SPEC, horizon=16)).net,
        lower(replace(SPEC, kernel_size=3)).net,
        lower(replace(SPEC, middle="none")).net,
        lower(UNetSpec(8, 5, dim=8, dim_mults=(1, 4))).net,
        replace(program, outputs=(3,)),
        replace(program, table_width=program.table_width + 1),
        replace(program, ops=(replace(op, attrs={**op.attrs, "pad": 1}), *program.ops[1:])),
    ]
    digests = {p.digest() for p in [program, *others]}
    assert len(digests) == 1 + len(others) and all(len(d) == 64 for d in digests)


def test_the_text_has_a_line_per_op():
    b = Builder((3, 8))
    y = b.conv(0, "c", 5, k=3, stride=2)
    assert str(b.done(b.act(y))).split("\n") == [
        "inputs %0[3x8]",
        "%1[5x4] = conv %0[3x8] c.weight c.bias k=3 stride=2 pad=1 transposed=False",
        "%2[5x4] = act %1[5x4]  act=mish",
        "outputs %2[5x4]",
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ("conv", (1,), (0,), (), {"k": 1, "stride": 1, "pad": 0, "transposed": False}),
        ("act", (1,), (0, 0), (), {"act": "mish"}),
        ("act", (1, 2), (0,), (), {"act": "mish"}),
        ("act", (1,), (0,), (), {}),
        ("add", (2,), (0, 1), (), {"scale": 2}),
    ],
)
def test_an_op_asserts_its_operands(arguments):
    with pytest.raises(AssertionError):
        Op(*arguments)


def test_programs_cannot_be_changed():
    program = lower(SPEC).net
    with pytest.raises(TypeError):
        program.weights["x"] = (1,)
    with pytest.raises(TypeError):
        program.ops[0].attrs["k"] = 7


def test_a_weight_has_one_owner():
    b = Builder((3, 8))
    b.conv(0, "c", 5, k=3)
    with pytest.raises(AssertionError, match=r"c\.weight"):
        b.conv(0, "c", 5, k=3)


def test_consumers_are_in_order_and_once_each():
    b = Builder((3, 8))
    x = b.act(0)
    twice = b.add(x, x)
    program = b.done(b.add(x, twice))
    assert [op.outs[0] for op in program.consumers()[x]] == [twice, program.outputs[0]]
    assert program.outputs[0] not in program.consumers()


def test_flops_of_a_convolution():
    b = Builder((3, 8))
    assert b.done(b.conv(0, "c", 5, k=3, stride=2)).flops == 2 * 3 * 5 * 3 * 4
    b = Builder((3, 8))
    assert b.done(b.conv(0, "c", 5, k=4, stride=2, pad=1, transposed=True)).flops == 2 * 3 * 5 * 4 * 8

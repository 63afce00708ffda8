"""Program and Op: their digest, their text, and that nobody can change them. (test_verify.py: what they refuse.)"""

import copy
import pickle
import subprocess
import sys
from dataclasses import replace

import pytest

from diffuser_fast.core.lower import lower
from diffuser_fast.core.program import Builder, ProgramError
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
    n, act = next((n, op) for n, op in enumerate(program.ops) if op.kind == "act")
    others = [
        lower(replace(SPEC, horizon=16)).net,
        lower(replace(SPEC, kernel_size=3)).net,
        lower(replace(SPEC, middle="none")).net,
        lower(UNetSpec(8, 5, dim=8, dim_mults=(1, 4))).net,
        replace(program, outputs={"y": 3}),
        replace(program, outputs={"z": program.outputs["y"]}),
        replace(program, inputs={"observation": program.inputs["x"]}),
        replace(program, table_width=program.table_width + 1),
        replace(program, ops=(*program.ops[:n], replace(act, attrs={"act": "silu"}), *program.ops[n + 1 :])),
    ]
    digests = {p.digest() for p in [program, *others]}
    assert len(digests) == 1 + len(others) and all(len(d) == 64 for d in digests)


def test_the_text_has_a_line_per_op():
    b = Builder((3, 8))
    y = b.conv(0, "c", 5, k=3, stride=2)
    assert str(b.done(b.act(y))).split("\n") == [
        "inputs x=%0[3x8]",
        "%1[5x4] = conv %0[3x8] c.weight c.bias k=3 stride=2 pad=1 transposed=False",
        "%2[5x4] = act %1[5x4]  act=mish",
        "outputs y=%2[5x4]",
    ]


def test_programs_cannot_be_changed():
    program = lower(SPEC).net
    with pytest.raises(TypeError):
        program.weights["x"] = (1,)
    with pytest.raises(TypeError):
        program.ops[0].attrs["k"] = 7


def test_a_weight_has_one_owner():
    b = Builder((3, 8))
    b.conv(0, "c", 5, k=3)
    with pytest.raises(ProgramError, match=r"weight 'c\.weight' has an owner already"):
        b.conv(0, "c", 5, k=3)


def test_consumers_are_in_order_and_once_each():
    b = Builder((3, 8))
    x = b.act(0)
    twice = b.add(x, x)
    program = b.done(b.add(x, twice))
    assert [op.outs[0] for op in program.consumers()[x]] == [twice, program.outputs["y"]]
    assert program.outputs["y"] not in program.consumers()


def test_flops_of_a_convolution():
    b = Builder((3, 8))
    assert b.done(b.conv(0, "c", 5, k=3, stride=2)).flops == 2 * 3 * 5 * 3 * 4
    b = Builder((3, 8))
    assert b.done(b.conv(0, "c", 5, k=4, stride=2, pad=1, transposed=True)).flops == 2 * 3 * 5 * 4 * 8


def test_inputs_and_outputs_are_named():
    b = Builder((3, 8), dy=(5, 8))
    extra = b.input("condition", (1, 8))
    program = b.done(b.act(0), condition=extra, again=b.act(1))
    assert dict(program.inputs) == {"x": 0, "dy": 1, "condition": 2} and program.shapes[extra] == (1, 8)
    assert dict(program.outputs) == {"y": 3, "condition": 2, "again": 4}
    assert dict(Builder.extending(program).inputs) == dict(program.inputs)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_programs_are_copied_and_pickled(copied):
    program = lower(SPEC).net
    assert copied(program) == program and copied(program).digest() == program.digest()

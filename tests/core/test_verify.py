"""What a Program refuses, and what is said of it; and which op an engine lacks."""

from dataclasses import replace

import pytest

from diffuser_fast.core.lower import lower
from diffuser_fast.core.ops import ACTS, KINDS
from diffuser_fast.core.passes import fuse, vjp
from diffuser_fast.core.program import Builder, Op, Program, ProgramError
from diffuser_fast.core.spec import ValueSpec
from diffuser_fast.core.verify import Support, unsupported

CONV = {"k": 3, "stride": 1, "pad": 1, "transposed": False}
NORM = {"groups": 2, "eps": 1e-5}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("relu", (1,), (0,), (), {}), "found kind 'relu', expected one of conv, "),
        (("act", (1,), (0, 0), (), {"act": "mish"}), "act takes 1 ins, found 2"),
        (("act", (1, 2), (0,), (), {"act": "mish"}), "act takes 1 outs, found 2"),
        (("conv", (1,), (0,), (), CONV), "conv takes 1 to 2 weights, found 0"),
        (("act", (1,), (0,), (), {}), "act has attributes act, found "),
        (("add", (2,), (0, 1), (), {"scale": 2}), "add has attributes none, found scale"),
        (("act", (1,), (0,), (), {"act": "tanh"}), "act: act: found 'tanh', expected one of mish, silu, relu, gelu"),
        (("conv", (1,), (0,), ("w",), CONV | {"k": 0}), "conv: k: found 0, expected at least 1"),
        (("conv", (1,), (0,), ("w",), CONV | {"k": 3.0}), "conv: k: found 3.0, expected an int"),
        (("conv", (1,), (0,), ("w",), CONV | {"k": True}), "conv: k: found True, expected an int"),
        (("conv", (1,), (0,), ("w",), CONV | {"pad": -1}), "conv: pad: found -1, expected at least 0"),
        (("conv", (1,), (0,), ("w",), CONV | {"transposed": 1}), "conv: transposed: found 1, expected a bool"),
        (
            ("group_norm", (1,), (0,), ("g", "b"), NORM | {"eps": float("nan")}),
            "group_norm: eps: found nan, expected a float",
        ),
        (
            ("group_norm", (1,), (0,), ("g", "b"), NORM | {"eps": -1.0}),
            "group_norm: eps: found -1.0, expected at least 0",
        ),
        (("slice", (1,), (0,), (), {"lo": -1}), "slice: lo: found -1, expected at least 0"),
    ],
)
def test_an_op_by_itself(arguments, message):
    with pytest.raises(ProgramError, match="^" + message.replace("(", r"\(")):
        Op(*arguments)


def program(kind, ins, outs, weights=(), table_width=0, **attrs):
    """A program of one op over values of these shapes, its weights of those."""
    names, numbers = tuple(f"w{n}" for n in range(len(weights))), tuple(range(len(ins) + len(outs)))
    op = Op(kind, numbers[len(ins) :], numbers[: len(ins)], names, attrs)
    inputs = {f"x{n}": n for n in range(len(ins))}
    return Program((op,), (*ins, *outs), inputs, {"y": len(ins)}, dict(zip(names, weights, strict=True)), table_width)


CHANNEL = (4,)
WRONG = {
    "add of 4x8 and 9x3": (("add", [(4, 8), (9, 3)], [(4, 8)]), r"shape: found \(9, 3\), expected \(4, 8\)"),
    "add into another shape": (("add", [(4, 8)] * 2, [(4, 7)]), r"shape: found \(4, 7\)"),
    "act into another shape": (("act", [(4, 8)], [(4, 9)], (), 0, {"act": "mish"}), r"shape: found \(4, 9\)"),
    "concat of two lengths": (("concat", [(4, 8), (4, 9)], [(8, 8)]), "length: found 9, expected 8"),
    "concat into another width": (("concat", [(4, 8), (5, 8)], [(8, 8)]), r"output: found \(8, 8\), expected \(9, 8\)"),
    "slice past the end": (("slice", [(6, 8)], [(4, 8)], (), 0, {"lo": 3}), r"channels 3 \.\. 6 of 6"),
    "slice of another length": (("slice", [(6, 8)], [(4, 7)], (), 0, {"lo": 0}), "length: found 7, expected 8"),
    "conv of another width": (
        ("conv", [(3, 8)], [(4, 8)], [(4, 2, 3)], 0, CONV),
        r"w: found \(4, 2, 3\), expected \(4, 3, 3\)",
    ),
    "conv transposed": (
        ("conv", [(3, 8)], [(4, 8)], [(4, 3, 3)], 0, CONV | {"transposed": True}),
        r"expected \(3, 4, 3\)",
    ),
    "conv bias": (("conv", [(3, 8)], [(4, 8)], [(4, 3, 3), (3,)], 0, CONV), r"bias: found \(3,\), expected \(4,\)"),
    "conv length": (("conv", [(3, 8)], [(4, 7)], [(4, 3, 3)], 0, CONV), "output length: found 7, expected 8"),
    "adjoint too long": (
        ("conv", [(3, 4)], [(4, 9)], [(3, 4, 3)], 0, CONV | {"stride": 2, "transposed": True}),
        "output length: found 9, expected 7 to 8",
    ),
    "conv residual": (("conv", [(3, 8), (4, 7)], [(4, 8)], [(4, 3, 3)], 0, CONV), r"r: found \(4, 7\)"),
    "groups": (("group_norm", [(5, 8)], [(5, 8)], [(5,), (5,)], 0, NORM), "groups: 2 do not divide 5 channels"),
    "norm's weights": (("group_norm", [(4, 8)], [(4, 8)], [CHANNEL, (3,)], 0, NORM), r"weight: found \(3,\)"),
    "no column": (("step_bias", [(4, 8)], [(4, 8)], (), 4, {"table": -1}), "table: found -1, expected a column"),
    "no such column": (("step_bias", [(4, 8)], [(4, 8)], (), 5, {"table": 2}), r"columns 2 \.\. 5 of a table 5 wide"),
    "no table at all": (("step_bias", [(4, 8)], [(4, 8)], (), 0, {"table": 0}), "a table 0 wide"),
    "heads": (
        ("linear_attention", [(12, 8)], [(4, 8)], (), 0, {"heads": 3, "q_scale": 1.0}),
        "heads: 3 do not divide 4",
    ),
    "qkv": (("linear_attention", [(8, 8)], [(4, 8)], (), 0, {"heads": 2, "q_scale": 1.0}), r"qkv: found \(8, 8\)"),
    "a gradient of another shape": (
        ("act_vjp", [(4, 8), (4, 9)], [(4, 8)], (), 0, {"act": "relu"}),
        r"shape: found \(4, 9\)",
    ),
    "block's norm": (
        (
            "conv_block",
            [(3, 8)],
            [(4, 8)],
            [(4, 3, 3), CHANNEL, (3,), CHANNEL],
            0,
            CONV | NORM | {"act": "mish", "table": -1},
        ),
        r"weight: found \(3,\)",
    ),
    "block's second output": (
        (
            "conv_block",
            [(3, 8)],
            [(4, 8), (4, 7)],
            [(4, 3, 3), *[CHANNEL] * 3],
            0,
            CONV | NORM | {"act": "mish", "table": -1},
        ),
        r"shape: found \(4, 7\)",
    ),
    "an empty value": (("add", [(0, 8)] * 2, [(0, 8)]), "value 0: found shape"),
    "a length that is none": (("add", [(4, 8.0)] * 2, [(4, 8.0)]), "value 0: found shape"),
}


@pytest.mark.parametrize("name", WRONG)
def test_shapes_and_weights(name):
    (kind, ins, outs, *rest), message = WRONG[name]
    weights, width, attrs = (*rest, *((), 0, {})[len(rest) :])
    with pytest.raises(ProgramError, match=message) as error:
        program(kind, ins, outs, weights, width, **attrs)
    assert f"op 0 ({kind}): " in str(error.value) or "value 0" in message


def good():
    b = Builder((4, 8))
    return b.done(b.add(b.act(b.conv(0, "c", 4, k=3)), 0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"outputs": {"y": 9}}, r"outputs: found {'y': 9}, expected names of values 0 \.\. 3"),
        ({"outputs": {}}, "outputs: found {}"),
        ({"inputs": {"x": 0, "again": 0}}, "inputs: two names for one value"),
        ({"inputs": {"x": 1}}, r"op 0 \(conv\): it reads value 0 before anything makes it"),
        ({"weights": {}}, r"op 0 \(conv\): its weight 'c.weight' is not one of the program's"),
        ({"weights": {"c.weight": (4, 4, 3), "c.bias": (4, -1)}}, "weight 'c.bias': found shape"),
        ({"table_width": -1}, "table_width: found -1"),
        ({"shapes": ((4, 8), (4, 8), (4, 8), (5, 8))}, r"op 2 \(add\): shape"),
    ],
)
def test_a_program_as_a_whole(changes, message):
    with pytest.raises(ProgramError, match=message):
        replace(good(), **changes)


@pytest.mark.parametrize(
    ("ops", "message"),
    [
        (lambda a, b, c: (b, a, c), r"op 0 \(act\): it reads value 1 before"),
        (lambda a, b, c: (a, b, c, c), r"op 3 \(add\): it makes \(3,\), and a value is made once"),
        (lambda a, b, c: (a, b, replace(c, outs=(0,))), r"op 2 \(add\): it makes \(0,\), and a value is made once"),
        (lambda a, b, c: (a, b, replace(c, ins=(2, 17))), r"op 2 \(add\): value 17 is not one of 0 \.\. 3"),
        (lambda a, b, c: (a, b), "outputs: nothing makes {'y': 3}"),
    ],
)
def test_the_order_of_ops(ops, message):
    with pytest.raises(ProgramError, match=message):
        replace(good(), ops=ops(*good().ops))


def test_a_program_error_is_a_value_error():
    assert issubclass(ProgramError, ValueError)


# ------------------------------------------------------------------------------------------------- what engines lack


ALL = Support(kinds=frozenset(KINDS), acts=frozenset(ACTS))


def test_everything_is_supported_unless_something_is_left_out():
    gradient = fuse(vjp(lower(ValueSpec(8, 5, dim=8, dim_mults=(1, 4))).net))
    assert unsupported(gradient, ALL) is None
    for kind in KINDS:
        reason = unsupported(gradient, replace(ALL, kinds=ALL.kinds - {kind}))
        if any(op.kind == kind for op in gradient.ops):
            number = next(n for n, op in enumerate(gradient.ops) if op.kind == kind)
            assert reason == f"op {number}: there is no kernel for {kind}"
        else:
            assert reason is None


@pytest.mark.parametrize("act", ACTS)
def test_activations_are_supported_one_by_one(act):
    b = Builder((4, 8))
    program = b.done(b.act(b.group_norm(0, "n", 2), act))
    assert unsupported(program, replace(ALL, acts=frozenset({act}))) is None
    reason = unsupported(program, replace(ALL, acts=ALL.acts - {act}))
    assert reason == f"op 1 (act): there is no kernel for the activation {act}"


def test_an_engine_may_have_a_rule_of_its_own():
    support = replace(ALL, rule=lambda op, program: "no strides here" if op.attrs.get("stride", 1) > 1 else None)
    b = Builder((4, 8))
    assert unsupported(b.done(b.conv(0, "c", 4, k=3)), support) is None
    b = Builder((4, 8))
    assert unsupported(b.done(b.conv(0, "c", 4, k=3, stride=2)), support) == "op 0 (conv): no strides here"


@pytest.mark.parametrize(
    "make",
    [
        lambda: Op(["conv"], (1,), (0,)),
        lambda: Op("act", (1,), (0,), attrs=3),
        lambda: Program(("act",), ((4, 8),), {"x": 0}, {"y": 0}, {}),
        lambda: Program((), (4, 8), {"x": 0}, {"y": 0}, {}),
        lambda: Program((), ((4, 8),), 3, {"y": 0}, {}),
        lambda: Program((), ((4, 8),), {"x": "0"}, {"y": 0}, {}),
    ],
)
def test_what_is_no_record_at_all(make):
    with pytest.raises(ProgramError):
        make()


@pytest.mark.parametrize(("name", "value"), [("stride", 2**33), ("k", 5000), ("eps", 1e300), ("groups", 2**40)])
def test_numbers_that_no_engine_holds(name, value):
    attrs = (
        {"k": 3, "stride": 1, "pad": 1, "transposed": False} if name in ("stride", "k") else {"groups": 1, "eps": 1e-5}
    )
    kind = "conv" if "k" in attrs else "group_norm"
    with pytest.raises(ProgramError, match=f"{name}.*expected at most"):
        Op(kind, (1,), (0,), ("w", "b"), {**attrs, name: value})

"""Specs: what they refuse, in which words, and their JSON."""

import json

import pytest

from diffuser_fast.core.embedding import Embedding
from diffuser_fast.core.spec import InverseSpec, UNetSpec, ValueSpec, spec_from_json, spec_to_json


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"horizon": 0}, "horizon: found 0, expected a whole number from 1 to 65536"),
        ({"horizon": 32.0}, "horizon: found 32.0, expected a whole number"),
        ({"horizon": True}, "horizon: found True, expected a whole number"),
        ({"horizon": 65544}, "horizon: found 65544, expected a whole number from 1 to 65536"),
        ({"horizon": 36}, "horizon: 36 is not a multiple of 8, which dim_mults .* the nearest are 32 and 40"),
        ({"horizon": 4}, "the nearest are 8$"),
        ({"transition_dim": 0}, "transition_dim: found 0, expected a whole number from 1 to 4096"),
        ({"dim": 33}, "dim: found 33, expected an even number"),
        ({"dim": 2}, "dim: found 2, expected a whole number from 4"),
        ({"dim": 20}, "dim_mults: 20 x 1 channels cannot be split into 8 groups"),
        ({"dim_mults": [1, 2]}, r"dim_mults: found \[1, 2\], expected a tuple"),
        ({"dim_mults": ()}, r"dim_mults: found \(\), expected a tuple of 1 to 12"),
        ({"dim_mults": (1, 0)}, "dim_mults: found 0, expected a whole number from 1"),
        ({"kernel_size": 4}, "kernel_size: found 4, expected an odd number"),
        ({"kernel_size": 33}, "kernel_size: found 33"),
        ({"groups": 0}, "groups: found 0"),
        ({"groups": "8"}, "groups: found '8'"),
    ],
)
def test_a_unet_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        UNetSpec(**{"horizon": 32, "transition_dim": 14, **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"horizon": -1}, "horizon: found -1"),
        ({"middle": "wide"}, "middle: found 'wide', expected 'narrowing' or 'none'"),
        ({"dim": 8, "dim_mults": (1, 2)}, "the middle narrows to 4 channels, which 8 groups do not divide"),
        ({"dim": 33}, "dim: found 33"),
    ],
)
def test_a_value_network_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        ValueSpec(**{"horizon": 32, "transition_dim": 14, **arguments})


def test_horizons_of_a_unet():
    spec = UNetSpec(32, 14, dim_mults=(1, 4, 8))
    assert spec.stride == 4
    for horizon in (4, 8, 384):
        spec.check_horizon(horizon)
    for horizon in (0, 2, 30, 1 << 17, 32.5):
        with pytest.raises(ValueError, match="horizon"):
            spec.check_horizon(horizon)


def test_the_horizon_of_a_value_network_is_fixed_and_may_be_odd():
    spec = ValueSpec(7, 5)
    spec.check_horizon(7)
    with pytest.raises(ValueError, match="trained for 7, found 8"):
        spec.check_horizon(8)


SPECS = [
    UNetSpec(128, 6, dim_mults=(1, 4, 8), attention=True),
    ValueSpec(4, 23, dim=16, middle="none", kernel_size=3),
    UNetSpec(
        16, 2, dim=16, dim_mults=(), widths=(16, 24), embedding=Embedding(24, 96, 24, cosines_first=True, shift=0),
        condition=6, condition_mlp=(8, 4), film=True, head_groups=4, head_kernel=3, head_act="silu", group_size=4,
        attention_adds="norm",
    ),
    ValueSpec(8, 6, dim=16, middle_kernel=3, halve_last=False, hidden=7, any_horizon=True),
    InverseSpec(4, 2, (24, 24)),
]  # fmt: skip


def test_which_are_the_original_s():
    assert [spec.is_original for spec in SPECS[:4]] == [True, True, False, False]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"widths": (16, 24)}, "widths: the levels have widths or dim_mults, not both"),
        ({"widths": (16, 24, 20), "dim_mults": ()}, "widths: 20 channels cannot be split into 8 groups"),
        ({"embedding": 3}, "embedding: found 3, expected an Embedding"),
        ({"condition_mlp": (3,)}, "condition_mlp: the network takes no condition"),
        ({"head_groups": 5}, "head_groups: 5 do not divide the head's 32 channels"),
        ({"head_kernel": 2}, "head_kernel: found 2, expected an odd number"),
        ({"head_act": "tanh"}, "head_act: found 'tanh', expected 'mish' or"),
        ({"attention_adds": "q"}, "attention_adds: found 'q', expected 'x' or 'norm'"),
        ({"film": 1}, "film: found 1, expected True or False"),
    ],
)
def test_what_relatives_add_is_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        UNetSpec(**{"horizon": 32, "transition_dim": 14, **arguments})


def test_an_embedding_refuses():
    for arguments, message in (
        ((3, 8, 8), "width: found 3, expected an even number"),
        ((2, 8, 8), "width: found 2"),
        ((8, 0, 8), "embedding: hidden: found 0"),
        ((8, 8, 8, True, 2), "embedding: shift: found 2"),
    ):
        with pytest.raises(ValueError, match=message):
            Embedding(*arguments)
    with pytest.raises(ValueError, match="act: found 'tanh'"):
        Embedding(8, 8, 8, act="tanh")


def test_a_value_network_that_runs_at_other_horizons():
    spec = ValueSpec(16, 6, dim=32, dim_mults=(1, 2), any_horizon=True)
    for horizon in (1, 8, 16):
        spec.check_horizon(horizon)
    with pytest.raises(ValueError, match="trained for 16, found 17"):
        spec.check_horizon(17)


@pytest.mark.parametrize("spec", SPECS)
def test_json_round_trip(spec):
    found = spec_from_json(json.loads(json.dumps(spec_to_json(spec))))
    assert found == spec and type(found) is type(spec)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"kind": "mlp"}, "kind 'mlp' is not one of"),
        ({}, "kind None"),
        ({"kind": "unet", "horizon": 32, "transition_dim": 14, "colour": 1}, "unet has no fields"),
        ({"kind": "unet", "horizon": 32}, "transition_dim"),
        ({"kind": "unet", "horizon": 33, "transition_dim": 14}, "not a multiple"),
    ],
)
def test_records_that_are_no_spec(record, message):
    with pytest.raises(ValueError, match=message):
        spec_from_json(record)

"""The lowered networks: their size as published, their function as the oracle's, their shapes at awkward horizons."""

import math

import numpy as np
import pytest
import torch
from core.interpreter import run
from oracle.draws import randomize
from oracle.networks import Maze2dTemporalUnet, TemporalUnet, TemporalValue, ValueFunction

from diffuser_fast.core.lower import lower
from diffuser_fast.core.passes import time_tables
from diffuser_fast.core.spec import UNetSpec, ValueSpec
from diffuser_fast.formats import janner_keys

HOPPER = {"horizon": 32, "transition_dim": 14}
WALKER = {"horizon": 32, "transition_dim": 23}
MAZE = {"horizon": 128, "transition_dim": 6, "dim_mults": (1, 4, 8)}
CHEETAH = {"horizon": 4, "transition_dim": 23, "dim_mults": (1, 4, 8)}


def parameters(spec):
    return sum(math.prod(shape) for shape in lower(spec).weights.values())


@pytest.mark.parametrize(
    ("spec", "count"),
    [
        (UNetSpec(**HOPPER), 3_956_302),
        (ValueSpec(**HOPPER), 2_294_817),
        (UNetSpec(**WALKER), 3_958_327),
        (ValueSpec(**WALKER), 2_296_545),
        (UNetSpec(**MAZE), 3_682_118),
    ],
)
def test_parameters_as_published(spec, count):
    assert parameters(spec) == count


def test_parameters_of_the_networks_published_rounded():
    assert round(parameters(UNetSpec(**CHEETAH, attention=True)) / 1e6, 3) == 4.114
    assert round(parameters(ValueSpec(**CHEETAH)) / 1e6, 3) == 2.181


@pytest.mark.parametrize(
    ("spec", "mmacs"),
    [
        (UNetSpec(**HOPPER), 19.6),
        (UNetSpec(**WALKER), 19.7),
        (UNetSpec(**MAZE), 129),
        (UNetSpec(**{**MAZE, "horizon": 384}), 386),
        (ValueSpec(**HOPPER), 10.3),
    ],
)
def test_work_is_about_what_was_published(spec, mmacs):
    # The published counts leave out taps that meet padding; ours are dense.
    assert lower(spec).net.flops / 2e6 == pytest.approx(mmacs, rel=0.08)


SMALL = {"horizon": 16, "transition_dim": 5, "dim": 8}
CASES = {
    "main": (TemporalUnet, {**SMALL, "dim_mults": (1, 2, 4)}),
    "attention": (TemporalUnet, {**SMALL, "horizon": 4, "dim_mults": (1, 4, 8), "attention": True}),
    "maze2d": (Maze2dTemporalUnet, {**SMALL, "dim": 16, "horizon": 24, "dim_mults": (1, 4)}),
    "one level": (TemporalUnet, {**SMALL, "horizon": 3, "dim_mults": (1,)}),
    "value": (ValueFunction, {**SMALL, "horizon": 12, "dim_mults": (1, 4)}),
    "value whose stages round up": (ValueFunction, {**SMALL, "horizon": 18, "dim_mults": (1, 4)}),
    "value of long stages": (ValueFunction, {**SMALL, "horizon": 44, "dim_mults": (1, 2, 4)}),
    "value of stages one long": (ValueFunction, {**SMALL, "horizon": 4, "dim_mults": (1, 4, 8)}),
    "value of the maze2d branch": (TemporalValue, {**SMALL, "horizon": 32, "dim_mults": (1, 2, 4)}),
}


def network_and_weights(case, seed=0):
    """An oracle network in float64 with random weights, and the same weights under our names."""
    kind, arguments = CASES[case]
    network = randomize(kind(cond_dim=1, **arguments), seed, torch.float32).double()
    state = {name: value.numpy() for name, value in network.state_dict().items()}
    if kind in (ValueFunction, TemporalValue):
        return network, janner_keys.value_weights(state, arguments["horizon"], None)
    return network, janner_keys.unet_weights(state, arguments["horizon"])


@pytest.mark.parametrize(
    ("case", "longer"), [(case, n) for case in CASES for n in (1, 2) if n == 1 or "value" not in case]
)
def test_the_function_is_the_oracles(case, longer):
    network, weights = network_and_weights(case)
    spec = weights.spec
    lowered = lower(spec, spec.horizon * longer)
    x = np.random.default_rng(1).normal(size=(3, spec.horizon * longer, spec.transition_dim))
    for t in (0, 7, 63):
        table = time_tables(lowered.time, weights.arrays, np.array([t]), spec.time)[0]
        found = run(lowered.net, weights.arrays, {"x": x.transpose(0, 2, 1)}, table)["y"]
        expected = network(torch.from_numpy(x), None, torch.full((3,), t)).numpy()
        found = found.transpose(0, 2, 1) if isinstance(spec, UNetSpec) else found[:, :, 0]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    "spec", [UNetSpec(**HOPPER), UNetSpec(**CHEETAH, attention=True), ValueSpec(**MAZE, middle="none")]
)
def test_every_value_is_written_once_before_it_is_read(spec):
    for program in (lower(spec).net, lower(spec).time):
        written = set(program.inputs.values())
        for op in program.ops:
            assert set(op.ins) <= written
            assert not written & set(op.outs)
            written |= set(op.outs)
        assert set(program.outputs.values()) <= written == set(range(len(program.shapes)))


def test_time_table_columns_are_used_once_each():
    lowered = lower(UNetSpec(**HOPPER))
    used = [
        range(op.attrs["table"], op.attrs["table"] + lowered.net.shapes[op.outs[0]][0])
        for op in lowered.net.ops
        if op.kind == "step_bias"
    ]
    assert [column for columns in used for column in columns] == list(range(lowered.net.table_width))
    assert lowered.time.shapes[lowered.time.outputs["y"]] == (lowered.net.table_width, 1)


def test_horizons_that_a_network_cannot_take():
    with pytest.raises(ValueError, match="horizon: 36 is not a multiple of 8"):
        lower(UNetSpec(**HOPPER), 36)
    with pytest.raises(ValueError, match="horizon: the value network was trained for 32, found 64"):
        lower(ValueSpec(**HOPPER), 64)

"""What an engine does not know it refuses, by name, before anything is computed."""

from dataclasses import replace

import numpy as np
import pytest

from diffuser_fast import backends
from diffuser_fast import conformance as c
from diffuser_fast.backends.cpu.engine import extension, open_engine
from diffuser_fast.backends.cpu.records import records
from diffuser_fast.core import verify
from diffuser_fast.core.ops import KINDS, Kind
from diffuser_fast.core.passes import fuse
from diffuser_fast.core.program import Builder, ProgramError

LOOP = next(case for case in c.loop_cases() if case.name == "one guide step").loop
HERE = sorted({target.backend for target in c.targets()})
needs_extension = pytest.mark.skipif(extension() is None, reason="the C++ engine is not built")


def loop_of(program):
    """A loop whose denoiser is this program, without weights."""
    denoiser = replace(LOOP.denoiser, program=program, fused=fuse(program), weights={})
    return replace(LOOP, denoiser=denoiser, guide=None)


@pytest.fixture
def unknown(monkeypatch):
    """A kind of op that the core has and no engine does, and a program of it."""
    monkeypatch.setitem(KINDS, "fft", Kind(max(kind.opcode for kind in KINDS.values()) + 1, (1, 1)))
    monkeypatch.setitem(verify._RULES, "fft", verify._affine)
    shape = (LOOP.transition_dim, LOOP.horizon)
    b = Builder(shape)
    return b.done(b.emit("fft", (0,), shape))


@pytest.mark.parametrize("name", HERE)
def test_a_kind_without_a_kernel(name, unknown):
    backend = backends.get(name)
    assert backend.why_not(loop_of(unknown), None) == "denoiser: op 0: there is no kernel for fft"
    with pytest.raises(RuntimeError, match="denoiser: op 0: there is no kernel for fft"):
        backend.ready(loop_of(unknown), device=None, batch=1, precision="float32")
    with pytest.raises(ValueError, match=f"backend: '{name}' cannot run here: denoiser: op 0"):
        backends.choose(name, loop_of(unknown))


@needs_extension
def test_a_kind_without_a_kernel_at_the_door_of_the_engine(unknown):
    record = records([(unknown, {})], "float32", 1)
    with pytest.raises(ValueError, match=r"denoiser: op 0: opcode: found \d+, expected 1 to \d+"):
        open_engine(record, 1, LOOP.horizon, LOOP.transition_dim, threads=1, isa=None)


@pytest.mark.parametrize("name", [name for name in backends.NAMES if name != "triton" or "triton" in HERE])
def test_every_backend_says_what_it_has(name):
    """Written down apart from core/ops.py, so that it does not grow by itself. Today all have everything."""
    support = backends.get(name).SUPPORT
    assert support.kinds == set(KINDS) and support.acts == set(verify.ATTRS["act"].names)


@pytest.mark.parametrize("name", HERE)
def test_an_activation_without_a_kernel(name, monkeypatch):
    backend, act = backends.get(name), "gelu"
    shape = (LOOP.transition_dim, LOOP.horizon)
    b = Builder(shape)
    loop = loop_of(b.done(b.act(0, act)))
    assert backend.why_not(loop, None) is None
    home = backends.get("cpu") if name == "cpu" else backend
    monkeypatch.setattr(home, "SUPPORT", replace(backend.SUPPORT, acts=backend.SUPPORT.acts - {act}))
    assert backend.why_not(loop, None) == "denoiser: op 0 (act): there is no kernel for the activation gelu"


@pytest.mark.parametrize("act", verify.ATTRS["act"].names)
@pytest.mark.parametrize("target", c.targets(), ids=str)
def test_an_activation_is_the_one_that_is_asked_for(target, act):
    """At points where they differ, from their definitions."""
    case = next(case for case in c.op_cases() if case.name == f"act {act} 3x7")
    x = np.resize(np.float32([-2, -1, -0.5, 0.5, 1, 2, 3]), (2, 3, 7))
    case = replace(case)
    case.__dict__.update(inputs={"x": x}, weights={}, table=None)
    wanted = {
        "mish": [-0.25250148, -0.30340146, -0.22074377, 0.37524521, 0.86509839, 1.94395896, 2.986535],
        "silu": [-0.23840584, -0.26894142, -0.18877033, 0.31122967, 0.73105858, 1.76159416, 2.85772238],
        "relu": [0, 0, 0, 0.5, 1, 2, 3],
        "gelu": [-0.04550026, -0.15865525, -0.15426877, 0.34573123, 0.84134475, 1.95449974, 2.99595031],
        "square": [4, 1, 0.25, 0.25, 1, 4, 9],
    }[act]
    np.testing.assert_allclose(target.evaluate(case)["y"], np.resize(wanted, (2, 3, 7)), rtol=0, atol=1e-6)


def test_an_activation_that_is_none():
    b = Builder((3, 4))
    with pytest.raises(ProgramError, match="act: found 'swish', expected one of mish, silu, relu, gelu, square"):
        b.act(0, "swish")


@pytest.mark.parametrize("name", HERE)
def test_a_table_that_is_missing(name):
    """A program that reads one, evaluated without: an error that says so, no stale memory, no crash."""
    b = Builder((3, 4))
    program = b.done(b.step_bias(0))
    with pytest.raises(ValueError, match="table"):
        backends.get(name).evaluate(program, {}, {"x": np.zeros((1, 3, 4), np.float32)}, precision="float32")

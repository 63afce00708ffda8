"""The C library at the other end of ``--remote``. `make arm` runs this file by its name; without, it makes no sense."""

import pytest
from arm.check import exported
from capi.checkpoints import planner

import diffuser_fast as dfx
from diffuser_fast import _cpu
from diffuser_fast.backends import cpu
from diffuser_fast.bundle import selftest


@pytest.mark.parametrize("precision", cpu.PRECISIONS)
@pytest.mark.parametrize("guided", [True, False], ids=["guided", "unguided"])
def test_it_plans_as_the_engine_does(tmp_path, guided, precision):
    """The library's own arithmetic is that of AArch64 here, the planner's that of this machine."""
    assert _cpu.self_test(dfx.export(planner(guided, precision=precision, attention=True), tmp_path / "a.dfb")) is None


def test_the_plainest_kernels_give_the_bits_of_this_machine(tmp_path):
    assert _cpu.self_test(exported(tmp_path / "a.dfb")) is None


def test_another_plan_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(selftest, "NUMBER", 8)
    assert "recorded was" in _cpu.self_test(dfx.export(planner(), tmp_path / "a.dfb"))

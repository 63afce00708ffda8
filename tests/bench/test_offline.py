"""The offline compile check finds what it is for: what spills, what does not compile, what is too large."""

from dataclasses import replace

import pytest

from bench.offline import store
from bench.offline.__main__ import main, table, worst
from bench.offline.compiled import SHARED_KIB, Compiled, compiled
from bench.offline.select import Choice, everything, grouped
from bench.offline.specialisation import Specialisation
from bench.offline.store import results

pytest.importorskip("triton")
FINE = Compiled(registers=64, shared=1024, warps=4, stages=2)


def specialisation(kernel="product", block=16, **options):
    from . import compilable

    function = getattr(compilable, kernel)
    constants = {"BLOCK": block, **({"SCALE": 2.0} if kernel == "product" else {})}
    signature = {"x": "*fp32", "y": "*fp32", **dict.fromkeys(constants, "constexpr")}
    return Specialisation.of(function, signature, constants, {(0,): [], (1,): []}, options)


@pytest.mark.parametrize("capability", [80, 90])
def test_what_is_fine_passes(capability):
    made = compiled(specialisation(), capability)
    assert made.complaint(capability) is None
    assert made.registers > 0 and made.warps == 4


def test_what_spills_is_found():
    made = compiled(specialisation(block=64, maxnreg=24), 90)
    assert made.spills > 0 and made.stack > 0
    assert "spills" in made.complaint(90)


def test_what_does_not_compile_is_found():
    made = compiled(specialisation("nonsense"), 90)
    assert "does not compile: ValueError: Cannot make_shape_compatible" in made.complaint(90)


def test_what_is_too_large_is_found():
    assert replace(FINE, shared=100 * 1024).complaint(90) is None
    assert "shared memory, a block may have 101376" in replace(FINE, shared=100 * 1024).complaint(86)
    assert "registers" in replace(FINE, registers=255, warps=16).complaint(90)
    assert "stack" in replace(FINE, stack=8).complaint(90)


def test_nothing_is_compiled_twice(tmp_path):
    tasks = [(specialisation(), 80), (specialisation(), 80), (specialisation(block=32), 80)]
    first = list(results(tasks, 1, tmp_path))
    again = list(results(tasks, 1, tmp_path))
    assert [now for _, _, now in first] == [True, True]
    assert [now for _, _, now in again] == [False, False]
    assert [made for _, made, _ in first] == [made for _, made, _ in again]


def test_errors_are_looked_at_again(tmp_path, monkeypatch):
    answers = [Compiled(error="no space left"), FINE]
    monkeypatch.setattr(store, "compiled", lambda *task: answers.pop(0))
    task = (specialisation(), 80)
    assert [made.error for _ in range(2) for _, made, _ in results([task], 1, tmp_path)] == ["no space left", None]


def test_the_key_is_the_content():
    one = specialisation()
    assert one.key(80, "3.6.0") == specialisation().key(80, "3.6.0")
    others = [
        specialisation(block=32),
        specialisation("nonsense"),
        specialisation(num_warps=8),
        replace(one, aligned=()),
    ]
    keys = {one.key(80, "3.6.0"), one.key(90, "3.6.0"), one.key(80, "3.7.0"), *(o.key(80, "3.6.0") for o in others)}
    assert len(keys) == 7


def test_tiles_are_grouped_the_largest_first():
    tasks = [(specialisation(block=b), c) for b in (16, 64, 32) for c in (86, 89)]
    assert [[task[0].weight for task in many] for many in grouped(tasks)] == [[64, 32, 16]] * 2
    assert [many[0] for many in grouped(tasks)] == [tasks[2], tasks[3]]
    fast = replace(tasks[0][0], constants=(("BLOCK", 16), ("SCALE", 3.0)))
    assert len(grouped([*tasks, (fast, 86)])) == 2
    assert len(grouped([*tasks, (fast, 86)], variant=True)) == 3


@pytest.mark.parametrize("choice", [{"networks": ("hoper",)}, {"precisions": ("fp8",)}])
def test_unknown_names_are_refused(choice):
    with pytest.raises(ValueError, match="expected one of"):
        everything(Choice(**choice))


def test_the_named_workloads_are_found():
    found = everything(Choice(("maze2d-umaze",), (1,), ("float32",), (80, 90)))
    assert {capability for _, capability in found} == {80, 90}
    assert {"conv", "update", "begin"} <= {one.name for one, _ in found}
    assert len(set(found)) == len(found)


def test_tables_name_what_is_heaviest():
    light, heavy = (specialisation(block=16), 80), (specialisation(block=64), 80)
    found = {light: FINE, heavy: replace(FINE, registers=128, shared=65536)}
    assert set(worst(found)) == {heavy}
    assert "product" in table(found)[1] and "sm_80" in table(found)[1] and "128" in table(found)[1]


def test_the_interpreter_is_refused(monkeypatch, capsys):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert main([]) == 2 and "TRITON_INTERPRET" in capsys.readouterr().err
    with pytest.raises(RuntimeError, match="interpreter"):
        compiled(specialisation(), 90)


def test_unknown_architectures_are_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["--capability", "75"])
    assert f"expected one of {', '.join(map(str, SHARED_KIB))}" in capsys.readouterr().err


@pytest.mark.parametrize(("kernel", "capability"), [("touch", 80), ("touch", 90), ("touch_early", 90)])
def test_the_kernels_that_measure_launches_compile(kernel, capability):
    from bench.gpu import touch

    options = {"launch_pdl": True} if kernel == "touch_early" else {}
    signature = {"x_ptr": "*fp32", "BLOCK": "constexpr"}
    one = Specialisation.of(getattr(touch, kernel), signature, {"BLOCK": 256}, {(0,): []}, options)
    assert compiled(one, capability).complaint(capability) is None

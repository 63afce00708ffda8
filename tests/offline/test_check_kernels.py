"""The offline compile check finds what it is for: what spills, what does not compile, what is too large."""

from dataclasses import replace

import pytest

pytest.importorskip("triton")

from diffuser_fast.backends.triton import Specialisation
from tests.offline import compilable
from tests.offline.check_kernels import (
    SHARED_KIB,
    Compiled,
    Task,
    _parser,
    compiled,
    everything,
    for_ci,
    grouped,
    main,
    table,
)  # fmt: skip

FINE = Compiled(registers=64, shared=1024, warps=4)


def task(kernel="product", block=16, capability=90, scale=2.0, **options):
    constants = {"BLOCK": block, **({"SCALE": scale} if kernel == "product" else {})}
    signature = {"x": "*fp32", "y": "*fp32", **dict.fromkeys(constants, "constexpr")}
    function, attrs = getattr(compilable, kernel), {(i,): [["tt.divisibility", 16]] for i in range(2)}
    return Task(Specialisation(function, signature, constants, attrs, options, repr((kernel, constants))), capability)


@pytest.mark.parametrize("capability", [80, 90])
def test_what_is_fine_passes(capability):
    made = compiled(task(capability=capability))
    assert made.complaint(capability) is None
    assert made.registers > 0 and made.warps == 4


def test_what_spills_is_found():
    made = compiled(task(block=64, maxnreg=24))
    assert made.spills > 0 and made.stack > 0
    assert "spills" in made.complaint(90)


def test_what_does_not_compile_is_found():
    assert "does not compile: ValueError: Cannot make_shape_compatible" in compiled(task("nonsense")).complaint(90)


def test_what_is_too_large_is_found():
    assert replace(FINE, shared=100 * 1024).complaint(90) is None
    assert "shared memory, a block may have 101376" in replace(FINE, shared=100 * 1024).complaint(86)
    assert "registers" in replace(FINE, registers=255, warps=16).complaint(90)
    assert "stack" in replace(FINE, stack=8).complaint(90)


def test_groups():
    tasks = [task(block=b, capability=c) for b in (16, 64, 32) for c in (86, 89)]
    assert [[one.weight for one in many] for many in grouped(tasks, "name", "capability")] == [[16, 64, 32]] * 2
    other = task(scale=3.0, capability=86)
    assert len(grouped([*tasks, other], "name", "capability", "variant")) == 3


def options(*words):
    return _parser().parse_args(words)


@pytest.mark.parametrize("words", [("--network", "hoper"), ("--precision", "fp8")])
def test_unknown_names_are_refused(words, capsys):
    with pytest.raises(ValueError, match="expected one of"):
        everything(options(*words))
    assert main(list(words)) == 2 and "expected one of" in capsys.readouterr().err


def test_the_named_workloads_are_found():
    words = ("--network", "maze2d-umaze", "--batch", "1", "--precision", "float32")
    found = everything(options(*words, "--capability", "80", "--capability", "90"))
    assert {one.capability for one in found} == {80, 90}
    assert {"conv", "update", "begin"} <= {one.name for one in found}
    assert len(set(found)) == len(found) and found[0].weight >= found[-1].weight


def test_the_part_of_ci_has_every_kernel_and_architecture():
    found = for_ci()
    assert {one.capability for one in found} == set(SHARED_KIB) and len(found) < 400
    assert {"conv", "linear_attention", "rank", "guidance_update"} <= {one.name for one in found}


def test_tables_name_what_is_heaviest():
    found = {task(): FINE, task(block=64): replace(FINE, registers=128, shared=65536)}
    head, line = table(found)
    assert "registers" in head and "product" in line and "sm_90" in line and "128" in line and "BLOCK64" in line


def test_the_interpreter_is_refused(monkeypatch, capsys):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert main([]) == 2 and "TRITON_INTERPRET" in capsys.readouterr().err


def test_what_is_not_fit_to_ship_is_an_error(monkeypatch, capsys):
    monkeypatch.setattr("tests.offline.check_kernels.for_ci", lambda: [task(), task("nonsense")])
    assert main(["--ci", "--workers", "1"]) == 1
    said = capsys.readouterr().out
    assert "nonsense for sm_90" in said and "2 compiled" in said and "1 not fit to ship" in said


@pytest.mark.parametrize(("early", "capability"), [(False, 80), (False, 90), (True, 90)])
def test_the_kernel_that_measures_launches_compiles(early, capability):
    from on_gpu.constants import BLOCK, touch

    signature = {"x_ptr": "*fp32", "BLOCK": "constexpr", "EARLY": "constexpr"}
    launched = {"launch_pdl": True} if early else {}
    one = Specialisation(touch, signature, {"BLOCK": BLOCK, "EARLY": early}, {}, launched, f"touch {early}")
    assert compiled(Task(one, capability)).complaint(capability) is None

"""Every candidate gives the right answer on a network small enough for a test."""

import os
import platform
import subprocess
import sys

import pytest

from bench import machine
from bench.case import Side
from bench.ground_truth import GroundTruth
from bench.machine import compiled
from bench.peers import KEPT, Settings
from bench.peers.exported import model
from bench.peers.loaded import LiteRt, Mnn, OnnxRuntime, OpenVino
from bench.peers.ours import Ours, engines
from bench.peers.torch_compile import CPU_MODES, GPU_MODES, Compiled
from bench.peers.torch_eager import NAMES, Eager
from bench.peers.xla import Iree, Xla
from bench.problem import problem
from bench.remote import Remote
from bench.workloads import KINDS, workloads

pytest.importorskip("torch")
SETTINGS, REHEARSAL = Settings(threads=1), Settings("rehearsal", threads=1)


@pytest.fixture(scope="module")
def given():
    """Problem and ground truth by name, made once."""
    made = {}

    def get(name):
        if name not in made:
            one = problem(workloads().find(name))
            made[name] = one, GroundTruth(one)
        return made[name]

    return get


def judge(candidate, given, settings=SETTINGS, right=("exact", "close")):
    one, truth = given
    reason = candidate.why_not(one, settings)
    if reason is not None:
        pytest.skip(reason)
    ready = candidate.ready(one, settings)
    for call in (ready.check or ready.run, ready.check or ready.run):  # the second finds nothing left of the first
        assert truth.judge(ready.answer(call())).exactness in right
    return ready


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("engine", engines(SETTINGS), ids=lambda engine: engine.name)
def test_ours(given, kind, engine):
    right = ("exact", "close") if engine.precision.startswith("float32") else ("exact", "close", "fast")
    judge(engine, given(f"tiny/{kind}/b2"), right=right)


def test_a_cap_is_heard(given):
    assert "isa avx2" in judge(Ours("cpu"), given("tiny/step/b2"), Settings(threads=1, isa="avx2")).note


@pytest.mark.parametrize("kind", KINDS)
def test_eager(given, kind):
    judge(Eager(), given(f"tiny/{kind}/b2"))


@pytest.mark.parametrize("how", NAMES)
def test_eager_as_on_a_gpu(given, how):
    """The loop alone gives what the whole call gives."""
    ready = judge(Eager(how), given("tiny/guided/b2"), REHEARSAL)
    assert (ready.loop()[0].numpy() == ready.answer(ready.run())["x"]).all()
    reason = Eager(how).why_not(given("tiny/plan/b1")[0], REHEARSAL)
    assert (reason is not None) == (how == "waits")


@pytest.mark.parametrize("kind", ["gradient", "guided"])
def test_compiled_graphs(given, kind):
    """What torch.compile is given, captured whole but run by torch's own kernels: seconds instead of a minute."""
    judge(Compiled("default", backend="eager"), given(f"tiny/{kind}/b2"))


@pytest.mark.parametrize("mode", GPU_MODES[:2])
def test_compiled_as_on_a_gpu(given, mode):
    ready = judge(Compiled(mode), given("tiny/plan/b1"), REHEARSAL)
    assert (ready.loop()["x"].numpy() == ready.answer(ready.run())["x"]).all()


@pytest.mark.slow
@pytest.mark.parametrize("mode", CPU_MODES)
def test_compiled(given, mode):
    """In a process of its own, as it is measured: Inductor's import draws warnings, which are errors here."""
    one, truth = given("tiny/gradient/b2")
    with Remote(Side, Compiled(mode), one.workload, SETTINGS) as side:
        answer, _ = side.call("ready")
    assert truth.judge(answer).exactness in ("exact", "close")


# The exporter takes seconds per network: "guided" has all three networks, and the loop around them.
@pytest.mark.parametrize("kind", ["gradient", "guided"])
@pytest.mark.parametrize("peer", [OnnxRuntime, OpenVino, LiteRt, Mnn])
def test_exported(given, peer, kind):
    judge(peer(), given(f"tiny/{kind}/b2"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("peer", [Xla, Iree])
def test_whole_workloads_in_one_function(given, peer, kind):
    judge(peer(), given(f"tiny/{kind}/b2"))


def test_models_are_kept_by_content(given, tmp_path, monkeypatch):
    if reason := OnnxRuntime().why_not(given("tiny/step/b2")[0], SETTINGS):
        pytest.skip(reason)
    first = model(given("tiny/step/b2")[0], "step", "onnx", "rows", tmp_path)
    monkeypatch.setattr("bench.peers.exported.subprocess.run", None)  # nothing is exported again
    assert model(given("tiny/step/b2")[0], "step", "onnx", "rows", tmp_path) == first
    with pytest.raises(TypeError):  # other weights are another model
        model(problem(workloads().find("tiny/step/b2"), seed=1), "step", "onnx", "rows", tmp_path)


def test_a_cap_is_compiled_for(given):
    assert "x86-64-v3" in judge(Iree(), given("tiny/gradient/b2"), Settings(threads=2, isa="avx2")).note


ASK = """
import ctypes, sys
asker = ctypes.CDLL(sys.argv[1])
print(hex(asker.mask()), asker.chance())
"""
ASKER = """
int chance(void) { int a; __asm__ volatile(".byte 0xb8, 0x0f, 0x01, 0xd0, 0x00" : "=a"(a)); return a == 0xd0010f; }
unsigned mask(void) {
  unsigned a, d;
  __asm__ volatile("xor %%ecx, %%ecx; xgetbv" : "=a"(a), "=d"(d) :: "ecx");
  return a;
}
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="xgetbv is of x86-64")
@pytest.mark.parametrize("isa", [None, "avx512", "avx2", "scalar"])
def test_a_cap_hides_what_the_system_keeps(tmp_path, isa):
    """From code that asks; the same bytes within another instruction stay what they are."""
    (tmp_path / "asker.c").write_text(ASKER)
    asker = compiled(tmp_path / "asker.c", ["-shared", "-fPIC"], tmp_path / "asker.so")
    if asker is None:
        pytest.skip("no C compiler")
    cap = Settings(isa=isa).cap()
    assert (cap is None) == (isa is None)
    environment = os.environ | ({"LD_AUDIT": str(cap)} if cap else {})
    words = [sys.executable, "-c", ASK, str(asker)]
    (kept, _), (mask, chance) = (subprocess.check_output(words, env=e, text=True).split() for e in (None, environment))
    assert chance == "1" and int(mask, 16) == int(kept, 16) & KEPT.get(isa, ~0)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="xgetbv is of x86-64")
def test_a_cap_that_cannot_be_made_is_refused(monkeypatch):
    monkeypatch.setattr(machine.shutil, "which", lambda name: None)
    with pytest.raises(ValueError, match=r"isa: found 'avx2', which the peers are held to by cap\.c: no C compiler"):
        Settings(isa="avx2").cap()


def test_what_is_not_installed_says_so(given):
    class Absent(OnnxRuntime):
        needs = ("no_such_package",)

    assert "no_such_package is not installed" in Absent().why_not(given("tiny/step/b2")[0], SETTINGS)

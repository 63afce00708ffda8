"""Every candidate gives the right answer on a network small enough for a test."""

import pytest

from bench.peers import Settings
from bench.peers.compiled import MODES, Compiled, just_in_time
from bench.peers.eager import Eager
from bench.peers.onnx import Exports, OnnxRuntime
from bench.peers.openvino import OpenVino
from bench.peers.ours import engines
from bench.problem import problem
from bench.truth import truth
from bench.workloads import KINDS, ladder
from diffuser_fast.conformance.targets import CLASSES

torch = pytest.importorskip("torch")
SETTINGS = Settings(threads=1)
RIGHT = ("exact", "close")


@pytest.fixture(scope="module")
def given():
    """The same object for a name, so that truths and exports are made once."""
    made = {}
    return lambda name: made.setdefault(name, problem(ladder().find(name)))


@pytest.fixture(scope="module")
def exports():
    return Exports()


def judge(candidate, given, settings=SETTINGS, right=RIGHT):
    reason = candidate.why_not(given, settings)
    if reason is not None:
        pytest.skip(reason)
    ready = candidate.ready(given, settings)
    for _ in range(2):  # the second call finds nothing left over from the first
        assert truth(given).judge(ready.answer(ready.run())).exactness in right
    return ready


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("engine", engines(every_isa=True), ids=lambda engine: engine.name)
def test_ours(given, kind, engine):
    judge(engine, given(f"tiny/{kind}/b2"), right=RIGHT if engine.precision in CLASSES else (*RIGHT, "fast"))


@pytest.mark.parametrize("kind", KINDS)
def test_eager(given, kind):
    judge(Eager(), given(f"tiny/{kind}/b2"))


@pytest.mark.parametrize("kind", ["gradient", "guided"])
def test_compiled_graphs(given, kind):
    """What torch.compile is given, captured whole but run by torch's own kernels: seconds instead of a minute."""
    judge(Compiled({"eager": just_in_time(backend="eager")}), given(f"tiny/{kind}/b2"))


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_compiled(given, mode):
    ready = judge(Compiled({mode: MODES[mode]}), given("tiny/gradient/b2"))
    assert mode in ready.note


def test_the_best_mode_is_remembered(given):
    tried = []

    def mode(name):
        def compile_(module, inputs, more):
            tried.append(name)
            return lambda *arrays: module(*arrays)

        return compile_

    peer = Compiled({"one": mode("one"), "two": mode("two")})
    judge(peer, given("tiny/step/b2"))
    assert tried == ["one", "two"]
    judge(peer, given("tiny/plan/b2"))  # the same network at the same batch
    assert tried in (["one", "two", "one"], ["one", "two", "two"])


def test_a_quick_run_compiles_what_it_names(given):
    quick = Settings(threads=1, quick=True, compiled=("tiny/step/b2",))
    assert Compiled().why_not(given("tiny/step/b2"), quick) is None
    assert "--quick compiles only tiny/step/b2" in Compiled().why_not(given("tiny/plan/b2"), quick)


# The exporter takes seconds per network: "guided" has all three networks, and the loop around them.
@pytest.mark.parametrize("peer", [OnnxRuntime, OpenVino])
def test_exported(given, exports, peer):
    judge(peer(exports), given("tiny/guided/b2"))


@pytest.mark.parametrize("peer", [OnnxRuntime, OpenVino])
def test_exported_gradient(given, exports, peer):
    judge(peer(exports), given("tiny/gradient/b2"))


def test_a_cap_that_is_not_heard_is_said(given, exports):
    peer, capped = OnnxRuntime(exports), Settings(threads=1, isa="avx2")
    assert "not capped" in judge(peer, given("tiny/gradient/b2"), capped).note


def test_one_isa_cannot_be_two():
    (scalar,) = [engine for engine in engines(every_isa=True) if engine.isa == "scalar"] or [None]
    if scalar is None:
        pytest.skip("the C++ engine is not built")
    made = problem(ladder().find("tiny/step/b2"))
    assert "--isa avx2" in scalar.why_not(made, Settings(threads=1, isa="avx2"))

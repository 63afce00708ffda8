"""The mutation test: every barrier and every half of an atomic's ordering is left out in turn, and missed each time.

What is missed is an access that nothing orders any more, or a barrier that part of a block waits for in vain: the
detector sees it in lock step, whatever comes out. So the kernels have no ordering that is not needed, and none that is
needed is checked by luck.
"""

from collections import Counter

import pytest
from emulated.emulator import CUDA, compiler
from emulated.runs import EmulatedEngine, device, evaluate

from diffuser_fast import conformance as c
from diffuser_fast.core.program import Builder

pytestmark = pytest.mark.skipif(compiler() is None, reason="the emulator is compiled by g++, which is not here")


def attention():
    """Of more times than are held together, and more heads than one."""
    b = Builder((3 * 2 * 4, 20))
    return c.OpCase("attention", b.done(b.emit("linear_attention", (0,), (2 * 4, 20), heads=2, q_scale=0.5)), batch=1)


def wide_norm():
    """Of two groups only, so that warps share a mean."""
    b = Builder((3, 40))
    return c.OpCase("wide norm", b.done(b.act(b.group_norm(b.conv(0, "c", 8, k=3), "n", 2))), batch=1)


def plan():
    case = next(case for case in c.loop_cases() if case.name == "ranked by value alone")
    return case


def ran(whole=True):
    """Everything that has an ordering, each once: the orderings that were come by, and what was reported."""
    try:
        for case in (attention(), wide_norm()):
            evaluate(case, exact=True, group=1)
        case = plan()
        loop = c.single_step(case.loop, case.loop.rows - 1)
        engine = EmulatedEngine(loop, 2, exact=False, whole=whole)
        engine(case.inpainting, case.tape[[0, -1], :2])
    except AssertionError as error:
        return str(error).splitlines()
    return []


def test_every_ordering_is_missed():
    device().schedule(0)
    assert not ran()
    orderings = device().orderings
    written = Counter(
        word
        for path in (*CUDA.glob("*.cuh"), CUDA / "kernels.cu")
        for line in path.read_text().splitlines()
        for word in ("sync_block(", "sync_warp(", "atomic_add(")
        if word in line.split("//")[0]
    )
    found = Counter(one.split(" ", 1)[1] for one in orderings)
    assert found["block barrier"] == written["sync_block("], "a barrier that this test does not come by"
    assert found["warp barrier"] == written["sync_warp("]
    assert found["release"] == found["acquire"] == written["atomic_add("]
    survived = []
    for ordering in orderings:
        device().schedule(0, without=ordering)
        reports = ran()
        print(f"{ordering:32s} {reports[0] if reports else 'SURVIVED'}")
        if not any(line.startswith(("RACE", "DEADLOCK", "DIVERGENCE")) for line in reports):
            survived.append(ordering)
    device().schedule(0)
    assert not survived

"""The mutation test: every barrier and every half of an atomic's ordering is left out in turn, and missed each time.

What is missed is an access that nothing orders any more, or a barrier that part of a block waits for in vain: the
detector sees it in lock step, whatever comes out. So the kernels have no ordering that is not needed, and none that is
needed is checked by luck.
"""

from collections import Counter

import pytest
from emulated.device import EmulatedDevice
from emulated.emulator import CUDA, compiler, emulator
from emulated.short import Short

from diffuser_fast import conformance as c
from diffuser_fast.backends.cuda.engine import CudaEngine
from diffuser_fast.backends.cuda.one_program import launched
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


def cut():
    """A stage of several tiles, where there is shared memory for no more."""
    b = Builder((16, 16))
    return c.OpCase("cut", b.done(b.conv(0, "c", 64, k=3)), batch=1)


def chain():
    """Stages that use memory again, of which each block of a cluster has a tile."""
    b = Builder((16, 4))
    value = b.conv(0, "first", 64, k=3)
    for name in ("second", "third", "fourth"):
        value = b.conv(value, name, 64, k=1)
    return c.OpCase("chain", b.done(value), batch=1)


def ran(without=""):
    """Everything that has an ordering, in lock step, one ordering left out: what is reported."""
    device = EmulatedDevice(multiprocessors=1, without=without)
    try:
        for case in (attention(), wide_norm()):
            launched(case.program, case.weights, case.inputs, case.table, device, exact=True)
        case, whole = chain(), EmulatedDevice(without=without)
        for launches in ("cluster", "async"):
            launched(case.program, case.weights, case.inputs, case.table, whole, exact=False, launches=launches)
        small, case = EmulatedDevice(shared_bytes=3 << 10, without=without), cut()
        for launches in ("loop", "cluster", "async"):
            launched(case.program, case.weights, case.inputs, case.table, small, exact=False, launches=launches)
        case = Short("ranked by value alone", plans=2)
        case.plan(CudaEngine(case.loop, case.batch, EmulatedDevice(multiprocessors=2, without=without), "fp16", "loop"))
    except AssertionError as error:
        return str(error).splitlines()
    return []


def test_every_ordering_is_missed():
    emulated = emulator(CUDA / "kernels.cu")
    emulated.orderings()
    assert not ran()
    orderings = emulated.orderings()
    written = Counter(
        word
        for path in (*CUDA.glob("*.cuh"), CUDA / "kernels.cu")
        for line in path.read_text().splitlines()
        for word in ("sync_block(", "sync_warp(", "sync_cluster(", "atomic_add(", " arrive(", " wait(")
        if word in line.split("//")[0]
    )
    found = Counter(one.split(" ", 1)[1] for one in orderings)
    assert found["block barrier"] == written["sync_block("], "a barrier that this test does not come by"
    assert found["warp barrier"] == written["sync_warp("]
    assert found["cluster barrier"] == written["sync_cluster("]
    assert found["release"] == written["atomic_add("] + written[" arrive("]
    assert found["acquire"] == written["atomic_add("] + written[" wait("]
    survived = []
    for ordering in orderings:
        reports = ran(ordering)
        print(f"{ordering:32s} {reports[0] if reports else 'SURVIVED'}")
        if not any(line.startswith(("RACE", "DEADLOCK", "DIVERGENCE")) for line in reports):
            survived.append(ordering)
    assert not survived

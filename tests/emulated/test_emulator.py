"""The emulator itself: what is right runs without a word, and every deliberate fault is reported, in every schedule."""

import ctypes
from pathlib import Path

import numpy as np
import pytest
from emulated.emulator import compiler, emulator

pytestmark = pytest.mark.skipif(compiler() is None, reason="the emulator is compiled by g++, which is not here")
SCHEDULES = (0, 1, 7)


@pytest.fixture(scope="module")
def device():
    return emulator(Path(__file__).with_name("self_tests.cu"))


def run(device, kernel, fault=0, seed=0, without=""):
    """Reports, and the memory that the kernel wrote."""
    numbers, floats = np.zeros(512, np.int32), np.zeros(512, np.float32)
    device.schedule(seed, without)
    device.forget()
    device.watch("numbers", numbers)
    device.watch("floats", floats)
    device.library.run(
        kernel.encode(), fault, numbers.ctypes.data_as(ctypes.c_void_p), floats.ctypes.data_as(ctypes.c_void_p)
    )
    return device.report(), numbers, floats


@pytest.mark.parametrize("seed", SCHEDULES)
def test_what_is_right_runs_without_a_word(device, seed):
    for kernel in (
        "neighbours", "warp_neighbours", "one_stays_away", "beyond", "last_arriver", "product", "cluster", "sending",
    ):  # fmt: skip
        reports, numbers, floats = run(device, kernel, seed=seed)
        assert not reports, kernel
        if kernel == "neighbours":
            np.testing.assert_array_equal(numbers[:256], np.tile((np.arange(128) + 1) % 128, 2))
        if kernel == "last_arriver":
            assert numbers[0] == 4 and floats[0] == 4 * 63 * 32
        if kernel == "cluster":
            np.testing.assert_array_equal(floats[:8], 10)
        if kernel == "sending":
            np.testing.assert_array_equal(floats[:8], 10 + 14)
        if kernel == "product":
            row, column, k = np.arange(16)[:, None, None], np.arange(8)[:, None], np.arange(16)
            np.testing.assert_array_equal(floats[:128].reshape(16, 8), ((row + k) * (k - column)).sum(-1))


@pytest.mark.parametrize("seed", SCHEDULES)
@pytest.mark.parametrize(
    ("kernel", "fault", "words"),
    [
        ("neighbours", 1, "RACE: "),
        ("neighbours", 2, "RACE: write races with read in shared memory"),
        ("warp_neighbours", 1, "RACE: "),
        ("warp_neighbours", 2, "RACE: write races with read in shared memory"),
        ("warp_neighbours", 3, "RACE: "),
        ("one_stays_away", 1, "DEADLOCK: block barrier of block 0"),
        ("one_stays_away", 2, "DIVERGENCE: one block barrier is waited for at self_tests.cu"),
        ("one_stays_away", 3, "DEADLOCK: warp barrier of block 0"),
        ("beyond", 1, "read of what nobody wrote in shared memory at byte 128"),
        ("beyond", 2, "RACE: write races with write in shared memory at byte 0"),
        ("last_arriver", 1, "RACE: "),
        ("last_arriver", 2, "RACE: read races with write in floats"),
        ("cluster", 1, "ENTRY: a store into block"),
        ("cluster", 2, "RACE: read"),
        ("cluster", 3, "EXIT: "),
        ("cluster", 4, "DEADLOCK: cluster barrier of block"),
        ("sending", 1, ""),  # into what may not have begun: a block, or an mbarrier
        ("sending", 2, "DEADLOCK: mbarrier of block 0 has 4 of 4 arrivals and misses 16 bytes"),
        ("sending", 3, "ARRIVALS: more came to an mbarrier than was said"),
        ("sending", 4, "RACE: read"),
        ("sending", 5, "RACE: read"),
        ("sending", 6, "no mbarrier has begun there"),
    ],
)
def test_a_fault_is_reported(device, kernel, fault, words, seed):
    reports, *_ = run(device, kernel, fault, seed)
    assert any(words in line for line in reports), reports


@pytest.mark.parametrize("kernel", ["neighbours", "warp_neighbours", "last_arriver"])
def test_an_ordering_that_is_left_out_is_missed(device, kernel):
    """Every barrier and each half of an atomic's ordering, one by one: leaving it out must be seen in lock step too."""
    device.orderings()
    assert not run(device, kernel)[0]
    orderings = device.orderings()
    assert len(orderings) == {"neighbours": 2, "warp_neighbours": 2, "last_arriver": 4}[kernel]
    for ordering in orderings:
        assert any("RACE" in line for line in run(device, kernel, without=ordering)[0]), ordering

"""What a process keeps: of a hundred numbers of situations no more than of the last few."""

import subprocess
import sys

import pytest
from csrc.engines import needs_engine

pytestmark = [needs_engine, pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")]

SCRIPT = """
import numpy as np
import diffuser_fast as dfx

planner = dfx.Planner(dfx.load("maze2d-umaze"), sampler="ddim", n_steps=1, threads=2)

def resident():
    pages = int(open("/proc/self/statm").read().split()[1])
    return pages * 4096 / 2**20

def plan(count):
    planner.plan({0: np.tile([1.0, 1.0, 0.0, 0.0], (count, 1))})

plan(100)  # the largest that there will be
plan(1)
before = resident()
for count in range(1, 101):
    plan(count)
print(resident() - before)
"""


def test_a_hundred_numbers_of_situations():
    """Engines are kept for the last few sizes only, and give their memory back to the system."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 30  # MiB

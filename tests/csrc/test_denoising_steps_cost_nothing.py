"""A denoising step allocates nothing and calls nothing of the system: counted, not believed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from csrc.engines import needs_engine

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
pytestmark = [
    needs_engine,
    pytest.mark.skipif(sys.platform != "linux" or os.uname().machine != "x86_64", reason="x86-64 Linux only"),
    pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no C compiler"),
    pytest.mark.skipif("LD_PRELOAD" in os.environ, reason="sanitizers allocate for themselves"),
]
# Plans of few and of many denoising steps, each run twice before it counts.
SCRIPT = """
import ctypes, json, os, sys
sys.path[:0] = [{tests!r}]
from csrc.engines import SMALL, random_inpainting, random_loop
from diffuser_fast.backends import cpu
from diffuser_fast.backends.engine import Seeded
counted = []
for rows in (4, 64):
    loop = random_loop(SMALL, rows=rows)
    engine = cpu.ready(loop, batch={batch}, threads={threads}, precision={precision!r})
    inpainting = random_inpainting(loop)
    for n in range(3):
        {before}
        engine(inpainting, Seeded(1, n))
        {after}
print(json.dumps(counted))
"""


def build(source, tmp_path, *flags):
    program = tmp_path / Path(source).stem
    subprocess.run(["gcc", "-O1", *flags, str(HERE / source), "-o", str(program), "-ldl"], check=True)
    return program


def run(command, script, **environ):
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environ}
    return subprocess.run([*command, sys.executable, "-c", script], env=env, capture_output=True, text=True)


@pytest.mark.parametrize("precision", ["float32", "float32-close", "bf16", "int8"])
@pytest.mark.parametrize(("batch", "threads"), [(1, 1), (1, 2), (3, 2)])
def test_allocations(tmp_path, batch, threads, precision):
    library = build("count_allocations.c", tmp_path, "-shared", "-fPIC")
    script = SCRIPT.format(
        tests=str(HERE.parent), batch=batch, threads=threads, precision=precision,
        before="began = ctypes.CDLL(None).allocations()",
        after="counted.append(ctypes.CDLL(None).allocations() - began)",
    )  # fmt: skip
    done = run([], script, LD_PRELOAD=str(library))
    assert done.returncode == 0, done.stderr
    few, many = json.loads(done.stdout)[2], json.loads(done.stdout)[5]
    assert few == many > 0  # the arrays of the answer, in Python, and nothing for 60 steps more


@pytest.mark.parametrize(("batch", "threads"), [(1, 1), (4, 1), (1, 2)])
def test_system_calls(tmp_path, batch, threads):
    """With two threads on a busy machine one that spins in vain gives its core away: that call alone is allowed."""
    program = build("count_system_calls.c", tmp_path)
    script = SCRIPT.format(
        tests=str(HERE.parent), batch=batch, threads=threads, precision="float32",
        before="os.getppid()", after="os.getppid()",
    )  # fmt: skip
    done = run([str(program)], script)
    if done.returncode == 77:
        pytest.skip("this system does not let a process trace its child")
    assert done.returncode == 0, done.stderr
    plans = [[line.split() for line in plan.splitlines()] for plan in done.stdout.split("end\n")[:-1]]
    assert len(plans) == 6
    few, many = ({int(n): int(count) for n, count in plans[i] if int(n) != SCHED_YIELD} for i in (2, 5))
    # Waking the other thread, and its going to sleep, are a few calls of a plan: far from one for each of 60 steps.
    assert sum(many.values()) <= sum(few.values()) + (8 if threads > 1 else 0), (few, many)
    if threads == 1:
        assert not few and not many


SCHED_YIELD = 24

"""The latency model counts kernels from our Programs; its arithmetic by hand."""

from dataclasses import replace

import pytest

from bench.gpu.constants import NODE, NODE_PDL, machine
from bench.gpu.model import Machine, Stage, _stage_us, plan_stages, plan_us, stages
from bench.problem import problem
from bench.workloads import ladder
from diffuser_fast.core.passes import fuse
from diffuser_fast.core.program import Builder


def loop_of(name):
    return problem(ladder().find(name)).loop


def test_stages_of_a_program():
    b = Builder((6, 8))
    x = b.conv(0, "a", 16, k=5)
    x = b.concat(x, b.conv(0, "b", 16, k=1))
    x = b.conv(x, "down", 32, k=3, stride=2)
    x = b.conv(x, "up", 32, k=4, stride=2, pad=1, transposed=True)
    found = stages(b.done(b.mish(x)))
    assert found == [Stage(8, 16, 30), Stage(8, 16, 6), Stage(4, 32, 96), Stage(8, 32, 64)]  # mish goes along


def test_what_a_convolution_takes_along_is_no_kernel():
    b = Builder((6, 8))
    x = b.conv(0, "a", 16, k=5)
    skip = b.conv(0, "skip", 16, k=1)
    x = b.mish(b.add(b.conv(x, "b", 16, k=5), skip))
    found = stages(fuse(b.done(x)))
    assert found == [Stage(8, 16, 30), Stage(8, 16, 80)]


@pytest.mark.parametrize(
    "name", ["hopper/guided/b1", "halfcheetah/guided/b1", "maze2d-umaze/plan/b1", "tiny/guided/b2", "walker2d/plan/b4"]
)
def test_the_model_counts_what_the_engine_launches(name):
    triton = pytest.importorskip("diffuser_fast.backends.triton", exc_type=ImportError)
    workload = ladder().find(name)
    launches = triton.launch_list(loop_of(name), batch=workload.batch).launches
    assert len(plan_stages(loop_of(name))) == len(launches)


def test_a_stage_by_hand():
    m = Machine(node=1.0, node_pdl=0.5, fixed=2.0, step=0.1, multiprocessors=2)
    assert _stage_us(Stage(32, 32, 0), 1, m) == pytest.approx(3.0)
    assert _stage_us(Stage(32, 32, 130), 1, m) == pytest.approx(3.3)
    # 8 x 64 rows in tiles of 64 and two columns of tiles: 16 tiles, four at a time.
    assert _stage_us(Stage(64, 64, 64), 8, m) == pytest.approx(3.0 + 0.1 * 4)


def test_a_plan_grows_with_what_it_is_made_of():
    loop, small = loop_of("hopper/guided/b64"), Machine()
    assert plan_us(loop, 1024, small) > plan_us(loop, 1, small)
    assert plan_us(loop, 1, replace(small, node=small.node_pdl)) == pytest.approx(
        plan_us(loop, 1, small) - len(plan_stages(loop)) * (small.node - small.node_pdl)
    )


def test_what_was_measured_takes_the_place_of_what_was_assumed():
    rows = [{"name": NODE, "us": 2.0}, {"name": NODE_PDL, "us": None}, {"name": "another", "us": 7.0}]
    assert machine(rows, 84) == Machine(node=2.0, node_pdl=Machine().node_pdl, multiprocessors=84)

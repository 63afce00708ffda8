"""The GPU backend's plan as data: what it launches, how often, over which memory. Nothing is run here."""

import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from diffuser_fast import backends
from diffuser_fast import conformance as c
from diffuser_fast.backends import triton
from diffuser_fast.backends.triton import launches, loop, record, stages, tiles, weights
from diffuser_fast.backends.triton.record import Mode
from diffuser_fast.backends.triton.target import Target
from diffuser_fast.core.guidance import Guide
from diffuser_fast.core.loop import sampling_loop
from diffuser_fast.core.passes import fuse, vjp
from diffuser_fast.core.samplers import ddpm
from diffuser_fast.core.spec import UNetSpec, ValueSpec

LOCOMOTION = {"horizon": 32, "transition_dim": 14}


@pytest.fixture(scope="module")
def hopper():
    checkpoint = c.random_checkpoint(UNetSpec(**LOCOMOTION), ValueSpec(**LOCOMOTION), n_train=4)
    return sampling_loop(checkpoint, ddpm(checkpoint.schedule), guide=Guide(0.1, 2, 1))


@pytest.fixture(scope="module")
def maze():
    checkpoint = c.random_checkpoint(UNetSpec(384, 6, dim_mults=(1, 4, 8)), n_train=2, clip_denoised=True)
    return sampling_loop(checkpoint, ddpm(checkpoint.schedule))


def test_a_guided_row_is_one_launch_for_each_convolution(hopper):
    """A U-Net of 40 convolutions in a row, a value network of 28, its gradient as many again; shift, update, rank."""
    guided, last = 40 + 2 * (28 + 28 + 1) + 1, 40 + 28 + 1 + 1
    for batch in (1, 64):
        plan = triton.launch_plan(hopper, batch=batch)
        assert len(plan.launches) == 1 + 3 * guided + last
        kinds = Counter(launch.kernel for launch in plan.launches)
        assert set(kinds) == {"begin", "conv", "shift", "update", "rank"}
        assert (kinds["update"], kinds["shift"], kinds["rank"]) == (4, 6, 1)


def test_a_row_of_a_maze(maze):
    assert len(triton.launch_plan(maze, batch=1).launches) == 1 + 2 * (30 + 1)


def test_a_stage_writes_nothing_that_it_reads(hopper):
    """Within one launch no buffer that is written overlaps one that is read, but for what a program reads itself."""
    for launch in triton.launch_plan(hopper, batch=3).launches:
        if launch.kernel == "conv":
            read = {launch.pointers[name] for name in ("x", "r", "u")} - {None}
            written = {launch.pointers[name] for name in ("y", "pre")} - {None}
            assert not read & written, launch


def memory_map(plan, batch, a_loop):
    """Sizes of the buffers that a plan names, as the engine makes them."""
    target = Target("float32", 90)
    nets = loop.networks(a_loop, batch, target)
    made = loop.buffers(a_loop, batch, nets, target, "cpu")
    return {name: len(tensor) for name, tensor in made.items()} | {
        "inputs": plan.inputs.words, "outputs": plan.outputs.words
    }  # fmt: skip


def test_every_pointer_lies_in_its_buffer(hopper):
    modes = (
        Mode(candidates=3),
        Mode(candidates=3, tape=True, chain=True, known_each=True, own_tables=True),
        Mode(candidates=1, given=True, start=2, tape=True, chain=True),
    )
    for mode in modes:
        plan = triton.launch_plan(hopper, batch=3, mode=mode)
        sizes = memory_map(plan, 3, hopper)
        for launch in plan.launches:
            for ref in launch.pointers.values():
                assert ref is None or 0 <= ref.offset < sizes[ref.buffer], (str(launch), str(ref))


def test_tensors_start_at_multiples_of_sixteen_bytes(hopper):
    """So that loads are wide; only what belongs to single dimensions or rows of numbers may start anywhere."""
    for launch in triton.launch_plan(hopper, batch=64).launches:
        wrong = {name for name, ref in launch.pointers.items() if ref is not None and not ref.aligned}
        assert not wrong, (str(launch), wrong)


def test_a_restart_runs_the_last_rows_only(hopper):
    whole = triton.launch_plan(hopper, batch=2).launches
    rest = triton.launch_plan(hopper, batch=2, mode=Mode(candidates=2, given=True, start=2)).launches
    assert len(rest) == 1 + (len(whole) - 1) - 2 * (40 + 2 * 57 + 1)
    assert [launch.scalars["k"] for launch in rest if launch.kernel == "update"] == [2, 3]


def test_specialisations_are_what_is_launched(hopper):
    plan = triton.launch_plan(hopper, batch=64, capability=90)
    found = triton.specialisations(hopper, batch=64, capability=90)
    assert len({one.key for one in found}) == len(found) < 120
    assert {one.key for one in found} == {launches.specialisation(launch).key for launch in plan.launches}
    for one in found:
        names = one.kernel.arg_names
        assert list(one.signature) == names
        assert {name for name, kind in one.signature.items() if kind == "constexpr"} == set(one.constexprs)
        assert all(one.signature[names[i]].startswith("*") for (i,) in one.attrs)
        overlaps = one.kernel.__name__ != "begin"  # which follows a copy
        assert one.options.get("launch_pdl", False) == one.constexprs["PDL"] == overlaps
    for one in triton.specialisations(hopper, batch=64, capability=80):
        assert "launch_pdl" not in one.options and not one.constexprs["PDL"]


def test_launches_without_overlap_differ_in_that_alone(hopper):
    plan = triton.launch_plan(hopper, batch=1)
    for before, after in zip(plan.launches, launches.without_overlap(plan.launches), strict=True):
        assert after.constants == {**before.constants, "PDL": False}
        assert replace(after, constants=before.constants).pointers == before.pointers


def test_a_plan_can_be_read(maze):
    text = str(triton.launch_plan(maze, batch=1))
    first, second, *_ = text.splitlines()
    assert first.startswith("begin[1, 9, 1] warps=4 x=outputs+0 bad=outputs+")
    assert second.startswith("conv[") and " x=outputs+0 w=convolutions+0 " in second and " K=5 " in second


def test_the_gradient_is_one_stage_for_each_convolution(hopper):
    for program in (hopper.denoiser.fused, hopper.guide.fused, hopper.guide.gradient):
        found = stages.stages(program)
        alone = [stage for stage in found if isinstance(stage, stages.Stage) and stage.op.kind not in stages.CONVS]
        assert not alone
        skips = [stage for stage in found if isinstance(stage, stages.Stage) and stage.skip]
        convolutions = [op for op in program.ops if op.kind in stages.CONVS]
        assert len(found) == len(convolutions) - len(skips) + sum(op.kind in ("slice", "concat") for op in program.ops)


def test_stages_take_nothing_that_others_need():
    """An output of the program, or a value with another reader, is still written."""
    for case in c.op_cases():
        for program in (case.program, fuse(case.program)):
            found = stages.stages(program)
            made = {out for stage in found for out in stage.outs}
            needed = set(program.outputs) | {v for stage in found for v in stage.ins}
            assert needed <= made | set(program.inputs), case.name
    value = hopper_value()
    assert set(value.outputs) <= {out for stage in stages.stages(value) for out in stage.outs}


def hopper_value():
    from diffuser_fast.core.lower import lower

    return fuse(vjp(lower(ValueSpec(**LOCOMOTION)).net))


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("out", "channels", "k", "cg", "cp", "bk"), [(24, 14, 5, 3, 4, 16), (16, 32, 1, 16, 16, 32)])
def test_packing_has_an_inverse(out, channels, k, cg, cp, bk, transposed):
    weight = np.random.default_rng(0).normal(size=(channels, out, k) if transposed else (out, channels, k))
    weight = weight.astype(np.float32)
    packed = weights.pack(weight, transposed, bk=bk, cg=cg, cp=cp, columns=64)
    assert packed.shape == (k, -(-channels // bk) * bk, 64)
    np.testing.assert_array_equal(weights.unpack(packed, out, channels, transposed, cg=cg, cp=cp), weight)
    assert np.count_nonzero(packed) == weight.size
    # Channel 7 out, 2 in, of the first tap: where the kernel looks for it.
    assert packed[0, 2, 7 // cg * cp + 7 % cg] == (weight[2, 7, 0] if transposed else weight[7, 2, 0])


def shapes(a_loop, batch, precision):
    """The shapes that a loop asks tiles for, per capability."""
    asked = []

    class Asking(Target):
        def tile(self, shape):
            asked.append(shape)
            return super().tile(shape)

    loop.networks(a_loop, batch, Asking(precision, 90))
    return asked


def test_tiles_are_cuts_that_the_kernel_can_run(hopper, maze):
    asked = {s for a_loop in (hopper, maze) for batch in (1, 5, 64) for s in shapes(a_loop, batch, "float32")}
    asked |= {replace(s, operand="float16") for s in asked}
    asked |= {replace(row.shape, batch=row.shape.batch or 64) for row in tiles.ROWS}
    for shape in asked:
        for capability in (80, 90, 120):
            tile = tiles.gpu_tile(shape, capability)
            check_tile(shape, tile)
        check_tile(shape, tiles.interpreter_tile(shape))


def check_tile(shape, tile):
    cp = tiles.power(shape.width)
    sizes = (tile.nb, tile.bm, tile.gb, tile.bk)
    assert all(n == tiles.power(n) for n in sizes), tile  # Triton's blocks
    assert tile.bk >= 16 and tile.warps in (4, 8)
    assert tile.ht == 1 or tile.nb == 1
    assert tile.bm * tile.ht >= shape.length and (tile.ht - 1) * tile.bm < tiles.power(shape.length)
    if shape.norm:  # a finished tile is a block too, and has whole groups for all times
        assert tile.ht == tiles.power(tile.ht)
    assert tile.grid(shape)[1] * tile.gb >= shape.groups and tile.gb * cp >= min(16, tiles.power(shape.groups) * cp)
    assert tile.parts == 1 or tile.parts * 2 <= shape.taps * -(-shape.channels_in // tile.bk)


def test_rows_of_the_tile_table_say_where_they_come_from():
    assert all(row.provenance.split(":")[0] in ("compiled", "measured") for row in tiles.ROWS)
    assert len({(row.capability, row.shape) for row in tiles.ROWS}) == len(tiles.ROWS)


def test_a_horizon_that_no_program_holds_is_refused():
    from diffuser_fast.core.lower import lower

    long, longest = (lower(UNetSpec(2**n, 6, dim=32, dim_mults=(1, 4, 8))).net for n in (12, 11))
    assert tiles.why_too_large(long).startswith("a GroupNorm over 4096 times of 4 channels is more than one program")
    assert tiles.why_too_large(longest) is None
    tiles.gpu_tile(tiles.Shape(1, 2**11, 32, 5, 0, 8, 4, True, "float32", "ieee"), 90)


def test_records_have_room_and_order(hopper):
    mode = Mode(tape=True, given=True, own_tables=True, chain=True, known_each=True, start=1, candidates=2)
    for made in (record.inputs(hopper, 2, mode), record.outputs(hopper, 2, mode)):
        memory = np.zeros(made.words, np.float32)
        for n, field in enumerate(made.fields.values()):
            assert field.offset % record.ALIGN == 0 and field.of(memory).shape == field.shape
            field.of(memory)[...] = n + 1
        for n, field in enumerate(made.fields.values()):  # nobody wrote over anybody else
            assert (field.of(memory) == n + 1).all()
    assert record.inputs(hopper, 2, mode).fields["tape"].shape[0] == hopper.rows  # those of rows 1, 2, 3, and the first


def test_without_a_gpu_it_says_why(hopper, monkeypatch):
    from diffuser_fast.backends import driver

    if driver.why_no_gpu() is None:
        pytest.skip("there is a GPU here")
    assert "NVIDIA driver" in backends.why_not("triton", hopper)
    assert backends.choose("auto", hopper) == "cpu"
    with pytest.raises(ValueError, match=r"backend: 'triton' cannot run here: there is no NVIDIA driver"):
        backends.choose("triton", hopper)
    # The backend itself, where the driver is there and torch cannot use it.
    assert "built without CUDA" in triton.why_not(hopper) or "CUDA cannot be used" in triton.why_not(hopper)
    assert triton.why_not(hopper, "cpu") == "the Triton kernels run on CUDA devices, not on 'cpu'"


@pytest.mark.parametrize("package", ["triton", "torch"])
def test_a_missing_package_names_the_extra(package):
    program = f"""
import sys
sys.modules[{package!r}] = None
from diffuser_fast import backends
backends.why_no_gpu = lambda: None
print(backends.why_not("triton", None))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == f"backend 'triton' needs {package}: pip install diffuser-fast[gpu]\n"

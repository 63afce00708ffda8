"""The GPU backend's launch list as data: what it launches, how often, over which memory. Nothing is run here."""

import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from diffuser_fast import backends
from diffuser_fast import conformance as c
from diffuser_fast.backends import triton
from diffuser_fast.backends.gpu import fusion_groups, staging
from diffuser_fast.backends.gpu.refs import Ref, ValueRef
from diffuser_fast.backends.gpu.staging import Mode, TableForm
from diffuser_fast.backends.triton import engine, launches, loop, network, tiling, weights
from diffuser_fast.backends.triton.target import Target
from diffuser_fast.core import verify
from diffuser_fast.core.guidance import Guide
from diffuser_fast.core.loop import sampling_loop
from diffuser_fast.core.ops import ACTS, CONVS, KINDS, Kind
from diffuser_fast.core.passes import fuse, vjp
from diffuser_fast.core.program import Builder
from diffuser_fast.core.samplers import ddpm
from diffuser_fast.core.spec import UNetSpec, ValueSpec
from diffuser_fast.core.verify import unsupported

LOCOMOTION = {"horizon": 32, "transition_dim": 14}


@pytest.fixture(scope="module")
def hopper():
    checkpoint = c.random_checkpoint(UNetSpec(**LOCOMOTION), ValueSpec(**LOCOMOTION), n_train=4)
    return sampling_loop(checkpoint, ddpm(checkpoint.schedule), guide=Guide(0.1, 2, 1))


@pytest.fixture(scope="module")
def maze():
    checkpoint = c.random_checkpoint(UNetSpec(384, 6, dim_mults=(1, 4, 8)), n_train=2, clip_denoised=True)
    return sampling_loop(checkpoint, ddpm(checkpoint.schedule))


def test_a_guided_denoising_step_is_one_launch_for_each_convolution(hopper):
    """A U-Net of 40 convolutions in a row, a value network of 28, its gradient as many again; two updates, rank."""
    guided, last = 40 + 2 * (28 + 28 + 1) + 1, 40 + 28 + 1 + 1
    for batch in (1, 64):
        launch_list = triton.launch_list(hopper, batch=batch)
        assert len(launch_list.launches) == 1 + 3 * guided + last
        kinds = Counter(launch.kernel for launch in launch_list.launches)
        assert set(kinds) == {"begin", "conv", "guidance_update", "update", "rank"}
        assert (kinds["update"], kinds["guidance_update"], kinds["rank"]) == (4, 6, 1)


def test_a_denoising_step_of_a_maze(maze):
    assert len(triton.launch_list(maze, batch=1).launches) == 1 + 2 * (30 + 1)


def test_a_fusion_group_writes_nothing_that_it_reads(hopper):
    """Within one launch no buffer that is written overlaps one that is read, but for what an instance reads itself."""
    for launch in triton.launch_list(hopper, batch=3).launches:
        if launch.kernel == "conv":
            read = {launch.pointers[name] for name in ("x", "r", "u")} - {None}
            written = {launch.pointers[name] for name in ("y", "pre")} - {None}
            assert not read & written, launch


def memory_map(launch_list, batch, a_loop):
    """Sizes of the buffers that a launch list names, as the engine makes them."""
    target = Target("float32", 90)
    nets = loop.networks(a_loop, batch, target)
    made = loop.buffers(a_loop, batch, nets, target, "cpu")
    return {name: len(tensor) for name, tensor in made.items()} | {
        "inputs": launch_list.inputs.words, "outputs": launch_list.outputs.words
    }  # fmt: skip


def test_every_pointer_lies_in_its_buffer(hopper):
    modes = (
        Mode(candidates=3),
        Mode(candidates=3, tape=True, chain=True, inpaint_each=True, denoiser_tables=TableForm()),
        Mode(candidates=3, denoiser_tables=TableForm(each=True), guide_tables=TableForm(per_sample=True)),
        Mode(candidates=1, given=True, start=2, tape=True, chain=True),
    )
    for mode in modes:
        launch_list = triton.launch_list(hopper, batch=3, mode=mode)
        sizes = memory_map(launch_list, 3, hopper)
        for launch in launch_list.launches:
            for ref in launch.pointers.values():
                assert ref is None or 0 <= ref.offset < sizes[ref.buffer], (str(launch), str(ref))


def test_tensors_start_at_multiples_of_sixteen_bytes(hopper):
    """So that loads are wide; only what belongs to single dimensions or rows of numbers may start anywhere."""
    for launch in triton.launch_list(hopper, batch=64).launches:
        wrong = {name for name, ref in launch.pointers.items() if ref is not None and not ref.aligned}
        assert not wrong, (str(launch), wrong)


def test_a_restart_runs_the_last_denoising_steps_only(hopper):
    whole = triton.launch_list(hopper, batch=2).launches
    rest = triton.launch_list(hopper, batch=2, mode=Mode(candidates=2, given=True, start=2)).launches
    assert len(rest) == 1 + (len(whole) - 1) - 2 * (40 + 2 * 57 + 1)
    assert [launch.scalars["k"] for launch in rest if launch.kernel == "update"] == [2, 3]


def test_specialisations_are_what_is_launched(hopper):
    launch_list = triton.launch_list(hopper, batch=64, capability=90)
    found = triton.specialisations(hopper, batch=64, capability=90)
    assert len({one.key for one in found}) == len(found) < 120
    assert {one.key for one in found} == {launches.specialisation(launch).key for launch in launch_list.launches}
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
    launch_list = triton.launch_list(hopper, batch=1)
    for before, after in zip(launch_list.launches, launches.without_overlap(launch_list.launches), strict=True):
        assert after.constants == {**before.constants, "PDL": False}
        assert replace(after, constants=before.constants).pointers == before.pointers


def test_a_launch_list_can_be_read(maze):
    text = str(triton.launch_list(maze, batch=1))
    first, second, *_ = text.splitlines()
    assert first.startswith("begin[1, 9, 1] warps=4 x=outputs+16 bad=outputs+0 ")
    assert second.startswith("conv[") and " x=outputs+16 w=convolutions+0 " in second and " K=5 " in second


def test_the_gradient_is_one_fusion_group_for_each_convolution(hopper):
    for program in (hopper.denoiser.fused, hopper.guide.fused, hopper.guide.gradient):
        found = fusion_groups.fusion_groups(program)
        groups = [group for group in found if isinstance(group, fusion_groups.FusionGroup)]
        alone = [group for group in groups if group.op.kind not in CONVS]
        assert not alone
        skips = [group for group in groups if group.skip]
        convolutions = [op for op in program.ops if op.kind in CONVS]
        assert len(found) == len(convolutions) - len(skips) + sum(op.kind in ("slice", "concat") for op in program.ops)


def test_fusion_groups_take_nothing_that_others_need():
    """An output of the program, or a value with another reader, is still written."""
    for case in c.op_cases():
        for program in (case.program, fuse(case.program)):
            found = fusion_groups.fusion_groups(program)
            made = {out for group in found for out in group.outs}
            needed = set(program.outputs.values()) | {v for group in found for v in group.ins}
            assert needed <= made | set(program.inputs.values()), case.name
    value = hopper_value()
    assert set(value.outputs.values()) <= {out for group in fusion_groups.fusion_groups(value) for out in group.outs}


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


def problem_sizes(a_loop, batch, precision):
    """The problem sizes that a loop asks tilings for."""
    asked = []

    class Asking(Target):
        def tiling(self, problem):
            asked.append(problem)
            return super().tiling(problem)

    loop.networks(a_loop, batch, Asking(precision, 90))
    return asked


def test_tilings_are_cuts_that_the_kernel_can_run(hopper, maze):
    asked = {s for a_loop in (hopper, maze) for batch in (1, 5, 64) for s in problem_sizes(a_loop, batch, "float32")}
    asked |= {replace(s, operand="float16") for s in asked}
    asked |= {replace(entry.problem, batch=entry.problem.batch or 64) for entry in tiling.ENTRIES}
    for problem in asked:
        for capability in (80, 90, 120):
            check_tiling(problem, tiling.gpu_tiling(problem, capability))
        check_tiling(problem, tiling.interpreter_tiling(problem))


def check_tiling(problem, tile):
    cp = tiling.power(problem.width)
    sizes = (tile.nb, tile.bm, tile.gb, tile.bk)
    assert all(n == tiling.power(n) for n in sizes), tile  # Triton's blocks
    assert tile.bk >= 16 and tile.warps in (4, 8)
    assert tile.ht == 1 or tile.nb == 1
    assert tile.bm * tile.ht >= problem.length and (tile.ht - 1) * tile.bm < tiling.power(problem.length)
    if problem.norm:  # the epilogue's tile is a block too, and has whole groups for all times
        assert tile.ht == tiling.power(tile.ht)
    assert tile.grid(problem)[1] * tile.gb >= problem.groups and tile.gb * cp >= min(
        16, tiling.power(problem.groups) * cp
    )
    assert tile.split_k == 1 or tile.split_k * 2 <= problem.taps * -(-problem.channels_in // tile.bk)


def test_entries_say_where_they_come_from():
    assert all(entry.provenance.split(":")[0] in ("compiled", "measured") for entry in tiling.ENTRIES)
    assert len({(entry.capability, entry.problem) for entry in tiling.ENTRIES}) == len(tiling.ENTRIES)


def test_a_horizon_that_no_program_instance_holds_is_refused():
    from diffuser_fast.core.lower import lower

    long, longest = (fuse(lower(UNetSpec(2**n, 6, dim=32, dim_mults=(1, 4, 8))).net) for n in (12, 11))
    said = "op 0 (conv_block): a GroupNorm over 4096 times of 4 channels is more than one program"
    assert unsupported(long, triton.SUPPORT).startswith(said)
    assert unsupported(longest, triton.SUPPORT) is None
    tiling.gpu_tiling(tiling.ProblemSize(1, 2**11, 32, 5, 0, 8, 4, True, "float32", "ieee"), 90)


def test_staging_buffers_have_room_and_order(hopper):
    mode = Mode(
        tape=True, given=True, denoiser_tables=TableForm(each=True, per_sample=True), guide_tables=TableForm(),
        chain=True, inpaint_each=True, start=1, candidates=2,
    )  # fmt: skip
    for made in (staging.inputs(hopper, 2, mode), staging.outputs(hopper, 2, mode)):
        memory = np.zeros(made.words, np.float32)
        for n, field in enumerate(made.fields.values()):
            assert field.offset % staging.ALIGN == 0 and field.of(memory).shape == field.shape
            field.of(memory)[...] = n + 1
        for n, field in enumerate(made.fields.values()):  # nobody wrote over anybody else
            assert (field.of(memory) == n + 1).all()
    fields = staging.inputs(hopper, 2, mode).fields
    width = hopper.denoiser.program.table_width
    assert fields["denoiser table"].shape == (4, 2, width) and fields["denoiser sample table"].shape == (2, width)
    assert fields["guide table"].shape == (4, 1, hopper.guide.program.table_width)
    assert "guide sample table" not in fields
    tape = fields["tape"]
    assert tape.shape[0] == hopper.rows  # those of denoising steps 1, 2, 3, and the first


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
backends.why_no_gpu = lambda: None  # as if there were one
print(backends.why_not("triton", None))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == f"backend 'triton' needs {package}: pip install diffuser-fast[gpu]\n"


def test_every_kind_has_launches_and_what_is_new_is_refused(hopper, monkeypatch):
    """SUPPORT is written out: a kind or an activation that the core gets is refused until there is a kernel."""
    cases = {case.program.ops[0].kind: case for case in c.op_cases() if len(case.program.ops) == 1}
    assert set(cases) == triton.SUPPORT.kinds == set(KINDS) and triton.SUPPORT.acts == set(ACTS)
    for case in cases.values():
        assert unsupported(case.program, triton.SUPPORT) is None
        refs = {name: ValueRef(Ref(name), 1) for name in case.program.inputs}
        network.network_launches(
            case.program, case.weights, 2, refs, arena="arena", store=weights.Store("float32"),
            target=Target("float32", 90),
        )  # fmt: skip
    monkeypatch.setitem(KINDS, "novel", Kind(99, (1, 1)))
    monkeypatch.setitem(verify._RULES, "novel", lambda *_: None)
    b = Builder((4, 4))
    program = b.done(b.act(b.emit("novel", (0,), (4, 4)), "gelu"))
    assert unsupported(program, triton.SUPPORT) == "op 0: there is no kernel for novel"
    narrow = replace(triton.SUPPORT, kinds=triton.SUPPORT.kinds | {"novel"}, acts=frozenset({"mish"}))
    assert unsupported(program, narrow) == "op 1 (act): there is no kernel for the activation gelu"


def test_why_not_reads_support(hopper, monkeypatch):
    monkeypatch.setattr(engine, "_why_not_on", lambda device: None)
    assert triton.why_not(hopper) is None
    b = Builder((14, 32))
    program = b.done(b.emit("linear_attention", (b.conv(0, "qkv", 3 * 128, k=1),), (128, 32), heads=1, q_scale=0.1))
    wide = replace(hopper, denoiser=replace(hopper.denoiser, fused=program))
    said = "denoiser: op 1 (linear_attention): a head of 128 channels is more than one program instance of a GPU holds"
    assert triton.why_not(wide).startswith(said)


@pytest.mark.parametrize("form", [TableForm(), TableForm(each=True), TableForm(each=True, per_sample=True)])
def test_tables_of_a_plan_are_read_where_they_lie(hopper, form):
    """Denoising step k, sample n: row k, and n rows of the same width further where each sample has its own."""
    batch, width = 3, staging.row_words(hopper.denoiser.program.table_width)
    own = triton.launch_list(hopper, batch=batch, mode=Mode(candidates=3)).launches
    listed = triton.launch_list(hopper, batch=batch, mode=Mode(candidates=3, denoiser_tables=form))
    fields, seen = listed.inputs.fields, 0
    for plain, launch in zip(own, listed.launches, strict=True):
        ref = plain.pointers.get("table")
        if ref is None or ref.buffer != "denoiser table":
            assert ref is None or launch.pointers["table"] == ref  # the guide's stay
            continue
        seen += 1
        assert (plain.constants["LDT"], plain.constants["LDS"], plain.pointers["sample_table"]) == (0, 0, None)
        k, column = divmod(ref.offset, width)
        rows = batch if form.each else 1
        assert launch.pointers["table"] == listed.inputs.ref("denoiser table", k * rows * width + column)
        assert launch.constants["LDT"] == (width if form.each else 0)
        assert launch.constants["LDS"] == (width if form.per_sample else 0)
        sample = listed.inputs.ref("denoiser sample table", column) if form.per_sample else None
        assert launch.pointers["sample_table"] == sample
    assert seen == 16 * 4 and ("denoiser sample table" in fields) == form.per_sample


def test_more_numbers_than_kernels_count_are_refused(hopper):
    with pytest.raises(ValueError, match=r"batch: 1000000 plans need \d+ numbers of memory for the denoiser"):
        triton.launch_list(hopper, batch=1_000_000)

"""Tables from records; nothing typed by hand, nothing else touched, nothing changed by a second run."""

from dataclasses import replace

import pytest

from bench import report, tables
from bench.console import Console
from bench.records import Case, Result, Run, Sheet, read
from bench.selection import best
from bench.tables import SECTIONS

CEILING = {"gflops": 200.0, "gbs": {"1": 80.0, "4": 60.0, "16": 40.0, "64": 10.0}, "isa": "avx2"}
RUN = Run(
    run="a", time="2026-01-01T00:00:00+00:00", command="bench", commit="c0ffee00ff", dirty=False, clock="cpu",
    threads=2, isa=None, quick=False, load=0.0, ceiling=CEILING, machine={"cpu": "Test CPU"},
    versions={"torch": "2.13.0"},
)  # fmt: skip
GPU = replace(
    RUN,
    run="g",
    clock="cuda",
    ceiling={},
    machine={"cpu": "x", "gpu": {"name": "NVIDIA Test", "driver_version": "580.1"}},
)


def timed(name, p50, ours=False, **fields):
    return Result(name, ours, **{"exactness": "exact", "deviation": 1e-7, "calls": 200, "p50_ms": p50, **fields})


def case(workload="hopper/guided/b64", cpu=10.0, warning=None, **fields):
    return Case(workload, 10**9, 10**7, "OpenVINO", 0.0, warning, [
        timed("torch eager", 100.0, speedup=0.5), timed("OpenVINO", 50.0, speedup=1.0, peak_mib=600.4),
        timed("torch.compile AOT", 60.0, speedup=0.8), timed("torch.compile default", 80.0, speedup=0.6),
        Result("ONNX Runtime", False, "it is not installed"),
        timed("cpu", cpu, True, speedup=50 / cpu, speedup_low=4.0, speedup_high=6.0, p99_ms=12.5, **fields),
        timed("cpu bf16", cpu / 2, True, exactness="fast", speedup=100 / cpu),
    ])  # fmt: skip


SHEET = Sheet("tails", "hopper/guided/b1", ["engine", "calls", "p50 ms"], [["cpu", 10000, 30.123]], 0.5, "others used")


def test_the_front_page_is_by_class_of_machine():
    wide = replace(RUN, run="b", ceiling={**CEILING, "isa": "avx512"})
    text = tables.summary([(RUN, case()), (wide, case(cpu=5.0)), (GPU, case())])
    assert "**AVX2** (Test CPU, 2 threads). Measured 2026-01-01 at c0ffee00; limits: 200 GFLOP/s (avx2)" in text
    assert "| hopper, guided, best of 64 plans | 100.00 | 50.00 (OpenVINO) | 10.00 | 12.50 | 6400 |" in text
    assert "**AVX-512**" in text and "| 5.00 | 12.50 | 12800 |" in text and "**NVIDIA Test**" in text


def test_the_front_page_refuses_what_a_dirty_tree_measured():
    dirty = replace(RUN, run="b", time="2026-02-01T00:00:00+00:00", dirty=True)
    assert "| 10.00 |" in tables.summary([(RUN, case()), (dirty, case(cpu=1.0))])
    assert tables.summary([(dirty, case())]) == tables.NOTHING
    assert "c0ffee00+" in SECTIONS["suite"]([(dirty, case())])


def test_the_suite():
    text = SECTIONS["suite"]([(RUN, case()), (GPU, case("tiny/plan/b1"))])
    head, _, row = text.splitlines()[2:]
    assert head.startswith(
        "| workload, ms | torch eager | OpenVINO | torch.compile | cpu | cpu bf16 | over the best peer"
    )
    assert row == (
        "| hopper/guided/b64 | 100.00 | 50.00 | 60.00 | 10.00 | 5.00 (fast) | 5.0x (4.0 to 6.0) | 1 | 100.0 | 50 | 2 |"
    )


@pytest.mark.parametrize("few", ["cpu", "OpenVINO"])
def test_an_interval_needs_ten_calls_of_both_sides(few):
    one = case()
    results = [replace(r, calls=9) if r.candidate == few else r for r in one.results]
    assert "| 5.0x |" in SECTIONS["suite"]([(RUN, replace(one, results=results))])


def test_other_sections():
    entries = [(RUN, SHEET), (RUN, case("hopper/guided/b1")), (RUN, replace(SHEET, what="layers", warning=None))]
    assert "| hopper/guided/b1 * | cpu | 10000 | 30.12 |" in SECTIONS["tails"](entries)
    assert "not quiet" in SECTIONS["tails"](entries) and "not quiet" not in SECTIONS["layers"](entries)
    assert "| MiB | OpenVINO |" in SECTIONS["memory"](entries)
    assert "| hopper/guided/b1 | 600 |" in SECTIONS["memory"](entries)


def test_a_gpu_has_its_device_time_and_its_checks():
    slow = Case("hopper/guided/b64", 10**9, 10**7, None, 0.0, None, [timed("torch.compile one graph", 9.0)])
    ours = timed("triton", 2.0, True, device_p50_ms=1.5)
    text = SECTIONS["gpu"]([(GPU, Case("hopper/guided/b64", 10**9, 10**7, None, 0.0, None, [ours])), (GPU, slow),
                            (GPU, Sheet("checks", "triton", ["precision"], [["float32"]])), (RUN, case())])  # fmt: skip
    assert "driver 580.1, torch 2.13.0" in text and "2.00, device 1.50" in text and "| checks | precision |" in text
    assert "9.00" in text and "Test CPU" not in text  # a case beside quick peers, another beside slow ones


def test_a_rehearsal_is_refused():
    with pytest.raises(ValueError, match="run r is a rehearsal"):
        SECTIONS["suite"]([(replace(GPU, run="r", clock="rehearsal"), case())] * 2) or SECTIONS["gpu"]([])
        tables.summary([(replace(GPU, run="r", clock="rehearsal"), case())])


def test_the_best_record_is_shown():
    """Quiet before disturbed, clean before dirty, full before quick, many candidates before few, then the newest."""
    few = replace(case(cpu=6.0), results=case(cpu=6.0).results[:1])
    entries = [
        (replace(RUN, run="1"), case(cpu=1.0)),
        (replace(RUN, run="2", time="2026-01-02"), case(cpu=2.0)),
        (replace(RUN, run="3", time="2026-01-03", quick=True), case(cpu=3.0)),
        (replace(RUN, run="4", time="2026-01-04", dirty=True), case(cpu=4.0)),
        (replace(RUN, run="5", time="2026-01-05"), case(cpu=5.0, warning="others")),
        (replace(RUN, run="6", time="2026-01-06"), few),
    ]
    (found,) = best(entries, lambda run, record: True).values()
    assert [run.run for run, _ in found.values()] == ["2"]
    (found,) = best(entries[2:4], lambda run, record: True).values()
    assert [run.run for run, _ in found.values()] == ["3"]


def test_settings_are_kept_apart():
    runs = [replace(RUN, threads=threads, isa=isa) for threads, isa in ((1, None), (2, "avx2"), (2, None))]
    assert [str(where) for where in best([(run, case()) for run in runs], lambda *_: True)] == [
        "Test CPU, 2 threads", "Test CPU, 1 thread", "Test CPU, 2 threads, capped to avx2",
    ]  # fmt: skip


@pytest.mark.parametrize("write", SECTIONS.values(), ids=SECTIONS)
def test_without_records_a_table_says_so(write):
    assert write([]) == tables.NOTHING


def test_sections_are_written_and_nothing_else():
    text = "# Title\n\n<!-- bench:suite -->\nold\n<!-- /bench:suite -->\n\nKeep this 17.\n"
    once = report.written(text, [(RUN, case())])
    assert once.startswith("# Title\n\n<!-- bench:suite -->\n") and once.endswith("Keep this 17.\n")
    assert "old" not in once and "5.0x" in once
    assert report.written(once, [(RUN, case())]) == once
    with pytest.raises(ValueError, match="no such section: bench:nonsense"):
        report.written("<!-- bench:nonsense -->\n<!-- /bench:nonsense -->", [])


def test_the_pages_say_what_the_records_say():
    for page in report.PAGES:
        text = page.read_text(encoding="utf-8")
        assert report.written(text, read()) == text, f"{page.name}: python -m bench.report"


def test_the_console(capsys):
    for record in (case(warning="others were here"), SHEET):
        Console().show(record, RUN)
    said = capsys.readouterr()
    assert "  (ONNX Runtime: it is not installed)" in said.out and "5.0x (4.0 to 6.0)" in said.out
    assert "tails: hopper/guided/b1" in said.out and "30.12" in said.out
    assert "warning: others were here" in said.err
    Console(quiet=True).show(SHEET, RUN)
    assert capsys.readouterr() == ("", "")

"""Tables from records: what is in them, and which record of several."""

from dataclasses import replace

import pytest

from bench.recording import Console
from bench.records import Case, Sheet
from bench.report import SECTIONS
from bench.selection import best
from tests.bench.entries import GPU, RUN, SHEET, case, timed


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


@pytest.mark.parametrize("section", ["summary", "tails"])
def test_a_rehearsal_is_refused(section):
    with pytest.raises(ValueError, match="run r is a rehearsal"):
        SECTIONS[section]([(replace(GPU, run="r", clock="rehearsal"), one) for one in (case(), SHEET)])


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
    (found,) = best(entries, lambda run, record: True, enough=1).values()
    assert [run.run for run, _ in found.values()] == ["6"]


def test_settings_are_kept_apart():
    runs = [replace(RUN, threads=threads, isa=isa) for threads, isa in ((1, None), (2, "avx2"), (2, None))]
    assert [str(where) for where in best([(run, case()) for run in runs], lambda *_: True)] == [
        "Test CPU, 2 threads", "Test CPU, 1 thread", "Test CPU, 2 threads, capped to avx2",
    ]  # fmt: skip


def test_the_console(capsys):
    for record in (case(warning="others were here"), SHEET):
        Console().show(record, RUN)
    said = capsys.readouterr()
    assert "  (ONNX Runtime: it is not installed)" in said.out and "5.0x (4.0 to 6.0)" in said.out
    assert "tails: hopper/guided/b1" in said.out and "30.12" in said.out
    assert "warning: others were here" in said.err
    Console(quiet=True).show(SHEET, RUN)
    assert capsys.readouterr() == ("", "")

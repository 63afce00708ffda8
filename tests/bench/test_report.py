"""The pages from the records: nothing typed by hand, nothing else touched, nothing changed by a second run."""

from dataclasses import replace

import pytest

from bench import front_page, report, tables
from bench.__main__ import main
from bench.front_page import summary
from bench.records import read
from bench.report import SECTIONS
from bench.workloads import workloads
from tests.bench.entries import CEILING, GPU, RUN, case, timed

WIDE = replace(RUN, run="b", ceiling={**CEILING, "isa": "avx512"})
DIRTY = replace(RUN, run="c", time="2026-02-01T00:00:00+00:00", dirty=True)


def test_the_front_page_is_by_class_of_machine():
    text = summary([(RUN, case()), (WIDE, case(cpu=5.0)), (GPU, case())])
    head = "| task | torch eager, ms | best other engine, ms | ours, ms | ours, p99 ms | plans per second "
    assert text.count(head) == 3 and "GFLOP" not in text
    assert "**AVX2** (Test CPU, 2 threads). Measured 2026-01-01 at c0ffee00." in text
    assert "| hopper, guided, best of 64 plans | 100 | 50.0 (OpenVINO) | 10.0 | 12.5 | 100 | - | 5.00 (bf16) |" in text
    assert "**AVX-512**" in text and "| 5.00 | 12.5 | 200 | - | 2.50 (bf16) |" in text and "**NVIDIA Test**" in text


def test_a_machine_that_was_held_to_avx2_says_so_and_how():
    text = summary([(replace(RUN, isa="avx2"), case())])
    assert "**AVX2** (Test CPU, 2 threads, capped to avx2; what it has beyond that is hidden from all" in text
    assert "by `bench/cap.c`, from ours by `DIFFUSER_FAST_ISA=avx2`" in text
    assert "cap.c" not in summary([(RUN, case())])


def test_the_front_page_refuses_what_a_dirty_tree_measured():
    assert "| 10.0 |" in summary([(RUN, case()), (DIRTY, case(cpu=1.0))])
    assert summary([(DIRTY, case())]) == tables.NOTHING
    assert front_page.refused([(RUN, case()), (DIRTY, case()), (DIRTY, case("hopper/step/b1"))]) == [
        "refused: run c of 2026-02-01: it was measured in a dirty tree"
    ]
    assert "c0ffee00+" in SECTIONS["suite"]([(DIRTY, case())])


def test_what_was_not_measured_is_a_dash():
    one = case(cpu=10.0)
    ours = [replace(r, p99_ms=None) for r in one.results if r.candidate == "cpu"]
    assert "| - | - | 10.0 | - | 100 | - | - |" in summary([(RUN, replace(one, results=ours))])


def test_close_and_fast_are_the_fastest_of_what_was_judged_so():
    one = case(cpu=10.0)
    close, fast = timed("cpu float32-close", 7.0, True, exactness="close"), timed("cpu int8", 3.0, True)
    text = summary([(RUN, replace(one, results=[*one.results, close, replace(fast, exactness="fast")]))])
    assert "| 100 | 7.00 (float32-close) | 3.00 (int8) |" in text
    slow = replace(close, p50_ms=11.0)  # what is exact is close, too
    text = summary([(RUN, replace(one, results=[*one.results, slow, replace(fast, exactness="wrong")]))])
    assert "| 100 | 10.0 (float32) | 5.00 (bf16) |" in text


@pytest.mark.parametrize(
    ("ms", "text"), [(None, "-"), (0.123, "0.12"), (9.96, "9.96"), (12.34, "12.3"), (1794.2, "1794")]
)
def test_digits(ms, text):
    assert front_page.digits(ms) == text


def test_the_picture_is_of_the_tables(tmp_path):
    pytest.importorskip("matplotlib")
    path, entries = tmp_path / "latency.png", [(RUN, case()), (WIDE, case("hopper/guided/b1", cpu=5.0))]
    front_page.draw(entries, path)
    assert front_page.digest(entries).encode() in path.read_bytes() and [*tmp_path.iterdir()] == [path]
    assert front_page.digest([(RUN, case(cpu=9.0))]).encode() not in path.read_bytes()
    front_page.draw([], tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


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
        assert report.written(text, read()) == text, f"{page.name}: python -m bench --readme"
    assert report.pictured(read()), "docs/latency.png: python -m bench --readme"
    assert "<!-- bench:summary -->" in report.PAGES[0].read_text(encoding="utf-8")


def test_the_command_writes_nothing_that_is_as_it_was(capsys):
    before = [page.read_bytes() for page in report.PAGES]
    assert main(["--readme"]) == 0
    said = capsys.readouterr().out
    assert summary(read()) in said and said.count("as it was") == len(report.PAGES)
    assert "latency.png: written" not in said
    assert [page.read_bytes() for page in report.PAGES] == before


def test_every_task_of_the_front_page_is_a_whole_plan():
    said = workloads()
    assert len(said.summary) >= 4 and {said.find(name).kind for name in said.summary.values()} == {"plan", "guided"}

"""Tables and plots from rows; nothing typed by hand, nothing else touched, nothing changed by a second run."""

import json

import pytest

from bench import compare, plots, report, rows, tables
from bench.choice import best
from bench.workloads import ladder as workloads

CPU = {"cpu": "Test CPU"}
CEILING = {"gflops": 200.0, "gbs": {"1": 80.0, "4": 60.0, "16": 40.0, "64": 10.0}, "isa": "avx2", "how": "probe.c"}
NUMBERS = ("p90_ms", "p99_ms", "min_ms", "speedup_low", "speedup_high", "weights_gbs", "rss_mib", "rss_growth_mib")


def run(folder, time="2026-01-01T00:00:00+00:00", **fields):
    log = rows.Log(
        {
            "command": "bench", "commit": "c0ffee00ff", "dirty": False, "machine": CPU, "versions": {},
            "ceiling": CEILING, "threads": 2, "isa": None, "quick": False, "load": 0.0, **fields,
        },
        folder,
    )  # fmt: skip
    # The run row was written with the real clock: a test has its own.
    written = [json.loads(line) for line in log.path.read_text().splitlines()]
    written[-1]["time"] = time
    log.path.write_text("".join(json.dumps(row) + "\n" for row in written))
    return log


def timing(log, workload, candidate, p50, ours=False, speedup=None, **fields):
    network, kind, batch = workload.split("/")
    log.append("timing", {
        **dict.fromkeys(NUMBERS), "workload": workload, "network": network, "horizon": 32, "kind": kind,
        "batch": int(batch[1:]), "candidate": candidate, "ours": ours, "why_not": None, "note": "",
        "exactness": "exact", "deviation": 1e-7, "over": 0.5, "calls": 10, "rounds": 5, "p50_ms": p50,
        "best_peer": "torch eager", "speedup": speedup, "flops": 1000, "weight_bytes": 10, "gflops": 1.0,
        "fma_percent": 1.0, "bandwidth_percent": 2.0, "ready_s": 1.0, "others": 0.0, "warning": None, **fields,
    })  # fmt: skip


@pytest.fixture
def found(tmp_path):
    log = run(tmp_path)
    for batch, eager, ours in ((1, 20.0, 2.0), (64, 60.0, 10.0)):
        timing(log, f"hopper/step/b{batch}", "torch eager", eager, speedup=1.0)
        ratio = {"speedup": eager / ours, "speedup_low": 5.0, "speedup_high": 11.0}
        timing(log, f"hopper/step/b{batch}", "cpu", ours, ours=True, **ratio)
    timing(log, "hopper/step/b1", "OpenVINO", None, why_not="openvino is not installed", calls=0, rounds=0)
    for index, (us, gflops) in enumerate(((5.0, 100.0), (1.0, 3.0))):
        log.append("layer", {
            "workload": "hopper/step/b1", "candidate": "cpu avx2", "program": "denoiser", "index": index, "op": "conv",
            "shape": "14>32 k5 H32", "flops": 1000, "bytes": 100, "us": us, "gflops": gflops,
            "intensity": 10.0, "bound_gflops": 200.0, "percent": gflops / 2, "others": 0.0, "warning": None,
        })  # fmt: skip
    log.append("tail", {
        "workload": "hopper/guided/b1", "candidate": "cpu", "threads": 2, "calls": 10000, "p50_ms": 30.123,
        "p99_ms": 31.0, "p99_9_ms": 33.0, "max_ms": 40.0, "others": 0.5, "warning": "others used 50% of every core",
    })  # fmt: skip
    log.append("memory", {
        "workload": "hopper/guided/b1", "candidate": "cpu", "why_not": None, "peak_rss_mib": 55.4,
        "torch_loaded": False,
    })  # fmt: skip
    return rows.read([log.path])


def test_tables_hold_the_numbers(found):
    ladder = tables.ladder(found)
    assert "| hopper/step/b1 | 1e-06 | 20.00 | 2.00 10.0x | 10.0x (5.0 to 11.0) | 1.0 | 1 % | 2 % |" in ladder
    assert "Test CPU, 2 threads" in ladder and "c0ffee00" in ladder and "200 GFLOP/s (avx2)" in ladder
    assert "30.12" in tables.tails(found) and "hopper/guided/b1 *" in tables.tails(found)
    assert "| hopper/guided/b1 | cpu | 55 | no |" in tables.memory(found)
    # Half of its roof for 5 us, 1.5 % of it for 1 us.
    assert "| hopper/step/b1 | conv k5 | 2 | 100 % | 0.3 | 42 % |" in tables.layers(found)
    assert list(workloads().summary[:2]) == [
        line.split(" | ")[0][2:] for line in tables.summary(found).splitlines()[4:6]
    ]


@pytest.mark.parametrize("write", report.SECTIONS.values(), ids=report.SECTIONS)
def test_without_rows_a_table_says_so(write):
    assert "yet" in write([])


def test_sections_are_written_and_nothing_else(found, tmp_path):
    page = tmp_path / "README.md"
    text = (
        "# Title\n\n<!-- bench:ladder -->\nold\n<!-- /bench:ladder -->\n\nKeep this 17.\n"
        "<!-- bench:tails -->\n<!-- /bench:tails -->\n"
    )
    once = report.report(text, found, page)
    assert once.startswith("# Title\n\n<!-- bench:ladder -->\n") and "Keep this 17." in once
    assert "old" not in once and "10.0x" in once and "30.12" in once
    assert report.report(once, found, page) == once


def test_an_unknown_section_is_an_error(found, tmp_path):
    with pytest.raises(ValueError, match="no such section: bench:nonsense"):
        report.report("<!-- bench:nonsense -->\n<!-- /bench:nonsense -->", found, tmp_path / "README.md")


def test_the_pages_of_the_checkout_can_be_written(found):
    for page in report.PAGES:
        if page.exists():
            text = page.read_text(encoding="utf-8")
            once = report.report(text, found, page)
            assert report.report(once, found, page) == once


def test_the_best_row_is_shown(tmp_path):
    """Quiet before disturbed, full before quick, then the newest."""
    noisy = {"warning": "others", "others": 1.0}
    plan = [
        ("2026-01-01T00:00:00+00:00", {}, 1.0, {}),
        ("2026-01-02T00:00:00+00:00", {}, 2.0, {}),
        ("2026-01-03T00:00:00+00:00", {"quick": True}, 3.0, {}),
        ("2026-01-04T00:00:00+00:00", {}, 4.0, noisy),
    ]
    for when, fields, p50, extra in plan:
        log = run(tmp_path, when, **fields)
        timing(log, "hopper/step/b1", "cpu", p50, ours=True, **extra)
    (by,) = best(rows.read([log.path]), "timing").values()
    assert [row["p50_ms"] for row in by.values()] == [2.0]


def test_settings_are_kept_apart(tmp_path):
    for threads, isa in ((2, None), (1, None), (2, "avx2")):
        log = run(tmp_path, threads=threads, isa=isa)
        timing(log, "hopper/step/b1", "cpu", 1.0, ours=True)
    assert [str(s) for s in best(rows.read([log.path]), "timing")] == [
        "Test CPU, 2 threads", "Test CPU, 1 thread", "Test CPU, 2 threads, capped to avx2",
    ]  # fmt: skip


def test_plots_are_drawn(found, tmp_path):
    pytest.importorskip("matplotlib")
    made = plots.draw(found, tmp_path / "plots")
    assert [path.name for path in made] == [
        "test-hopper-step.png", "test-roofline-hopper-step-b1.png",
    ]  # fmt: skip
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in made)


def test_compare(tmp_path):
    logs = []
    for p50, low, high in ((10.0, 4.0, 5.0), (5.0, 8.0, 10.0)):
        log = run(tmp_path)
        timing(
            log, "hopper/step/b1", "cpu", p50, ours=True, speedup=(low + high) / 2, speedup_low=low, speedup_high=high
        )
        logs.append(log)
    everything = rows.read([logs[0].path])
    old, new = (compare.pick(everything, log.run) for log in logs)
    _, row = compare.compare(old, new)
    assert row == ["hopper/step/b1", "cpu", "10.000", "5.000", "-50.0%", "4.50", "9.00", "faster"]
    assert compare.compare(new, old)[1][-1] == "slower"
    assert compare.compare(old, old)[1][-1] == "no"
    assert len(compare.pick(everything, "c0ffee")) == 2
    assert len(compare.pick([], str(logs[0].path))) == 2
    with pytest.raises(ValueError, match="no timings"):
        compare.pick(everything, "zzz")

"""Tables of GPU rows: the newest of everything, nothing typed by hand, and no rehearsal ever."""

import pytest

from bench.gpu import tables
from bench.rows import Log, read

TIMING = {
    "workload": "hopper/guided/b64", "network": "hopper", "horizon": 32, "kind": "guided", "batch": 64,
    "candidate": "triton float32", "ours": True, "why_not": None, "note": "", "exactness": "exact",
    "deviation": 3e-7, "over": 0.5, "device_calls": 200, "device_p50_ms": 9.5, "device_p99_ms": 9.9,
    "host_calls": 200, "host_p50_ms": 10.25, "host_p99_ms": 11.5, "best_peer": "torch.compile, one graph",
    "speedup": 2.5, "speedup_low": 2.4, "speedup_high": 2.6, "over_original": 15.0, "predicted_ms": 12.0,
    "flops": 10, "tflops": 1.0, "ready_s": 3.0, "rehearsal": False,
}  # fmt: skip
CONSTANT = {
    "name": "kernel in a graph", "us": 1.25, "assumed_us": 1.3, "how": "events", "why_not": None, "rehearsal": False,
}  # fmt: skip
CHECK = {
    "check": "goldens", "candidate": "triton float32", "exactness": "exact", "cases": 3, "total": 3, "failed": 0,
    "worst": 0.125, "worst_case": "hopper_guided", "why_not": None, "rehearsal": False,
}  # fmt: skip


def log(folder, name="NVIDIA Test"):
    return Log(
        {
            "command": "bench.gpu", "commit": "c0ffee00ff", "dirty": False, "threads": 1, "isa": None, "quick": False,
            "machine": {"cpu": "Test CPU", "gpu": {"name": name, "driver_version": "580.1"}}, "load": None,
            "versions": {"torch": "2.11.0", "triton": "3.6.0"}, "ceiling": {},
        },
        folder, name,
    )  # fmt: skip


def test_the_file_is_named_for_the_gpu(tmp_path):
    assert log(tmp_path).path.name[10:] == "-nvidia-test.jsonl"


def test_tables_hold_the_numbers(tmp_path):
    one = log(tmp_path)
    one.append("gpu_timing", TIMING)
    one.append("gpu_timing", {**TIMING, "candidate": "torch eager", "ours": False, "host_p50_ms": 99.0})
    one.append("gpu_constant", CONSTANT)
    one.append("gpu_check", CHECK)
    text = tables.gpu(read([one.path]))
    assert "**NVIDIA Test**, driver 580.1, torch 2.11.0, triton 3.6.0." in text and "c0ffee00" in text
    expected = "| hopper/guided/b64 | triton float32 | 9.50 | 9.90 | 10.25 | 11.50 | 2.5x | 15.0x | 3e-07 | exact |"
    assert expected in text and text.index("torch eager") < text.index("triton float32 | 9.50")
    assert "| kernel in a graph | 1.25 | 1.30 | events |" in text
    assert "| goldens | triton float32 | exact | 3 | 3 | 0 | 0.12 |" in text


def test_the_newest_row_that_was_timed_is_shown(tmp_path):
    one = log(tmp_path)
    one.append("gpu_timing", TIMING)
    one.append("gpu_timing", {**TIMING, "host_p50_ms": 7.75})
    one.append("gpu_timing", {**TIMING, "host_p50_ms": None, "why_not": "no time left"})
    text = tables.gpu(read([one.path]))
    assert "7.75" in text and "10.25" not in text


def test_a_rehearsal_is_refused(tmp_path):
    one = log(tmp_path, "rehearsal")
    one.append("gpu_constant", {**CONSTANT, "rehearsal": True})
    with pytest.raises(ValueError, match=f"run {one.run} is a rehearsal"):
        tables.gpu(read([one.path]))


def test_without_rows_it_says_so():
    assert tables.gpu([]) == "No GPU rows yet."

"""Records as a run would have left them, for tests of tables and pages."""

from dataclasses import replace

from bench.records import Case, Result, Run, Sheet

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

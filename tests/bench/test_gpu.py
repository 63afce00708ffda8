"""What is of a GPU alone, without one: its name, a whole rehearsal."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from bench import gpu as session  # noqa: E402 (needs torch)
from bench.gpu import cases  # noqa: E402
from bench.peers import Settings, candidates  # noqa: E402
from bench.records import read  # noqa: E402
from bench.workloads import workloads  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]


def gpu(*words, **environment):
    return subprocess.run(
        [sys.executable, "-m", "bench", "--gpu", *words], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip


def test_the_suite_of_a_gpu():
    """Everyone beside the first workload, what is quick beside all, then what must be compiled beside all."""
    said = workloads()
    chosen = said.select(names=said.sets["gpu"])
    assert all(one.kind in ("plan", "guided") for one in chosen)
    found = list(cases(chosen, candidates(Settings("cuda")), small=False))
    assert [w for w, _ in found] == chosen * 2
    names = [[one.name for one in entrants] for _, entrants in found]
    assert {"triton tf32", "torch eager, as the original", "torch eager, one graph"} <= set(names[0])
    assert "triton tf32" not in names[1] and {"triton", "triton fp16"} <= set(names[1])
    assert len([name for name in names[-1] if name.startswith("torch.compile")]) == 3 and "torch eager" in names[-1]


def test_nvidia_smi_is_read(monkeypatch):
    line = "580.1, 1980, 1980, 3201, 700.00, 35\n"
    monkeypatch.setattr(session.subprocess, "run", lambda *a, **k: subprocess.CompletedProcess(a, 0, stdout=line))
    assert session.settings_of("GPU-aaaa") == {
        "driver_version": "580.1", "clocks_sm": "1980", "clocks_max_sm": "1980", "clocks_mem": "3201",
        "power_limit": "700.00", "temperature_gpu": "35",
    }  # fmt: skip


def test_without_nvidia_smi_nothing_is_known(monkeypatch):
    def gone(*arguments, **options):
        raise FileNotFoundError

    monkeypatch.setattr(session.subprocess, "run", gone)
    assert set(session.settings_of("").values()) == {None}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_it_says_so_and_does_nothing(tmp_path):
    done = gpu("--results", str(tmp_path))
    assert done.returncode == 2 and not list(tmp_path.iterdir())
    assert "NVIDIA" in done.stderr or "CUDA" in done.stderr


@pytest.mark.slow
def test_a_rehearsal(tmp_path):
    """Everything but the GPU: checks, constants, suite, records, in processes as on the day."""
    done = gpu("--rehearse", "--results", str(tmp_path), "--minutes", "20")
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = tmp_path.glob("*-rehearsal.jsonl")
    entries = read([path])
    assert {run.clock for run, _ in entries} == {"rehearsal"}
    found, costs, modelled, *measured = [record for _, record in entries]
    assert modelled.what == "model" and all(low < high for _, low, high, _ in modelled.rows)
    assert [line[2:5] for line in found.rows] == [[1, found.rows[0][3], 0]] and len(costs.rows) == 8
    assert [case.workload for case in measured] == workloads().sets["rehearsal"] * 2
    results = [result for case in measured for result in case.results]
    assert all(r.why_not is None or "waits for nothing" in r.why_not for r in results)
    assert all(r.exactness == "exact" and r.p50_ms and r.device_p50_ms for r in results if r.why_not is None)
    assert {r.candidate for r in results} >= {"triton", "torch eager, as the original", "torch.compile one graph"}


def test_a_cut_run_keeps_what_it_has(tmp_path):
    done = gpu("--rehearse", "--no-checks", "--results", str(tmp_path), "--minutes", "0.02")
    assert done.returncode == 0 and "no time left for tiny/plan/b1" in done.stdout, done.stdout + done.stderr
    (path,) = tmp_path.glob("*.jsonl")
    read([path])


def test_kernels_are_found_without_an_installation():
    script = (
        "import sys; sys.path = [p for p in sys.path if 'editable' not in p]; sys.meta_path = ["
        "f for f in sys.meta_path if 'ditable' not in getattr(f, '__name__', '')]\n"
        "import bench, diffuser_fast.kernels as k; print(k.__file__)"
    )
    done = subprocess.run([sys.executable, "-S", "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()) == ROOT / "kernels" / "__init__.py"

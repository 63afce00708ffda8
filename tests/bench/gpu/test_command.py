"""`make gpu` as a command: a whole rehearsal on the CPU, and what it says where nothing can be measured."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bench.gpu import checkout
from bench.gpu.device import Rehearsal
from bench.gpu.peers import PEERS
from bench.gpu.session import Request, rungs
from bench.rows import read
from bench.workloads import ladder

ROOT = Path(__file__).resolve().parents[3]


def run(*words, **environment):
    variables = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(
        [sys.executable, "-m", "bench.gpu", *words], cwd=ROOT, capture_output=True, text=True, env=variables
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_it_says_so_and_does_nothing(tmp_path):
    done = run("--results", str(tmp_path))
    assert done.returncode == 2 and done.stderr.startswith("make gpu: ") and not list(tmp_path.iterdir())
    assert "CUDA" in done.stderr or "GPU" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--only", "nonsense", "--rehearse"], "nothing matches nonsense; there are tiny"),
        (["--minutes", "0"], "more than 0"),
    ],
)
def test_what_makes_no_sense_is_refused(words, said):
    done = run(*words)  # a process of its own: a rehearsal turns the interpreter on
    assert done.returncode == 2 and said in done.stderr


@pytest.mark.slow
def test_a_rehearsal(tmp_path):
    """Everything but the GPU: checks, constants, rungs, rows, in processes as on the day."""
    done = run("--rehearse", "--results", str(tmp_path), "--minutes", "3")
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = tmp_path.glob("*.jsonl")
    rows = read([path])
    assert path.name.endswith("-rehearsal.jsonl") and all(row["rehearsal"] for row in rows)
    kinds = {kind: [row for row in rows if row["row"] == kind] for kind in ("gpu_timing", "gpu_check", "gpu_constant")}
    named = {(one.workload, peer) for one in ladder().gpu_rehearsal for peer in one.peers}
    assert named <= {(row["workload"], row["candidate"]) for row in kinds["gpu_timing"]}
    peers = [row for row in kinds["gpu_timing"] if not row["ours"]]
    assert all(row["why_not"] is None and row["host_p50_ms"] > 0 for row in peers)
    (ours,) = (row for row in kinds["gpu_timing"] if row["ours"])
    assert ours["why_not"] is None and ours["exactness"] == "exact" and ours["predicted_ms"] > 0
    assert [(row["check"], row["cases"], row["failed"]) for row in kinds["gpu_check"]] == [("conformance", 1, 0)]
    assert len(kinds["gpu_constant"]) == 10
    for row in peers:
        assert row["candidate"] in done.stdout


def test_a_cut_run_keeps_what_it_has(tmp_path):
    done = run("--rehearse", "--no-checks", "--results", str(tmp_path), "--minutes", "0.02")
    assert (done.returncode == 0 and "minutes are over" in done.stdout) or "no time left" in done.stdout
    (path,) = tmp_path.glob("*.jsonl")
    read([path])


def test_every_rung_can_be_run():
    """The declared rungs name workloads and peers that exist, each pair once."""
    said = ladder()
    for declared in (said.gpu, said.gpu_rehearsal):
        assert {peer for one in declared for peer in one.peers} <= set(PEERS)
        assert all(said.find(one.workload).kind in ("plan", "guided") for one in declared)
        assert len({(one.workload, one.peers) for one in declared}) == len(declared)
    wanted = {"hopper/guided/b1", "hopper/guided/b64", "hopper/guided/b1024", "halfcheetah/guided/b64",
              "maze2d-umaze/plan/b1", "maze2d-large/plan/b1"}  # fmt: skip
    assert {one.workload for one in said.gpu} == wanted
    assert [one.workload for _, one in rungs(Request(Rehearsal(), ROOT, 1.0, ("plan",)))] == ["tiny/plan/b1"]


def test_kernels_are_found_without_an_installation():
    script = (
        "import sys; sys.path = [p for p in sys.path if 'editable' not in p]; sys.meta_path = ["
        "f for f in sys.meta_path if 'ditable' not in getattr(f, '__name__', '')]\n"
        "from bench.gpu.checkout import mount_kernels; mount_kernels()\n"
        "import diffuser_fast.kernels as k, importlib; print(k.__file__)"
    )
    done = subprocess.run([sys.executable, "-S", "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()) == ROOT / "kernels" / "__init__.py"


def test_an_engine_older_than_its_source_is_built_anew(tmp_path, monkeypatch):
    library, source = tmp_path / "_cpu.so", tmp_path / "csrc" / "cpu" / "run.cc"
    source.parent.mkdir(parents=True)
    for path, time in ((library, 100), (source, 50)):
        path.touch()
        os.utime(path, (time, time))
    spec = type("Spec", (), {"origin": str(library)})
    monkeypatch.setattr(checkout.importlib.util, "find_spec", lambda name: spec)
    assert checkout.EngineBuild(tmp_path).process is None
    os.utime(source, (150, 150))
    build = checkout.EngineBuild(tmp_path)  # there is no setup.py here, so it fails
    assert "could not be built" in build.wait(30.0)


def test_a_build_that_takes_too_long_is_stopped(tmp_path, monkeypatch):
    (tmp_path / "csrc").mkdir()
    (tmp_path / "csrc" / "a.cc").touch()
    (tmp_path / "setup.py").write_text("import time; time.sleep(60)")
    monkeypatch.setattr(checkout.importlib.util, "find_spec", lambda name: None)
    assert "not built in the time" in checkout.EngineBuild(tmp_path).wait(0.5)

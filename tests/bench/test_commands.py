"""The commands end to end, on the tiny network and for a moment: what they write and what they refuse."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench import layers, machine, roofline, suite, tails
from bench.__main__ import main
from bench.peers import Settings
from bench.records import Case, Sheet, read
from bench.workloads import workloads
from diffuser_fast import backends
from diffuser_fast.cli import bench as command

ROOT = Path(__file__).resolve().parents[2]
CEILING = {"gflops": 100.0, "gbs": {"1": 50.0, "4": 40.0, "16": 30.0, "64": 10.0}, "isa": "avx2"}
needs_engine = pytest.mark.skipif(backends.why_not("cpu", None) is not None, reason="the C++ engine is not built")


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """What a run sets for its processes is taken back."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        monkeypatch.setenv(name, str(ROOT / "bench" / "scratch" / name.split("_")[0].lower()))


def test_a_case_from_the_command_line(tmp_path):
    pytest.importorskip("torch")
    words = ["--only", "tiny/step/b2", "--candidates", "eager", "--candidates", "cpu", "--threads", "1"]
    words += ["--budget", "0.1", "--results", str(tmp_path), "--json"]
    done = subprocess.run([sys.executable, "-m", "bench", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (one,) = json.loads(done.stdout)["runs"]
    ((run, case),) = read(tmp_path.glob("*.jsonl"))
    assert (run.threads, run.clock, run.isa) == (1, "cpu", None) and run.ceiling["gflops"] > 0
    assert isinstance(case, Case) and case.results[0].candidate == "torch eager" and case.results[0].why_not is None
    assert len(one["records"]) == 2 and one["records"][1]["workload"] == "tiny/step/b2"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--only", "nonsense"], "nothing matches nonsense"),
        (["--candidates", "nonsense"], "nothing matches nonsense"),
        (["--tails", "--layers"], "not allowed with"),
        (["--summary", "--quick"], "not allowed with"),
        (["--tails", "--readme"], "not allowed with"),
        (["--calls", "5"], "--calls is for --tails"),
        (["--threads", "0"], "expected a whole number, at least 1"),
        (["--tails", "--only", "tiny/step/b1"], "--tails: tiny/step/b1 is none of the kinds plan, guided"),
        (["--layers", "--only", "tiny/plan/b1"], "--layers: tiny/plan/b1 is none of the kinds step, gradient"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path, capsys, words, complaint):
    with pytest.raises(SystemExit, match="2"):
        main([*words, "--results", str(tmp_path)])
    assert complaint in capsys.readouterr().err and not list(tmp_path.iterdir())


@needs_engine
def test_tails(tmp_path, capsys):
    assert main(["--tails", "--only", "tiny/guided/b2", "--calls", "110", "--results", str(tmp_path)]) == 0
    entries = read(tmp_path.glob("*.jsonl"))
    assert [run.threads for run, _ in entries] == [1, 2]
    for _, sheet in entries:
        said = dict(zip(sheet.columns, sheet.rows[0], strict=True))
        assert said["calls"] == 110 and said["p99.9 ms"] is None and sheet.name == "tiny/guided/b2"
        assert said["p50 ms"] <= said["p99 ms"] <= said["slowest ms"]
    assert "tails: tiny/guided/b2" in capsys.readouterr().out


@needs_engine
def test_layers_keep_classes_and_leave_ops(tmp_path, monkeypatch):
    monkeypatch.setattr(suite, "OPS", tmp_path / "ops")
    monkeypatch.setattr(roofline, "measure", lambda threads, isa: CEILING)
    assert main(["--layers", "--only", "tiny/step/b2", "--threads", "1", "--results", str(tmp_path)]) == 0
    ((run, sheet),) = read(tmp_path.glob("*.jsonl"))
    (path,) = (tmp_path / "ops").iterdir()
    assert path.name == f"{run.run}-tiny-step-b2.jsonl"
    ops = [json.loads(line) for line in path.read_text().splitlines()]
    assert sum(row[1] for row in sheet.rows) == len(ops) and isinstance(sheet, Sheet)


@needs_engine
def test_layers_without_a_roof_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(roofline, "measure", lambda threads, isa: {})
    with pytest.raises(SystemExit, match="2"):
        main(["--layers", "--only", "tiny/step/b2", "--threads", "1", "--results", str(tmp_path)])
    assert "the roof was not measured: there is no C compiler" in capsys.readouterr().err


@needs_engine
@pytest.mark.parametrize("kind", ["step", "gradient"])
def test_ops_and_their_roof(monkeypatch, kind):
    monkeypatch.setattr(layers, "SECONDS", 0.01)
    sheet, ops = layers.layers(workloads().find(f"tiny/{kind}/b2"), Settings(threads=1), CEILING)
    assert all(op["roof_gflops"] <= CEILING["gflops"] for op in ops)
    assert "6>16 k5 H16" in {op["shape"] for op in ops}
    assert sheet.columns == layers.COLUMNS and 90 <= sum(row[2] for row in sheet.rows) <= 110
    with pytest.raises(ValueError, match="the roof was not measured"):
        layers.layers(workloads().find(f"tiny/{kind}/b2"), Settings(threads=1), {})


def test_the_ceiling(tmp_path, monkeypatch):
    monkeypatch.setattr(roofline, "SIZES_MIB", (1, roofline.WEIGHTS_MIB))
    measured = roofline.measure(1, scratch=tmp_path)
    assert measured["gflops"] > 0 and set(measured["gbs"]) == {"1", "16"} and roofline.weights_gbs(measured) > 0
    assert json.loads(json.dumps(measured)) == measured
    monkeypatch.setattr(machine.shutil, "which", lambda name: None)
    assert roofline.measure(1, scratch=tmp_path) == {}  # no compiler, no limits


def test_without_a_checkout_it_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(command, "CHECKOUT", tmp_path)
    refused = CliRunner().invoke(command.command, ["--quick"])
    assert refused.exit_code == 2 and "does not have" in refused.output
    assert "Latency of our engines" in CliRunner().invoke(command.command, ["--help"]).output
    said = []
    monkeypatch.setattr(command, "_small", said.append)
    done = CliRunner().invoke(command.command, ["--json"])
    assert done.exit_code == 0 and said == [True] and "torch eager" in done.output


def test_a_checkout_is_handed_all_words(monkeypatch):
    commands = []

    def run(words, cwd):
        commands.append((words[1:], cwd))
        return subprocess.CompletedProcess(words, 3)

    monkeypatch.setattr(command.subprocess, "run", run)
    words = ["--quick", "--only", "hopper", "--candidates", "!cpu", "--json"]
    assert CliRunner().invoke(command.command, words).exit_code == 3
    assert commands == [(["-m", "bench", *words], ROOT)]


@needs_engine
def test_tails_with_deadlines_and_jitter(tmp_path, capsys):
    """The command in small: every table and the picture."""
    picture = tmp_path / "tails.png"
    small = [
        "--calls",
        "20",
        "--threads",
        "1",
        "--busy",
        "0",
        "--budget-calls",
        "20",
        "--budgets",
        "50",
        "--steps",
        "20",
    ]
    folder = ["--record", "--results", str(tmp_path)]
    tails.main(["tiny/guided/b1", *small, "--period-ms", "0", "--plot", str(picture), *folder])
    said = capsys.readouterr().out
    assert all(word in said for word in ("tiny/guided/b1, 0 busy", "late, %", "wakes late", "a step takes"))
    sheets = [sheet for _, sheet in read(tmp_path.glob("*.jsonl"))]
    assert [sheet.what for sheet in sheets] == ["load", "deadlines", "executor"]
    assert all(len(row) == len(sheet.columns) for sheet in sheets for row in sheet.rows)
    assert picture.read_bytes().startswith(b"\x89PNG")

"""The commands end to end, on the tiny network and for a moment: what they write and what they refuse."""

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from bench import __main__ as main
from bench import layers, machine, memory, roofline, rows, tails
from bench.peers import Settings
from bench.peers.ours import Ours
from bench.workloads import ladder
from diffuser_fast import backends
from diffuser_fast.cli import bench as command

ROOT = Path(__file__).resolve().parents[2]
CEILING = roofline.Ceiling(100.0, {1: 50.0, 4: 40.0, 16: 30.0, 64: 10.0}, "avx2", 1, "probe.c")
BUILT = backends.why_not("cpu", None) is None
needs_engine = pytest.mark.skipif(not BUILT, reason="the C++ engine is not built")


def bench(*arguments):
    return subprocess.run([sys.executable, "-m", "bench", *arguments], cwd=ROOT, capture_output=True, text=True)


def test_a_rung_from_the_command_line(tmp_path):
    pytest.importorskip("torch")
    done = bench(
        "--only", "tiny/step/b2", "--candidates", "eager", "--candidates", "reference", "--threads", "1",
        "--budget", "0.1", "--results", str(tmp_path), "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (one,) = json.loads(done.stdout)["runs"]
    assert [row["row"] for row in one["rows"]] == ["run", "timing", "timing"]
    written = rows.read(tmp_path.glob("*.jsonl"))
    assert [row["candidate"] for row in written] == ["torch eager", "reference"]
    assert all(row["at"]["threads"] == 1 and row["why_not"] is None for row in written)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--only", "nonsense"], "nothing matches"),
        (["--candidates", "nonsense"], "nothing matches"),
        (["--tails", "--layers"], "one at a time"),
        (["--calls", "5"], "--calls is for --tails"),
        (["--summary", "--quick"], "different workloads"),
        (["--threads", "0"], "0 is not in the range"),
        (["--tails", "--threads", "1", "--only", "tiny/step/b1"], "not a plan"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path, arguments, complaint):
    done = bench(*arguments, "--results", str(tmp_path))
    assert done.returncode == 2
    assert complaint in " ".join(done.stderr.replace("│", " ").split())


def test_list():
    done = bench("--list", "--json")
    assert set(json.loads(done.stdout)) == {"workloads", "quick", "candidates"}
    assert "hopper/step/b1" in bench("--list").stdout


@needs_engine
def test_tails():
    fields = tails.tail(ladder().find("tiny/guided/b2"), Settings(threads=1), calls=110)
    rows.check({"row": "tail", "run": "x", **fields})
    assert fields["calls"] == 110 and fields["p99_9_ms"] is None
    assert fields["p50_ms"] <= fields["p99_ms"] <= fields["max_ms"]


@needs_engine
@pytest.mark.parametrize("kind", ["step", "gradient"])
def test_layers(monkeypatch, kind):
    monkeypatch.setattr(layers, "SECONDS", 0.01)
    found = layers.layers(ladder().find(f"tiny/{kind}/b2"), Settings(threads=1), CEILING)
    for fields in found:
        rows.check({"row": "layer", "run": "x", **fields})
    assert [row["index"] for row in found] == list(range(len(found)))
    assert all(row["bound_gflops"] <= CEILING.gflops for row in found)
    assert "6>16 k5 H16" in {row["shape"] for row in found}


@needs_engine
def test_memory_of_the_engine_is_without_torch():
    fields = memory.alone(ladder().find("tiny/guided/b1"), Ours("cpu"), Settings(threads=1))
    rows.check({"row": "memory", "run": "x", **fields})
    assert fields["why_not"] is None and fields["torch_loaded"] is False
    assert 10 < fields["peak_rss_mib"] < 500


def test_memory_of_what_fails():
    class Gone:
        name = "nobody"

    fields = memory.alone(ladder().find("tiny/guided/b1"), Gone(), Settings(threads=1))
    assert "its process ended with 1" in fields["why_not"]


def test_the_ceiling(tmp_path):
    measured = roofline.measure(1, scratch=tmp_path)
    assert measured.gflops > 0 and set(measured.gbs) == set(roofline.SIZES_MIB)
    json.dumps(measured.to_json())


def test_the_ceiling_without_a_compiler(tmp_path, monkeypatch):
    monkeypatch.setattr(roofline.shutil, "which", lambda name: None)
    monkeypatch.setattr(roofline, "SIZES_MIB", (1, roofline.WEIGHTS_MIB))
    measured = roofline.measure(1, scratch=tmp_path)
    assert "no C compiler" in measured.how and measured.gflops > 0


def test_options_are_handed_on_as_they_were(monkeypatch):
    """Every option of `diffuser-fast bench`, spelt again for `python -m bench`, is read as the same."""
    words = [
        "--summary", "--quick", "--only", "a", "--only", "b*", "--candidates", "cpu", "--threads", "1",
        "--threads", "2", "--isa", "avx2", "--every-isa", "--budget", "1.5", "--tails", "--calls", "7",
        "--layers", "--memory", "--gpu", "--list",
        "--results", "somewhere",
    ]  # fmt: skip
    seen = []

    @click.command()
    @command.ladder_options
    def echo(**options):
        seen.append(options)

    CliRunner().invoke(echo, words, catch_exceptions=False, standalone_mode=False)
    assert command.spelt(seen[0]) == words


def test_the_gpu_ladder_is_a_process_of_its_own(monkeypatch):
    commands = []

    def run(words, **options):
        commands.append(words[1:])
        return subprocess.CompletedProcess(words, 2)

    monkeypatch.setattr(main.subprocess, "run", run)
    done = CliRunner().invoke(main.main, ["--gpu", "--only", "hopper", "--results", "somewhere"])
    assert done.exit_code == 2
    assert commands == [["-m", "bench.gpu", "--only", "hopper", "--results", "somewhere"]]


def test_without_a_checkout_it_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(command, "CHECKOUT", tmp_path)
    refused = CliRunner().invoke(command.command, ["--quick"])
    assert refused.exit_code == 2 and "does not have" in refused.output
    said = []
    monkeypatch.setattr(command, "_small", said.append)
    done = CliRunner().invoke(command.command, ["--json"])
    assert done.exit_code == 0 and said == [True] and "torch eager" in done.output


def test_a_checkout_runs_its_ladder(monkeypatch):
    commands = []

    def run(words, cwd):
        commands.append((words[1:], cwd))
        return subprocess.CompletedProcess(words, 3)

    monkeypatch.setattr(command.subprocess, "run", run)
    done = CliRunner().invoke(command.command, ["--quick", "--json"])
    assert done.exit_code == 3
    assert commands == [(["-m", "bench", "--quick", "--json"], ROOT)]


def test_the_commit_is_known():
    head, dirty = machine.commit()
    if (ROOT / ".git").exists():
        assert len(head) == 40
    else:
        assert (head, dirty) == (None, True)

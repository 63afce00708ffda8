"""Examples run, in small, and leave what they say."""

import subprocess
import sys
from pathlib import Path

import pytest
from csrc.engines import needs_engine

pytest.importorskip("matplotlib")
EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@needs_engine
def test_costs(tmp_path):
    picture = tmp_path / "costs.png"
    words = [sys.executable, str(EXAMPLES / "costs.py"), "--batch-size", "2", "--out", str(picture)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == [
        "no cost", "keep out", "keep out, at the cross at time 85",
    ]  # fmt: skip
    assert picture.read_bytes().startswith(b"\x89PNG")


@needs_engine
def test_variable_horizon(tmp_path):
    """Longer plans than the trained ones arrive; too short ones cannot."""
    picture = tmp_path / "horizons.png"
    words = [sys.executable, str(EXAMPLES / "variable_horizon.py"), "--batch-size", "2", "--out", str(picture)]
    words += ["--horizons", "64", "128", "136"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    heads, told = zip(*(line.split(": ") for line in done.stdout.splitlines()), strict=True)
    assert heads == ("horizon 64", "horizon 128 (trained)", "horizon 136")
    assert [said.split("%")[0] for said in told][1:] == ["100", "100"] and not told[0].startswith("100%")
    assert picture.read_bytes().startswith(b"\x89PNG")


@needs_engine
def test_warm_start(tmp_path):
    pytest.importorskip("mujoco")
    picture = tmp_path / "warm.png"
    words = [sys.executable, str(EXAMPLES / "warm_start.py"), "--batch-size", "2", "--out", str(picture)]
    words += ["--episodes", "1", "--steps", "12", "--budgets", "1", "5"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == ["last 1", "last 5", "from noise"]
    assert picture.read_bytes().startswith(b"\x89PNG")

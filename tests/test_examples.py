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

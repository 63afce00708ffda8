"""The commands of what plans are worth, in small."""

import pytest

from bench.records import read
from diffuser_fast import backends
from evaluation import delays, pruning

needs_engine = pytest.mark.skipif(backends.why_not("cpu", None) is not None, reason="the C++ engine is not built")


@needs_engine
def test_delays(tmp_path, capsys):
    """The command in small: a row for each delay, told and recorded."""
    pytest.importorskip("mujoco")
    delays.main(["--episodes", "2", "--delays", "24", "--record", "--results", str(tmp_path)])
    assert "delays: maze2d-umaze in multi2d-umaze, 2 episodes" in capsys.readouterr().out
    [(run, sheet)] = read(tmp_path.glob("*.jsonl"))
    assert run.command.startswith("python -m evaluation.delays --episodes 2 --delays 24")
    assert [row[0] for row in sheet.rows] == [0, 24] and sheet.rows[0][-1] is None and sheet.rows[1][-1] >= 0


@needs_engine
def test_pruning(tmp_path, capsys):
    """The command in small: what is dropped later costs no less than nothing, and every row has its columns."""
    words = ["tiny/guided/b32", "--situations", "3", "--threads", "1", "--record", "--results", str(tmp_path)]
    pruning.main(words)
    assert "pruning: tiny/guided/b32, 3 situations" in capsys.readouterr().out
    [(_, sheet)] = read(tmp_path.glob("*.jsonl"))
    assert len(sheet.rows) == 4 + 2 * 2 and all(len(row) == len(sheet.columns) for row in sheet.rows)
    assert all(row[2] >= 0 and 0 < row[1] < 100 for row in sheet.rows)
    with pytest.raises(SystemExit):
        pruning.main(["tiny/plan/b1"])

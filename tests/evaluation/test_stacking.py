"""The command of stacking's scores in small, and the table of its records."""

import json

import pytest

from diffuser_fast import conformance as c
from diffuser_fast.core.spec import UNetSpec
from diffuser_fast.envs.stacking import OBSERVATION_DIM
from diffuser_fast.formats import native
from evaluation import stacking


@pytest.fixture
def planner(tmp_path):
    net = UNetSpec(16, OBSERVATION_DIM, dim=16, dim_mults=(1, 2))
    path = tmp_path / "planner.safetensors"
    native.save(c.random_checkpoint(net, action_dim=0, n_train=4), path)
    return path


def test_the_command(planner, tmp_path, capsys):
    pytest.importorskip("ogbench")
    words = ["--episodes", "1", "--task", "conditional", "--batch-size", "2", "--weight", "0.01", "--json"]
    stacking.main([str(planner), *words, "--gif", str(tmp_path / "a.gif")])
    found = json.loads(capsys.readouterr().out)
    assert (found["task"], found["acting"], found["plans"]) == ("conditional", "guided", 3)
    assert found["score"] == 100 * found["placements"][0] / 3 and (tmp_path / "a.gif").stat().st_size > 1000
    stacking.main(["--acting", "replay", "--episodes", "2"])
    assert "one placement, replay: " in capsys.readouterr().out


def test_without_a_planner(capsys):
    with pytest.raises(SystemExit):
        stacking.main(["--task", "conditional"])
    assert "planner: found none" in capsys.readouterr().err


def test_the_table_has_the_newest_of_clean_commits(tmp_path):
    def record(score, dirty=False, acting="guided", seed=0):
        result = {"task": "conditional", "acting": acting, "episodes": 2, "seed": seed,
                  "score": score, "standard_error": 1.0, "placements": [3, 1]}  # fmt: skip
        return {"planner": "stacking", "dirty": dirty, "command": "x --record", "result": result}

    rows = [
        record(10.0),
        record(20.0),
        record(30.0, dirty=True),
        record(40.0, seed=10_000),
        record(90.0, acting="oracle"),
    ]
    (tmp_path / "a.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    lines = stacking.table(tmp_path).splitlines()
    assert "| conditional | guided | 20.0 ± 1.0 | 50% | 2 | `x` |" in lines
    assert "| conditional | the paper's, its arm and its cubes | 45.6 ± 3.1 | - | - | - |" in lines
    assert sum("guided" in line for line in lines) == 1 and any("| oracle | 90.0" in line for line in lines)

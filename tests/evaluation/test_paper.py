"""docs/paper.md from records: nothing typed by hand, what was not trained says so, differences are start by start."""

import json

import pytest

from bench.records import Sheet
from diffuser_fast import Planner, load, pretrained
from evaluation import paper, pareto, scores
from tests.bench.entries import RUN

HOPPER, UMAZE = "hopper-medium", "maze2d-umaze"


def record(planner, case, returns, *, seed=0, score=50.0, words=(), **others):
    n = len(returns)
    mean = sum(returns) / n
    result = {
        "episodes": n, "seed": seed, "score": score, "standard_error": 1.5, "return": mean, "returns": list(returns),
        "return_standard_error": 20.0, "length": 400.0, "call_latency_ms": {"p50": 12.3},
    }  # fmt: skip
    command = " ".join(["diffuser-fast", "rollout", planner, *words, "--json"])
    return {
        "time": "2026-01-01T00:00:00+00:00", "planner": planner, "case": case, "sha256": scores.digest(planner),
        "command": command, "preset": None, "result": result, **others,
    }  # fmt: skip


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A folder of records instead of the checkout's: call it to put some in."""
    monkeypatch.setattr(scores.newest, "__defaults__", (tmp_path,))
    return lambda *records: [scores.append(r, tmp_path) for r in records]


def test_a_figure_of_the_paper_has_ours_or_a_reason(kept):
    kept(record(UMAZE, paper.MAZE, [1.0, 2.0], score=108.25))
    lines = paper.table(scores.newest()).splitlines()
    assert f"| Maze2D U-Maze | 113.9 ± 3.1 | 108.2 ± 1.5 | 2 | `diffuser-fast rollout {UMAZE}` |" in lines
    assert "| walker2d medium | 79.6 ± 0.55 | not trained here; data and recipe are | - | - |" in lines
    assert "| hopper medium | 74.3 ± 1.4 | not measured yet | - | - |" in lines
    assert "| block stacking, conditional | 45.6 ± 3.1 | on another arm: [stacking.md](stacking.md) | - | - |" in lines
    assert len(lines) == 2 + len(paper.ROWS) == 2 + 6 + 9 + 3
    named = {row.planner for row in paper.ROWS}
    assert set(pretrained.names()) <= named, "a bundled planner has no row"


def test_differences_are_start_by_start(kept):
    one = record(HOPPER, "guided", [10.0, 20.0, 33.0, 99.0], seed=0)
    other = record(HOPPER, "unguided, one plan", [1.0, 8.0, 20.0], seed=1)
    mean, error = pareto.paired(one, other)  # seeds 1, 2, 3: 19, 25, 79
    assert mean == pytest.approx(41) and error == pytest.approx(1092**0.5 / 3**0.5, rel=1e-6)
    assert pareto.paired(one, record(HOPPER, "x", [1.0], seed=3)) is None
    kept(one, other)
    text = paper.ways(scores.newest())
    assert "| hopper-medium | guided | 40 ± 20 | +41 ± 19 | 4 |" in text
    assert "| hopper-medium | unguided, one plan | 10 ± 20 | - | 3 |" in text and "the data's episodes | 1593" in text


def test_records_of_other_weights_or_another_preset_do_not_count(kept, monkeypatch):
    preset = {"case": "preset realtime", "words": ["--preset", "realtime"]}
    monkeypatch.setattr(scores, "_preset", lambda name, words: {"n_steps": 3} if "--preset" in words else None)
    kept(
        record(HOPPER, "guided", [1.0], sha256="of another file"),
        record(HOPPER, returns=[2.0, 3.0], preset={"n_steps": 3}, **preset),
        record(HOPPER, returns=[8.0, 9.0], preset={"n_steps": 4}, **preset),
    )
    found = scores.newest()
    assert list(found) == [(HOPPER, "preset realtime")]
    assert found[HOPPER, "preset realtime"]["result"]["return"] == 2.5
    text = paper.presets(found)
    assert (
        "| hopper-medium | realtime | 50.0 ± 1.5 | - | 12.3 | 2 | `diffuser-fast rollout hopper-medium --preset" in text
    )
    assert "| hopper-medium | paper | not measured yet |" in text


def test_what_speed_costs(kept, tmp_path):
    slow, fast = list(pareto.BODIES)[-1], next(iter(pareto.BODIES))
    kept(
        record(HOPPER, scores.TRIED + fast, [1.0, 2.0], score=30.0),
        record(HOPPER, scores.TRIED + slow, [3.0, 4.0], score=60.0),
        record(HOPPER, "guided", [3.0, 4.0]),
    )
    text = pareto.table(HOPPER, [])
    assert text.index(slow) < text.index(fast) and "| 12.3~ |" in text and "| guided |" not in text
    apart = pareto.table(HOPPER, [(RUN, Sheet("pareto", HOPPER, pareto.COLUMNS, [[slow, 7.5, 8.0, 9.0]]))])
    assert "| 7.50 |" in apart and "| 12.3~ |" in apart
    assert "Nothing tried yet" in pareto.table(UMAZE, [])
    assert scores.TRIED not in scores.table(HOPPER) and "guided" in scores.table(HOPPER)
    pytest.importorskip("matplotlib")
    assert pareto.draw(HOPPER, tmp_path / "a.png").stat().st_size > 5000
    assert pareto.draw(UMAZE, tmp_path / "b.png") is None
    assert paper.draw(scores.newest(), tmp_path / "c.png").stat().st_size > 5000


@pytest.mark.parametrize("name", [HOPPER, UMAZE])
def test_every_setting_is_a_planner(name):
    """What is timed is what the command makes."""
    for setting, options in pareto.settings(name).items():
        planner = pareto.planner_of(name, options, 1)
        assert planner.threads == 1, setting
        words = dict(zip(options[::2], options[1::2], strict=True))
        assert planner.batch_size == int(words.get("--batch-size", 1))
        assert planner.loop.rows == int(words.get("--n-steps", planner.checkpoint.schedule.n_steps))
        assert planner.warm_start == (int(words["--warm-start"]) if "--warm-start" in words else None)
        assert planner.precision == words.get("--precision", "float32")
    assert "10000" in pareto.options_of(name, setting) and json.dumps(pareto.options_of(name, setting, 3)).count('"3"')


def test_the_page_has_every_section_and_nothing_else_changes(kept):
    text = paper.PAGE.read_text(encoding="utf-8")
    once = paper.written(text, scores.newest())
    assert paper.written(once, scores.newest()) == once
    assert [m["name"] for m in paper.MARKER.finditer(text)] == list(paper.SECTIONS)
    assert [m["name"] for m in pareto.MARKER.finditer(text)] == pretrained.names()
    assert once.split("<!--")[0] == text.split("<!--")[0]


def test_a_preset_that_another_case_writes_out_is_that_case():
    assert scores.case_of(HOPPER, "balanced") == "guided" and "preset balanced" not in scores.cases(HOPPER)
    assert scores.case_of(UMAZE, "paper") == paper.MAZE
    assert scores.case_of(UMAZE, "balanced") == "plan once, float32-close"
    for name in (HOPPER, UMAZE):
        assert scores.case_of(name, "realtime") == "preset realtime" in scores.cases(name)
        for preset in scores.presets(name):  # the planner is the same, whichever way it is written
            words = scores.cases(name)[scores.case_of(name, preset)]
            options = [w for pair in zip(words[::2], words[1::2]) if pair[0] != "--episodes" for w in pair]
            one, other = pareto.planner_of(name, options, 1), Planner(load(name), "cpu", preset=preset, threads=1)
            for planner in (one, other):
                planner.told = (planner.batch_size, planner.warm_start, planner.precision, planner.loop.rows)
            assert one.told == other.told
            assert (one.loop.steps.guide_steps == other.loop.steps.guide_steps).all()

"""The registry of backends: what each says of itself, and what "auto" stands for."""

from dataclasses import replace

import pytest

import diffuser_fast as dfx
from bench.records import Case, Result, read
from diffuser_fast import backends
from diffuser_fast import conformance as c
from diffuser_fast.core.loop import sampling_loop
from diffuser_fast.core.samplers import ddpm
from diffuser_fast.core.spec import UNetSpec

CHECKPOINT = c.random_checkpoint(UNetSpec(8, 6, dim=16, dim_mults=(1, 2)), n_train=2)
LOOP = sampling_loop(CHECKPOINT, ddpm(CHECKPOINT.schedule))


def there():
    """The backends that can be loaded here."""
    found = []
    for name in backends.NAMES:
        try:
            found.append(backends.get(name))
        except ImportError:
            continue
    return found


def test_a_backend_says_what_it_is():
    assert {"cpu", "reference"} <= {backend.NAME for backend in there()}
    for backend in there():
        assert backends.get(backend.NAME) is backend
        assert "float32" in backend.PRECISIONS
        assert isinstance(backend.OPTIONS, frozenset)


def test_options_are_refused_where_there_are_none():
    with pytest.raises(ValueError, match="cores: the reference backend has no threads to pin"):
        dfx.Planner(CHECKPOINT, "reference", cores=[0])
    with pytest.raises(ValueError, match="launches: the reference backend has one way of its own"):
        dfx.Planner(CHECKPOINT, "reference", launches="loop")


def test_auto_is_the_cpu_engine_even_where_a_gpu_backend_runs(monkeypatch):
    asked = []
    monkeypatch.setattr(backends, "why_not", lambda name, *_: asked.append(name))
    assert backends.choose("auto", LOOP) == "cpu" and asked == ["cpu"]


def test_auto_says_why_nothing_runs(monkeypatch):
    monkeypatch.setattr(backends, "why_not", lambda name, *_: f"no {name}")
    with pytest.raises(RuntimeError, match="no backend can run here: cpu: no cpu; reference: no reference"):
        backends.choose("auto", LOOP)


def is_earned(entries, name):
    """Whether a GPU backend may be chosen by itself: what it claims to be exact was measured on a GPU, right, and
    faster than the best of its peers, for certain."""
    return any(
        run.clock == "cuda" and result.ours and result.candidate == name and result.exactness == "exact"
        and (result.speedup_low or 0) > 1
        for run, record in entries if isinstance(record, Case) for result in record.results
    )  # fmt: skip


def test_auto_has_a_gpu_backend_when_results_show_it_right_and_faster():
    entries = read()
    assert entries
    for name in backends.NOT_AUTO:
        assert name not in backends.AUTO and not is_earned(entries, name)
    assert set(backends.NAMES) == set(backends.AUTO) | set(backends.NOT_AUTO)
    assert all(name in ("cpu", "reference") or is_earned(entries, name) for name in backends.AUTO)


def test_what_earns_it():
    run = replace(read()[0][0], clock="cuda")
    result = Result("triton", True, exactness="exact", speedup_low=1.2)

    def earned(run, result, name="triton"):
        return is_earned([(run, Case("hopper/guided/b1", 1, 1, None, None, None, [result]))], name)

    assert earned(run, result) and not earned(run, result, "cuda")
    for wrong in (
        {"candidate": "torch eager", "ours": False}, {"exactness": "fast"}, {"speedup_low": 0.9}, {"speedup_low": None},
    ):  # fmt: skip
        assert not earned(run, replace(result, **wrong)), wrong
    assert not earned(replace(run, clock="rehearsal"), result)

"""What ``doctor`` says of the backend that "auto" stands for."""

from diffuser_fast.cli import doctor
from diffuser_fast.settings import Settings


def test_it_says_in_words_what_auto_is(run, record):
    code, out, _ = run("doctor")
    assert code == 0
    said = (
        "auto is cpu. triton is never chosen by itself: no benchmark has shown it right and faster on a GPU yet; "
        "--backend triton (backend='triton') asks for it."
    )
    assert said in out.replace("\n", " ")
    found = record("doctor")
    assert found["auto"] == "cpu" and not found["auto_is_set"] and list(found["not_auto"]) == ["triton", "cuda"]


def test_a_gpu_that_could_be_used_changes_nothing(run, monkeypatch):
    from diffuser_fast import backends

    asked = backends.why_not
    monkeypatch.setattr(backends, "why_not", lambda name, *rest: None if name == "triton" else asked(name, *rest))
    code, out, _ = run("doctor")
    assert code == 0 and "auto is cpu. triton is never chosen by itself" in out


def test_a_setting_is_named(monkeypatch):
    monkeypatch.setattr("diffuser_fast.settings.SETTINGS", Settings(backend="reference"))
    found = doctor.examine()
    assert doctor._auto(found) == "auto is reference: DIFFUSER_FAST_BACKEND says so."

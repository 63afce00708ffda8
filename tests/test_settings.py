"""The environment variables the package reads."""

import subprocess
import sys

import pytest

from diffuser_fast.settings import BACKENDS, ISAS, Settings, read


def test_nothing_is_set_by_default():
    assert read({}) == Settings(backend=None, threads=None, isa=None)
    names = ("DIFFUSER_FAST_BACKEND", "DIFFUSER_FAST_THREADS", "DIFFUSER_FAST_ISA")
    assert read(dict.fromkeys(names, "")) == Settings()


def test_what_is_read():
    found = read(
        {"DIFFUSER_FAST_BACKEND": "cpu", "DIFFUSER_FAST_THREADS": "3", "DIFFUSER_FAST_ISA": "avx2", "OTHER": "1"}
    )
    assert found == Settings(backend="cpu", threads=3, isa="avx2")


@pytest.mark.parametrize("threads", ["0", "-1", "two", "1.5", " "])
def test_threads_that_make_no_sense(threads):
    with pytest.raises(
        ValueError, match=f"DIFFUSER_FAST_THREADS: found '{threads}', expected a whole number from 1 to 4096"
    ):
        read({"DIFFUSER_FAST_THREADS": threads})


@pytest.mark.parametrize("isa", ["sse", "AVX2", "avx-512"])
def test_instruction_sets_that_make_no_sense(isa):
    expected = "scalar, avx2, avx2_vnni, avx512, "
    with pytest.raises(ValueError, match=f"DIFFUSER_FAST_ISA: found '{isa}', expected one of {expected}"):
        read({"DIFFUSER_FAST_ISA": isa})


def test_planners_are_in_a_folder(tmp_path):
    assert read({"DIFFUSER_FAST_PLANNERS": str(tmp_path)}).planners == tmp_path
    with pytest.raises(ValueError, match=r"DIFFUSER_FAST_PLANNERS: found '.*none', expected a folder"):
        read({"DIFFUSER_FAST_PLANNERS": str(tmp_path / "none")})


def test_settings_are_a_record():
    with pytest.raises(AttributeError):
        Settings().threads = 4


def test_they_are_read_once_at_import():
    read_settings = "from diffuser_fast.settings import SETTINGS"
    set_threads = "import os; os.environ['DIFFUSER_FAST_THREADS'] = '9'"
    for script, threads in (((set_threads, read_settings), "9"), ((read_settings, set_threads), "None")):
        command = [sys.executable, "-c", "; ".join((*script, "print(SETTINGS.threads)"))]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.stdout.strip() == threads, done.stderr


def test_backends_are_those_that_are_registered():
    from diffuser_fast.backends import REGISTRY

    assert tuple(REGISTRY) == BACKENDS


def test_a_backend_that_is_none():
    with pytest.raises(ValueError, match="DIFFUSER_FAST_BACKEND: found 'gpu', expected one of cpu, triton, cuda"):
        read({"DIFFUSER_FAST_BACKEND": "gpu"})


@pytest.mark.parametrize("cores", ["²", "1,1", "a", "-1"])
def test_cores_that_are_none(cores):
    with pytest.raises(ValueError, match="DIFFUSER_FAST_CORES: found"):
        read({"DIFFUSER_FAST_CORES": cores})


def test_what_this_machine_does_not_have(monkeypatch):
    """Of variables that another machine may have set: the engine says so, and by their name."""
    from dataclasses import replace

    from diffuser_fast import backends
    from diffuser_fast.backends import cpu

    foreign = next(isa for isa in ISAS if isa not in cpu.isas())
    monkeypatch.setattr(cpu, "SETTINGS", replace(cpu.SETTINGS, isa=foreign))
    assert f"DIFFUSER_FAST_ISA: found {foreign}, expected one that this CPU has: scalar" in cpu.why_not()
    assert foreign in backends.why_not("cpu", None)
    monkeypatch.setattr(cpu, "SETTINGS", replace(cpu.SETTINGS, isa=None, cores=(999,)))
    with pytest.raises(ValueError, match="DIFFUSER_FAST_CORES: this process may not use core 999"):
        cpu._placed(None, None)

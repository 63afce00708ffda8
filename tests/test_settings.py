"""The environment variables the package reads."""

import subprocess
import sys

import pytest

from diffuser_fast.settings import Settings, read


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
        ValueError, match=f"DIFFUSER_FAST_THREADS: found '{threads}', expected a whole number, at least 1"
    ):
        read({"DIFFUSER_FAST_THREADS": threads})


@pytest.mark.parametrize("isa", ["sse", "AVX2", "avx-512"])
def test_instruction_sets_that_make_no_sense(isa):
    expected = "scalar, avx2, avx2_vnni, avx512, "
    with pytest.raises(ValueError, match=f"DIFFUSER_FAST_ISA: found '{isa}', expected one of {expected}"):
        read({"DIFFUSER_FAST_ISA": isa})


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

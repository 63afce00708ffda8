"""Saving over a file: old or new, never a part, whatever happens on the way."""

import errno
import os
import signal
import subprocess
import sys
import time

import pytest
from formats.made import checkpoint, same

from diffuser_fast.formats import native

OLD = {"metadata": {"which": "old"}}


@pytest.fixture
def file(tmp_path):
    return native.save(checkpoint(**OLD), tmp_path / "a.safetensors")


def unharmed(file):
    same(native.load(file), checkpoint(**OLD))
    return [path.name for path in file.parent.iterdir() if path != file]


@pytest.mark.parametrize("function", ["replace", "fsync"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "no space left"), KeyboardInterrupt()])
def test_the_system_says_no(file, monkeypatch, function, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(os, function, fail)
    with pytest.raises(type(error)):
        native.save(checkpoint(), file)
    monkeypatch.undo()
    assert unharmed(file) == [], "the temporary file must be gone"


def test_a_new_file_replaces_the_old_one_and_nothing_remains(file):
    native.save(checkpoint(), file)
    assert native.load(file).metadata == checkpoint().metadata
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_readers_hold_the_old_file(file):
    with open(file, "rb") as reader:
        start = reader.read(100)
        before = file.read_bytes()
        native.save(checkpoint(), file)
        assert start + reader.read() == before


def test_a_folder_that_does_not_exist(tmp_path):
    path = tmp_path / "none" / "a.safetensors"
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*none to write to"):
        native.save(checkpoint(), path)
    with pytest.raises(IsADirectoryError, match="a folder, expected the name of a file"):
        native.save(checkpoint(), tmp_path)


def run(code, *arguments, **options):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    code = (
        "import os, sys, time; from formats.made import checkpoint; from diffuser_fast.formats import native\n" + code
    )
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], env=env, **options)


@pytest.mark.skipif(os.name != "posix", reason="limits are POSIX's")
def test_the_disk_is_full(file):
    code = (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"  # every write beyond this fails
        "try: native.save(checkpoint(), sys.argv[1])\n"
        "except OSError: sys.exit(7)"
    )
    assert run(code, file).wait(60) == 7
    assert unharmed(file) == []


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_the_process_is_killed_on_the_way(file, tmp_path, function):
    code = (
        "def stop(*_):\n"
        "    print('here', flush=True)\n"
        "    time.sleep(60)\n"
        f"os.{function} = stop\n"
        "native.save(checkpoint(), sys.argv[1])"
    )
    child = run(code, file, stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"here\n"
    child.send_signal(signal.SIGKILL)
    child.wait(60)
    child.stdout.close()
    left = unharmed(file)
    assert len(left) == 1 and left[0].endswith(".tmp"), "nobody is left to remove it"
    native.save(checkpoint(), file)
    assert native.load(file).metadata == checkpoint().metadata


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_the_process_is_killed_at_any_time(file):
    """Many saves, cut off wherever they are: the file always loads."""
    code = "print('here', flush=True)\nwhile True: native.save(checkpoint(), sys.argv[1])"
    for wait in (0.0, 0.003, 0.01, 0.02):
        child = run(code, file, stdout=subprocess.PIPE)
        assert child.stdout.readline() == b"here\n"
        time.sleep(wait)
        child.send_signal(signal.SIGKILL)
        child.wait(60)
        child.stdout.close()
        assert native.load(file).metadata in (checkpoint().metadata, OLD["metadata"])

"""No file names a machine: neither an absolute path of somebody's disk nor the host of a package registry."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Spelled in pieces, so that this file passes its own test.
PATHS = re.compile(rf"(?<![\w.~$}}>-])/(?:{'|'.join(['work', 'farm', 'tmp', 'root', 'home', 'Users', 'mnt'])})/\w")
HOSTS = re.compile("|".join(re.escape(".".join(parts)) for parts in [
    ("pypi", "org"), ("pythonhosted", "org"), ("download", "pytorch", "org"), ("npmjs", "org"), ("anaconda", "org"),
    ("deb", "debian", "org"), ("proxy", "golang", "org"), ("crates", "io"),
]))  # fmt: skip


def offences(name, text):
    for number, line in enumerate(text.splitlines(), 1):
        for pattern, what in ((PATHS, "an absolute path"), (HOSTS, "a registry host")):
            if found := pattern.search(line):
                yield f"{name}:{number}: {what}: {found.group()}"


def text_files():
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in sorted(filter(None, listing.stdout.split("\0"))):
        if (ROOT / name).is_file():
            content = (ROOT / name).read_bytes()
            if b"\0" not in content[:8192]:
                yield name, content.decode("utf-8", "replace")


def test_files_name_no_machine():
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    found = [line for name, text in text_files() for line in offences(name, text)]
    assert not found, "\n".join(found)


def test_the_search_finds_something():
    sample = "cd /" + "home/someone/x\nsee https://" + "pypi" + ".org/simple\n#!/usr/bin/env bash\na/" + "home/b\n"
    assert [line.split(": ")[1] for line in offences("sample", sample)] == [
        "an absolute path",
        "a registry host",
    ]

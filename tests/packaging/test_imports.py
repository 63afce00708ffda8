"""What an import loads, and what the installed package offers, each in a fresh process outside the checkout."""

import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "triton", "mujoco", "gymnasium", "h5py", "matplotlib", "PIL")
PUBLIC = ["load", "Planner", "Plans", "Guide", "accelerate"]


def run(code, cwd):
    """Python source -> what it printed, as JSON."""
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "modules",
    [
        "diffuser_fast",
        "diffuser_fast.core, diffuser_fast.settings",
        "diffuser_fast.planner, diffuser_fast.formats.native, diffuser_fast.backends.cpu",
        "diffuser_fast.cli",
    ],
)
def test_imports_stay_light(modules, tmp_path):
    code = f"import json, sys, {modules}; print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    assert run(code, tmp_path) == []


def test_public_names(tmp_path):
    """The names of the public API exist without being loaded first, and dir() shows them."""
    code = f"""
import json, diffuser_fast as dfx
shown = [name for name in {PUBLIC!r} if name in dir(dfx)]
for name in shown:
    getattr(dfx, name)
print(json.dumps([shown, dfx.__version__]))
"""
    assert run(code, tmp_path) == [PUBLIC, importlib.metadata.version("diffuser-fast")]


def test_installed_version_is_this_version():
    """A stale installation would run another version's entry points."""
    written = re.search(r'^version = "(.+?)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert importlib.metadata.version("diffuser-fast") == written.group(1)


def test_kernels_refuse_the_wrong_name():
    """In a checkout the folder is in reach as `kernels`; importing it must say what to import instead."""
    done = subprocess.run([sys.executable, "-c", "import kernels"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "import diffuser_fast.kernels" in done.stderr


def test_kernels_are_installed(tmp_path):
    assert (
        run("import json, diffuser_fast.kernels as k; print(json.dumps(k.__name__))", tmp_path)
        == "diffuser_fast.kernels"
    )

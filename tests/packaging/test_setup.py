"""setup.py in a small tree of its own: what it builds, skips and refuses. Nothing here touches the checkout."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULE = r"""
#include <Python.h>
int lanes();
static PyModuleDef def = {PyModuleDef_HEAD_INIT, "_cpu", nullptr, -1, nullptr, nullptr, nullptr, nullptr, nullptr};
PyMODINIT_FUNC PyInit__cpu() {
  PyObject* m = PyModule_Create(&def);
  PyModule_AddIntConstant(m, "lanes", lanes());
  return m;
}
"""


@pytest.fixture
def tree(tmp_path):
    """A checkout in small: the real setup.py and pyproject.toml, empty packages, an extension of three lines."""
    for name in ("setup.py", "pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "README.md").write_text("small\n")
    packages = re.findall(r'^    "(diffuser_fast[.\w]*)",$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    for folder in [
        "kernels",
        *(name.replace(".", "/") for name in packages if name != "diffuser_fast.kernels"),
    ]:
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "__init__.py").write_text("")
    (tmp_path / "csrc" / "cpu").mkdir(parents=True)
    (tmp_path / "csrc" / "bind_cpu.cc").write_text(MODULE)
    (tmp_path / "csrc" / "cpu" / "run.cc").write_text('#include "program.h"\nint lanes() { return kLanes; }\n')
    (tmp_path / "csrc" / "program.h").write_text("constexpr int kLanes = 4;\n")
    return tmp_path


def setup(tree, *command, **variables):
    env = {k: v for k, v in os.environ.items() if not k.startswith("DIFFUSER_FAST_") and k not in ("CXX", "CC")}
    return subprocess.run(
        [sys.executable, "setup.py", *command], cwd=tree, env=env | variables, capture_output=True, text=True
    )


def built(tree):
    return sorted(path.name.split(".")[0] for path in (tree / "out").rglob("_cpu*.so"))


BUILD = ("build_ext", "--build-lib", "out", "--build-temp", "temp")


def test_unset_builds_the_engine(tree):
    done = setup(tree, *BUILD)
    assert done.returncode == 0, done.stderr
    assert "the cpu engine was skipped" not in done.stderr
    assert "the cuda engine was skipped: its sources are missing (csrc/bind_cuda.cc)" in done.stderr
    assert built(tree) == ["_cpu"]
    lanes = subprocess.run(
        [sys.executable, "-c", "from diffuser_fast import _cpu; print(_cpu.lanes)"],
        env=os.environ | {"PYTHONPATH": str(tree / "out")}, cwd=tree / "out", capture_output=True, text=True,
    )  # fmt: skip
    assert lanes.stdout.strip() == "4", lanes.stderr
    assert "pthread" in done.stdout and "-ffast-math" not in done.stdout and "-march=native" not in done.stdout


def test_flags_and_sanitizers_reach_the_compiler(tree):
    done = setup(tree, *BUILD, DIFFUSER_FAST_CXXFLAGS="-DDF_A='1 2' -Wshadow", DIFFUSER_FAST_SANITIZE="undefined")
    assert done.returncode == 0, done.stderr
    compile_line = next(line for line in done.stdout.splitlines() if "run.cc" in line)
    assert compile_line.index("-O1") > compile_line.index("-O3")
    assert all(flag in compile_line for flag in ("-Wshadow", "-fsanitize=undefined", "-fno-sanitize-recover=all"))


@pytest.mark.parametrize(("command", "folder"), [(BUILD, "out"), (("build_ext", "--inplace"), ".")])
def test_unset_skips_without_a_compiler(tree, command, folder):
    """A user without a compiler gets the package, one sentence, and no library of an earlier build."""
    stale = tree / folder / "diffuser_fast" / f"_cpu{sysconfig.get_config_var('EXT_SUFFIX')}"
    stale.parent.mkdir(parents=True, exist_ok=True)
    stale.write_text("an earlier build")
    os.utime(stale, (0, 0))
    done = setup(tree, *command, CXX="/nonexistent/c++", CC="/nonexistent/cc")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("diffuser-fast: the cpu engine was skipped: ") == 1, done.stderr
    assert not stale.exists()


def test_strict_fails_without_a_compiler(tree):
    done = setup(tree, *BUILD, DIFFUSER_FAST_BUILD="cpu", CXX="/nonexistent/c++", CC="/nonexistent/cc")
    assert done.returncode != 0
    assert "DIFFUSER_FAST_BUILD asks for the cpu engine, which cannot be built here: " in done.stderr


def test_strict_fails_without_sources(tree):
    (tree / "csrc" / "cpu" / "run.cc").unlink()
    done = setup(tree, *BUILD, DIFFUSER_FAST_BUILD="cpu")
    assert done.returncode != 0 and "its sources are missing (csrc/cpu/*.cc)" in done.stderr
    done = setup(tree, *BUILD)
    assert done.returncode == 0 and "was skipped: its sources are missing (csrc/cpu/*.cc)" in done.stderr


@pytest.fixture
def cuda(tree):
    """The tree with sources for CUDA, and a compiler of it that says where it is and fails."""
    (tree / "csrc" / "cuda").mkdir()
    for name in ("bind_cuda.cc", "cuda/kernels.cu"):
        (tree / "csrc" / name).write_text("int nothing;\n")
    (compiler := tree / "toolkit" / "bin" / "nvcc").parent.mkdir(parents=True)
    compiler.write_text(
        '#!/bin/sh\ntest "$1" = --dryrun && { echo "#\\$ _HERE_=$(dirname "$0")" >&2; exit; }\n'
        'echo "$@" > nvcc.log\necho "no such GPU" >&2\nexit 3\n'
    )
    compiler.chmod(0o755)
    return tree


@pytest.mark.parametrize("wish", ["cuda", "cpu,cuda"])
def test_cuda_says_what_it_lacks(tree, wish):
    done = setup(tree, "--version", DIFFUSER_FAST_BUILD=wish)
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert "which cannot be built here: its sources are missing (csrc/bind_cuda.cc)" in done.stderr


def test_cuda_without_a_compiler(cuda):
    nowhere = {"PATH": str(cuda), "CUDACXX": "", "CUDA_HOME": "", "CUDA_PATH": ""}
    done = setup(cuda, "--version", DIFFUSER_FAST_BUILD="cuda", **nowhere)
    assert done.returncode != 0 and "which cannot be built here: no nvcc was found" in done.stderr
    done = setup(cuda, "--version", **nowhere)
    assert done.returncode == 0 and "the cuda engine was skipped: no nvcc was found" in done.stderr


def test_cuda_whose_compiler_fails(cuda):
    compiler = {"CUDACXX": str(cuda / "toolkit" / "bin" / "nvcc")}
    done = setup(cuda, *BUILD, DIFFUSER_FAST_BUILD="cuda", DIFFUSER_FAST_CUDA_ARCHS="80, 90a", **compiler)
    assert done.returncode != 0
    assert "asks for the cuda engine, which cannot be built here: nvcc failed: no such GPU" in done.stderr
    said = (cuda / "nvcc.log").read_text()
    assert "arch=compute_80,code=sm_80" in said and "code=sm_90a" in said and "-fmad=false" in said
    assert "use_fast_math" not in said
    done = setup(cuda, *BUILD, **compiler)
    assert done.returncode == 0 and "the cuda engine was skipped: nvcc failed: no such GPU" in done.stderr
    assert built(cuda) == ["_cpu"] and not list((cuda / "out").rglob("_cuda*"))


def test_unknown_wish(tree):
    done = setup(tree, "--version", DIFFUSER_FAST_BUILD="cpu,metal")
    assert done.returncode != 0
    assert "DIFFUSER_FAST_BUILD names 'metal'" in done.stderr and "Traceback" not in done.stderr


def test_none_is_a_pure_wheel(tree):
    done = setup(tree, "-q", "bdist_wheel", DIFFUSER_FAST_BUILD="none", CXX="/nonexistent/c++")
    assert done.returncode == 0, done.stderr
    wheels = [path.name for path in (tree / "dist").iterdir()]
    assert len(wheels) == 1 and wheels[0].endswith("-py3-none-any.whl"), wheels


def test_setup_imports_no_framework(tree):
    """torch and numpy are not there when pip builds in isolation."""
    blocker = "raise ImportError('not at build time')"
    for name in ("torch", "numpy"):
        (tree / f"{name}.py").write_text(blocker)
    done = setup(tree, "--version", PYTHONPATH=str(tree))
    assert done.returncode == 0, done.stderr

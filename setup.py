"""Decides one thing: which compiled extensions can be built here. Everything else is in pyproject.toml.

Environment variables, read at build time only:

DIFFUSER_FAST_BUILD     unset: build what can be built, say what was skipped. "cpu", "cuda" or "cpu,cuda": fail if
                        one of them cannot be built. "none": pure Python.
DIFFUSER_FAST_CXXFLAGS  compiler flags, appended to ours.
DIFFUSER_FAST_SANITIZE  e.g. "address,undefined": a slow build with these sanitizers, for `make sanitize`.
DIFFUSER_FAST_JOBS      files compiled at the same time; default: one per core.

Neither torch nor numpy is imported, and the extensions link to neither, so one build serves every version of both.
"""

import os
import shlex
import sys
from glob import glob
from pathlib import Path

from setuptools import setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CCompilerError

# No -ffast-math: exactness classes need IEEE arithmetic. No -march: the instruction set is chosen at run time, by code
# compiled under a target pragma. Contraction is off, so a multiply and an add become one rounding only where the source
# says fma, and every compiler and instruction set is given the same formula.
FLAGS = ["-O3", "-fno-math-errno", "-ffp-contract=off", "-pthread", "-Wall", "-Wextra"]
CPU_SOURCES = ["csrc/bind_cpu.cc", *sorted(glob("csrc/cpu/*.cc"))]
ENGINES = ("cpu", "cuda")


def wishes(value):
    """DIFFUSER_FAST_BUILD -> (engines to build, whether failing to is an error)."""
    names = [name.strip() for name in (value or "").split(",") if name.strip()]
    if not names:
        return ENGINES[:1], False
    if names == ["none"]:
        return (), True
    unknown = [name for name in names if name not in ENGINES]
    if unknown:
        raise SystemExit(
            f"DIFFUSER_FAST_BUILD names {unknown[0]!r}: expected 'none', or engines out of {', '.join(ENGINES)}"
        )
    return tuple(names), True


def cpu_extension():
    """The engine behind backends/cpu; raises ImportError or OSError with the reason it cannot be built."""
    if sys.platform == "win32":
        raise OSError("it needs GCC or Clang, and is untried on Windows")
    missing = [source for source in CPU_SOURCES if not Path(source).is_file()]
    if missing or len(CPU_SOURCES) < 2:
        raise OSError(f"its sources are missing ({missing[0] if missing else 'csrc/cpu/*.cc'})")
    from pybind11.setup_helpers import ParallelCompile, Pybind11Extension

    ParallelCompile("DIFFUSER_FAST_JOBS").install()
    flags, link = list(FLAGS), ["-pthread"]
    if sanitizers := os.environ.get("DIFFUSER_FAST_SANITIZE"):
        link.append(f"-fsanitize={sanitizers}")
        flags += [link[-1], "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-O1", "-g", "-UNDEBUG"]
        flags += ["-Wno-uninitialized", "-Wno-maybe-uninitialized"]  # GCC's own intrinsics, when instrumented
    flags += shlex.split(os.environ.get("DIFFUSER_FAST_CXXFLAGS", ""))
    return Pybind11Extension(  # adds the pybind11 headers and -fvisibility=hidden
        "diffuser_fast._cpu",
        CPU_SOURCES,
        cxx_std=17,
        include_dirs=["csrc"],
        extra_compile_args=flags,
        extra_link_args=link,
        depends=glob("csrc/*.h") + glob("csrc/cpu/*.h"),
    )


def skip(engine, why, strict):
    """Say in one sentence that an engine is left out, or stop if it was asked for."""
    if strict:
        raise SystemExit(f"DIFFUSER_FAST_BUILD asks for the {engine} engine, which cannot be built here: {why}")
    print(
        f"diffuser-fast: the {engine} engine was skipped: {why} (DIFFUSER_FAST_BUILD={engine} makes this an error)",
        file=sys.stderr,
    )


class BuildOrSkip(build_ext):
    """build_ext that leaves an extension out when its compiler fails, unless the extension was asked for.

    A library left by an earlier build goes as well: it would be loaded, and it would not be this source.
    """

    def build_extension(self, ext):
        try:
            super().build_extension(ext)
        except (BaseError, CCompilerError, OSError) as error:
            skip(ext.name.rpartition("._")[2], error, STRICT)
            Path(self.get_ext_fullpath(ext.name)).unlink(missing_ok=True)

    def copy_extensions_to_source(self):  # editable and in-place builds
        super().copy_extensions_to_source()
        for ext in self.extensions:
            if not Path(self.build_lib, self.get_ext_filename(ext.name)).exists():
                Path(self.get_ext_fullpath(ext.name)).unlink(missing_ok=True)


WANTED, STRICT = wishes(os.environ.get("DIFFUSER_FAST_BUILD"))
extensions = []
for engine in WANTED:
    if engine == "cuda":
        skip("cuda", "no CUDA sources exist yet", STRICT)
        continue
    try:
        extensions.append(cpu_extension())
        extensions[-1].optional = not STRICT
    except (ImportError, OSError) as error:
        skip(engine, error, STRICT)

setup(ext_modules=extensions, cmdclass={"build_ext": BuildOrSkip})

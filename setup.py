"""Decides one thing: which compiled extensions can be built here. Everything else is in pyproject.toml.

Environment variables, read at build time only:

DIFFUSER_FAST_BUILD       unset: build what can be built, say what was skipped. "cpu", "cuda" or "cpu,cuda": fail if
                          one of them cannot be built. "none": pure Python.
DIFFUSER_FAST_CXXFLAGS    compiler flags, appended to ours.
DIFFUSER_FAST_SANITIZE    e.g. "address,undefined": a slow build with these sanitizers, for `make sanitize`.
DIFFUSER_FAST_JOBS        files compiled at the same time; default: one per core.
DIFFUSER_FAST_CUDA_ARCHS  GPUs that the CUDA engine is compiled for, e.g. "90a"; default: all it is checked for.
CUDACXX, CUDA_HOME        where nvcc is, if not on the path and not in NVIDIA's packages beside this Python.

Neither torch nor numpy is imported, and the extensions link to neither, so one build serves every version of both. Nor
does the CUDA engine link to a driver: its runtime is static, and looks for one when it is asked to.
"""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
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
CUDA_SOURCES = ["csrc/bind_cuda.cc", "csrc/cuda/kernels.cu"]
CUDA_ARCHS = ("80", "86", "89", "90a", "100a", "120")  # as in tests/offline/check_cuda.py
ENGINES = ("cpu", "cuda")


def wishes(value):
    """DIFFUSER_FAST_BUILD -> (engines to build, whether failing to is an error)."""
    names = [name.strip() for name in (value or "").split(",") if name.strip()]
    if not names:
        return ENGINES, False
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


def nvcc():
    """The compiler of CUDA; OSError where there is none."""
    homes = [os.environ[name] for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    packages = glob(f"{sysconfig.get_path('purelib')}/nvidia/cu*/bin/nvcc")
    for found in (os.environ.get("CUDACXX"), *(f"{home}/bin/nvcc" for home in homes), "nvcc", *sorted(packages)):
        if found and (path := shutil.which(found)):
            return path
    raise OSError("no nvcc was found (CUDACXX or CUDA_HOME says where it is)")


def toolkit(compiler):
    """The folder of this nvcc's headers and libraries, as it says itself: it may be a link, or a script."""
    said = subprocess.run([compiler, "--dryrun", "-c", "x.cu"], capture_output=True, text=True).stderr
    here = next((line.partition("=")[2] for line in said.splitlines() if "_HERE_=" in line), None)
    if here is None:
        raise OSError(f"{compiler} does not say where it is")
    return Path(here.strip()).parent


def cuda_extension():
    """The engine behind backends/cuda; raises ImportError or OSError with the reason it cannot be built."""
    if missing := [source for source in CUDA_SOURCES if not Path(source).is_file()]:
        raise OSError(f"its sources are missing ({missing[0]})")
    from pybind11.setup_helpers import Pybind11Extension

    root = toolkit(nvcc())
    folders = [str(at) for at in (root / "lib64", root / "lib", root / "targets/x86_64-linux/lib") if at.is_dir()]
    return Pybind11Extension(
        "diffuser_fast._cuda",
        CUDA_SOURCES[:1],
        cxx_std=17,
        include_dirs=["csrc", str(root / "include")],
        library_dirs=folders,
        libraries=["cudart_static", "rt", "dl"],
        extra_compile_args=["-O2", "-pthread", "-Wall", "-Wextra"],
        extra_link_args=["-pthread", "-Wl,--exclude-libs,ALL"],
        depends=glob("csrc/*.h") + glob("csrc/cuda/*"),
    )


def compiled_kernels(folder):
    """The object file of all CUDA kernels; OSError with the compiler's last words."""
    wanted = os.environ.get("DIFFUSER_FAST_CUDA_ARCHS", "").replace(",", " ").split() or CUDA_ARCHS
    targets = [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in wanted]
    made = Path(folder) / "cuda_kernels.o"
    made.parent.mkdir(parents=True, exist_ok=True)
    # No contraction and no fast mathematics: the kernels say where a product and a sum are rounded once.
    flags = [
        "-std=c++17",
        "-O3",
        "-fmad=false",
        "-Xcompiler=-fPIC,-fvisibility=hidden",
        f"--threads={os.cpu_count() or 1}",
    ]
    command = [nvcc(), *flags, *targets, "-Icsrc", "-c", CUDA_SOURCES[1], "-o", str(made)]
    print(" ".join(command))
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.stderr.write(done.stdout)
        raise OSError(f"nvcc failed: {(done.stdout.strip().splitlines() or ['no word'])[-1]}")
    return str(made)


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
            if ext.name.endswith("._cuda"):
                ext.extra_objects = [compiled_kernels(self.build_temp)]
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
    try:
        extensions.append(cpu_extension() if engine == "cpu" else cuda_extension())
        extensions[-1].optional = not STRICT
    except (ImportError, OSError) as error:
        skip(engine, error, STRICT)

setup(ext_modules=extensions, cmdclass={"build_ext": BuildOrSkip})

"""What the library is, as a linker sees it: headers in two languages, exported names, flags; the examples run."""

import re
import resource
import shutil
import subprocess
from pathlib import Path

import pytest
from csrc.engines import needs_engine

import diffuser_fast as dfx
from capi.checkpoints import planner
from capi.library import FUNCTIONS, ROOT, built, library, needs_library
from diffuser_fast.bundle.header import header

pytestmark = needs_library
HERE = Path(__file__).parent
HEADER = ROOT / "include" / "diffuser_fast.h"
STRUCTS = (
    "dfx_bundle_info",
    "dfx_options",
    "dfx_condition",
    "dfx_request",
    "dfx_plan",
    "dfx_planner_info",
    "dfx_thread",
    "dfx_executor_options",
    "dfx_step",
    "dfx_executor_info",
)


def run(*command, **others):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **others)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_written_header():
    text = (ROOT / "csrc" / "capi" / "bundle.gen.h").read_text()
    assert text == header(), "run: python -m diffuser_fast.bundle.header > csrc/capi/bundle.gen.h"


@pytest.mark.parametrize(
    ("compiler", "language", "standard", "name"),
    [
        (compiler, language, standard, name)
        for name, language, standard, compilers in (
            ("diffuser_fast.h", "c", "c99", ("gcc", "clang")), ("diffuser_fast.h", "c++", "c++17", ("g++", "clang++")),
            ("diffuser_fast.hpp", "c++", "c++17", ("g++", "clang++")),
        )
        for compiler in compilers
    ],
)  # fmt: skip
def test_headers_compile_alone(tmp_path, compiler, language, standard, name):
    if shutil.which(compiler) is None:
        pytest.skip(f"there is no {compiler}")
    (source := tmp_path / "program.txt").write_text(
        f"#include <{name}>\n#include <{name}>\nint main(void) {{ return 0; }}\n"
    )
    flags = ["-x", language, f"-std={standard}", "-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only"]
    run(compiler, *flags, "-I", HEADER.parent, source)


def test_exported_names():
    """What the header declares, and nothing else; the name of the library carries the ABI."""
    declared = set(re.findall(r"\b(dfx_\w+)\(", re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.DOTALL)))
    assert declared == set(FUNCTIONS)
    shared = built("all") / "libdiffuser_fast.so"
    names = {line.split()[-1].split("@")[0] for line in run("nm", "-D", "--defined-only", shared).splitlines()}
    assert names - {"DFX_0"} == declared
    assert "[libdiffuser_fast.so.0]" in run("readelf", "-d", shared)
    assert "python" not in run("ldd", shared)


def test_layout_of_structs(tmp_path):
    """As it was in the first release: fields may be added at the end (then add a line), never moved."""
    offsets = [f'  printf("%zu ", sizeof({name}));' for name in STRUCTS]
    (source := tmp_path / "sizes.c").write_text(
        "#include <diffuser_fast.h>\n#include <stdio.h>\nint main(void) {\n" + "\n".join(offsets) + "\n  return 0;\n}\n"
    )
    run("gcc", "-std=c99", "-I", HEADER.parent, source, "-o", tmp_path / "sizes")
    sizes = [48, 48, 24, 104, 120, 64, 16, 72, 80, 104]
    assert list(map(int, run(tmp_path / "sizes").split())) == sizes


def test_flags_are_those_of_the_python_package():
    """Or the bits would differ."""
    flags = re.search(r"^FLAGS = \[(.*)\]", (ROOT / "setup.py").read_text(), re.MULTILINE).group(1)
    flags = [flag.strip(' "') for flag in flags.split(",")]
    assert "-ffp-contract=off" in flags
    for place in ("csrc/capi/Makefile", "CMakeLists.txt"):
        assert " ".join(flags) in (ROOT / place).read_text(), place


def test_the_library_reads_no_environment_and_prints_nothing():
    undefined = run("nm", "-D", "--undefined-only", built("all") / "libdiffuser_fast.so")
    for name in ("getenv", "printf", "puts", "fwrite", "exit", "signal", "sigaction", "gettimeofday", "time"):
        assert not re.search(rf"\b_?_?(secure_)?{name}(@|$)", undefined, re.MULTILINE), name


@pytest.fixture(scope="module")
def umaze(tmp_path_factory):
    made = dfx.Planner(dfx.load("maze2d-umaze"), n_steps=6, threads=1)
    return dfx.export(made, tmp_path_factory.mktemp("umaze") / "umaze.dfb")


@needs_engine
def test_examples(umaze, tmp_path):
    folder = built("all", "examples")
    said = run(folder / "plan_umaze", umaze)
    assert said.splitlines()[0].split() == ["0", "x", "3.000", "y", "1.000"] and "first plan" in said
    assert "0 steps without one" in run(folder / "controller", umaze, 25)
    assert "longest" in run(folder / "loop", umaze, 5)
    wrong = subprocess.run([folder / "plan_umaze", tmp_path / "none"], capture_output=True, text=True)
    assert wrong.returncode == 1 and "No such file" in wrong.stderr


@pytest.fixture(scope="module")
def steady(tmp_path_factory):
    """tests/capi/steady.c, compiled."""
    folder, program = built("all"), tmp_path_factory.mktemp("steady") / "steady"
    link = ["-L", folder, "-ldiffuser_fast", f"-Wl,-rpath,{folder}"]
    run("gcc", "-std=gnu99", "-O1", "-I", HEADER.parent, HERE / "steady.c", *link, "-o", program)
    return program


@needs_engine
def test_plans_and_steps_allocate_nothing(umaze, steady):
    """Nor do they touch a page for the first time, or say no by an exception: plain plans, plans with a deadline, warm
    ones with a prefix, and an executor's steps."""
    opening, *kinds = run(steady, umaze).splitlines()
    assert int(opening) > 20 and kinds == ["0 0 0"] * 4


@needs_engine
def test_plans_and_steps_make_no_system_call(umaze, steady, tmp_path):
    """But that a step which begins a plan wakes the planning thread, which goes to sleep after it."""
    tracer = tmp_path / "count_system_calls"
    run("gcc", "-O1", HERE.parent / "csrc" / "count_system_calls.c", "-o", tracer)
    done = subprocess.run([tracer, steady, umaze], capture_output=True, text=True)
    if done.returncode == 77:
        pytest.skip("this system does not let a process trace its child")
    assert done.returncode == 0, done.stderr
    counts = [dict(map(int, line.split()) for line in part.splitlines() if len(line.split()) == 2)
              for part in done.stdout.split("end\n")[:-1]]  # fmt: skip
    assert len(counts) == 3 * 20 + 96
    assert not any(counts[: 3 * 20])
    futex = 202
    assert all(set(count) <= {futex} and count.get(futex, 0) <= 2 for count in counts[3 * 20 :])
    assert 0 < sum(map(bool, counts[3 * 20 :])) < 96 * 3 // 4


@needs_engine
def test_nothing_is_left_when_it_is_closed(tmp_path):
    """Opened and closed again and again, memory does not grow."""
    from capi.library import Bundle, CPlanner

    data = dfx.export(planner(), tmp_path / "planner.dfb").read_bytes()

    def once():
        bundle = Bundle(data)
        c = CPlanner(bundle)
        bundle.close()
        c.close()
        with pytest.raises(Exception, match="digest"):
            Bundle(data[:-64] + bytes(64))

    for _ in range(20):
        once()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(300):
        once()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 4096  # KiB; a bundle has more than 500
    assert library().dfx_abi() == 0

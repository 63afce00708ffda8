"""csrc/api.h is what it says it is: C99, and C++17."""

import shutil
import subprocess
from pathlib import Path

import pytest

HEADER = Path(__file__).parents[2] / "csrc" / "api.h"
PROGRAM = """
#include "api.h"
#include "api.h"
int main(void) {
  df_args args = {0};
  df_loop loop = {0};
  df_cpu_options options = {0};
  return (int)(sizeof args + sizeof loop + sizeof options) * 0 + DF_OK;
}
"""


@pytest.mark.parametrize(
    ("compiler", "language", "standard"),
    [("cc", "c", "c99"), ("clang", "c", "c99"), ("c++", "c++", "c++17"), ("clang++", "c++", "c++17")],
)
def test_it_compiles(tmp_path, compiler, language, standard):
    if shutil.which(compiler) is None:
        pytest.skip(f"there is no {compiler}")
    program = PROGRAM if language == "c" else PROGRAM.replace("{0}", "{}")
    (source := tmp_path / "program.txt").write_text(program)
    flags = ["-x", language, f"-std={standard}", "-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only"]
    done = subprocess.run([compiler, *flags, "-I", HEADER.parent, source], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

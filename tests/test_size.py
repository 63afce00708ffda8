"""Size is part of beauty: budgets for files, and names that say nothing."""

import statistics
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = {".py", ".cc", ".h", ".cu", ".cuh"}
PACKAGE = ("diffuser_fast/", "kernels/", "csrc/")

LONGEST = 500  # lines of one source file
MEDIAN = 170  # lines of the package's files; admired repositories of this field have about as many
NAMELESS = {"utils", "util", "helpers", "helper", "common", "misc", "base"}
MIB = 1 << 20
# Folder -> the largest file it may hold. The first prefix that fits counts; "" is everything else.
LARGEST = {"diffuser_fast/pretrained/": 16 * MIB, "tests/golden/": 8 * MIB, "": 2 * MIB}


def git_files(root):
    """Files that are tracked or would be: everything git does not ignore. Relative, with forward slashes."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return sorted({name for name in listing.stdout.split("\0") if name and (root / name).is_file()})


def lines(path):
    return len(path.read_text(encoding="utf-8").splitlines())


def complaints(root, files):
    """Checkout and its files -> every budget that is overdrawn, in words."""
    lengths = {name: lines(root / name) for name in files if Path(name).suffix in SOURCE}
    for name, n in lengths.items():
        if n > LONGEST:
            yield f"{name} has {n} lines; {LONGEST} is the most: split it by noun or verb"
    package = [n for name, n in lengths.items() if name.startswith(PACKAGE) and n]
    if package and statistics.median(package) > MEDIAN:
        yield f"the median file of the package has {statistics.median(package):g} lines; {MEDIAN} is the most"
    for name in files:
        if Path(name).suffix in SOURCE and Path(name).name.split(".")[0].strip("_").lower() in NAMELESS:
            yield f"{name} is named for nothing in particular"
        limit = next(limit for folder, limit in LARGEST.items() if name.startswith(folder))
        if (root / name).stat().st_size > limit:
            yield f"{name} has {(root / name).stat().st_size / MIB:.1f} MiB; {limit // MIB} is the most there"


@pytest.fixture(scope="module")
def tree():
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    return git_files(ROOT)


def test_budgets(tree):
    found = list(complaints(ROOT, tree))
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("name", "size", "complaint"),
    [
        ("diffuser_fast/core/ops.py", 501, "501 lines"),
        ("csrc/cpu/conv.inl.h", 501, "501 lines"),
        ("tests/core/test_ops.py", 501, "501 lines"),
        ("kernels/update.py", 171, "median"),
        ("tests/core/test_ops.py", 171, None),
        ("diffuser_fast/helpers.py", 1, "named for nothing"),
        ("csrc/common.inl.h", 1, "named for nothing"),
        ("docs/picture.png", 2 * MIB + 1, "2.0 MiB"),
        ("tests/golden/trace.npz", 2 * MIB + 1, None),
        ("diffuser_fast/pretrained/maze2d.safetensors", 16 * MIB + 1, "16.0 MiB"),
    ],
)
def test_the_budgets_can_be_overdrawn(tmp_path, name, size, complaint):
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_bytes((b"\n" if path.suffix in SOURCE else b"\0") * size)
    found = list(complaints(tmp_path, [name]))
    assert any(complaint in line for line in found) if complaint else not found, found

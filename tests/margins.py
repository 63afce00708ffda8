"""How near the tests' numbers come to their limits: recorded in a run, and the thinnest by suite under every setting.

    make margins                      all settings of this machine; fails where a margin is thinner than LEAST
    make margins ARGS="avx2 threads"  those with such words in their names
    make margins ARGS=--record        a line for each in tests/margins, where the tree is clean
    pytest tests/core --margins=FILE  one run, recorded in FILE.*.json

A margin is by how much an error could grow before its test changed its mind; of a test that must see a fault, by how
much the fault could shrink. Recorded are verdicts of error bounds, comparisons of numpy, torch and pytest, ``at_most``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

LEAST = 2.0
RECORD = "--record"
ROOT = Path(__file__).resolve().parents[1]
BOUNDS = ROOT / "build" / "bounds"
SUITES = (
    "tests/backends", "tests/bench/test_latency.py", "tests/core", "tests/csrc", "tests/formats", "tests/oracle",
    "tests/dropin", "tests/test_goldens.py", "tests/test_planner.py", "tests/train/test_losses.py",
)  # fmt: skip
AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
SETTINGS: dict[str, dict[str, str]] = {
    "as it is": {},
    "torch without AVX": {"ATEN_CPU_CAPABILITY": "default"},
    "torch with avx2": {"ATEN_CPU_CAPABILITY": "avx2"},
    "torch with avx512": {"ATEN_CPU_CAPABILITY": "avx512"},
    "a machine of avx2": {**AVX2, "DIFFUSER_FAST_ISA": "avx2"},
    "two torch threads": {"OMP_NUM_THREADS": "2"},
    "engine scalar": {"DIFFUSER_FAST_ISA": "scalar"},
}


def at_most(found: float, allowed: float, what: str = "") -> None:
    """Assert that a number is within its limit."""
    if RECORDER is not None:
        RECORDER.ratio(float(found) / float(allowed))
    assert found <= allowed, f"{what} found {found:.3g}, allowed are {allowed:.3g}"


RECORDER: Recorder | None = None


class Recorder:
    """The thinnest margin of every test of this process, written to a file at its end."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.thinnest = path, {}

    def ratio(self, ratio: float) -> None:
        """Of an error to its limit, in the test that runs now."""
        test = os.environ.get("PYTEST_CURRENT_TEST", "collection").rpartition(" ")[0]
        margin = max(ratio, 1 / ratio) if ratio else np.inf
        self.thinnest[test] = float(min(self.thinnest.get(test, np.inf), margin))

    def arrays(self, found: Any, expected: Any, rtol: float, atol: float) -> None:
        """Of the worst number of an array; where equality is asked for there is no margin."""
        found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
        allowed = atol + rtol * np.abs(expected) + 0 * found
        if (allowed > 0).any():
            self.ratio(float((np.abs(found - expected)[allowed > 0] / allowed[allowed > 0]).max()))

    def write(self) -> None:
        """Called when pytest ends."""
        self.path.write_text(json.dumps(self.thinnest))


def install(path: Path) -> None:
    """Listen to everything that compares numbers. Called from conftest.py, before tests are imported."""
    global RECORDER
    import pytest
    import torch

    from diffuser_fast.conformance.error_bounds import Verdict

    RECORDER, scalar = (recorder := Recorder(path)), type(pytest.approx(1.0))
    passed, close, torch_close, equal = (
        Verdict.passed.fget, np.testing.assert_allclose, torch.testing.assert_close, scalar.__eq__
    )  # fmt: skip

    def verdict_passed(self):
        recorder.ratio(self.ratio)
        return passed(self)

    def assert_allclose(actual, desired, rtol=1e-7, atol=0, **options):
        recorder.arrays(actual, desired, rtol, atol)
        close(actual, desired, rtol, atol, **options)

    def assert_close(actual, expected, *, rtol=None, atol=None, **options):
        if torch.is_tensor(actual):
            single = actual.dtype == torch.float32
            r, a = (rtol, atol) if rtol is not None else (1.3e-6, 1e-5) if single else (1e-7, 1e-7)
            recorder.arrays(actual.detach(), expected.detach(), r, a)
        torch_close(actual, expected, rtol=rtol, atol=atol, **options)

    def approx_equal(self, actual):
        if isinstance(actual, float | np.floating) and isinstance(self.expected, float | np.floating):
            recorder.arrays(actual, self.expected, 0, self.tolerance)
        return equal(self, actual)

    Verdict.passed = property(verdict_passed)
    np.testing.assert_allclose, torch.testing.assert_close = assert_allclose, assert_close
    scalar.__eq__ = approx_equal


def run(setting: str, workers: str) -> tuple[dict[str, float], bool]:
    """The suites under one setting: the margin of every test, and whether all passed."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pytest", "-q", "-n", workers, "--dist", "worksteal", "--benchmark-disable"]
        environment = {"OMP_NUM_THREADS": "1", **os.environ, **SETTINGS[setting]}
        command += [f"--bounds={BOUNDS}", f"--margins={folder}"]
        done = subprocess.run([*command, *SUITES], cwd=ROOT, env=environment)
        margins: dict[str, float] = {}
        for path in Path(folder).iterdir():
            margins |= json.loads(path.read_text())
    return margins, done.returncode == 0


def thinnest(margins: dict[str, float]) -> dict[str, dict[str, Any]]:
    """Suite -> how many of its tests have a margin, and which has the least."""
    found = {}
    for suite in SUITES:
        mine = {test: margin for test, margin in margins.items() if test.startswith(suite)}
        if mine:
            test = min(mine, key=mine.get)
            found[suite] = {"tests": len(mine), "thinnest": mine[test], "test": test}
    return found


def record(commit: tuple[str | None, bool], setting: str, suites: dict[str, dict[str, Any]], passed: bool) -> None:
    """A line in tests/margins: which machine, which commit, which setting, what was found."""
    from bench import machine

    now = datetime.now(timezone.utc)
    line = {
        "time": now.isoformat(timespec="seconds"), "commit": commit[0], "dirty": commit[1], "setting": setting,
        "passed": passed, "suites": suites, "machine": machine.fingerprint(),
    }  # fmt: skip
    path = ROOT / "tests" / "margins" / f"{now:%Y-%m-%d}.jsonl"
    path.parent.mkdir(exist_ok=True)
    with path.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(line) + "\n")


def main(words: list[str]) -> int:
    """Every setting (whose name has one of the words), a table of the thinnest margins; 1 if one is too thin."""
    from bench import machine

    recorded, words = RECORD in words, [word for word in words if word != RECORD]
    names = [name for name in SETTINGS if not words or any(word in name for word in words)]
    if "avx512f" not in Path("/proc/cpuinfo").read_text():
        names = [name for name in names if name != "torch with avx512"]
    thin, at = False, machine.commit()
    for name in names:
        margins, passed = run(name, os.environ.get("WORKERS", "auto"))
        suites = thinnest(margins)
        thin |= not passed or min(margins.values(), default=0) < LEAST
        for suite, one in suites.items():
            print(f"{name:20} {suite:32} {one['tests']:5} tests, thinnest {one['thinnest']:8.2f}  {one['test']}")
        for test in sorted((test for test in margins if margins[test] < LEAST), key=margins.get):
            print(f"{name:20} too thin: {margins[test]:8.2f}  {test}")
        print(f"{name:20} {'all passed' if passed else 'SOME FAILED'}", flush=True)
        if recorded:
            record(at, name, suites, passed)
    return int(thin)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main(sys.argv[1:]))

"""What all tests run under: one torch thread unless OMP_NUM_THREADS says otherwise; ``--margins`` (see margins.py),
``--remote`` (see arm/remote.py), ``--bounds`` (see kept_bounds.py).
"""

import os
import shlex
import sys
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is loaded: its tensors here are small

if sys.version_info < (3, 11):  # the package runs on 3.10, its benchmarks do not: they say so themselves
    collect_ignore = ["bench", "evaluation", "on_gpu"]
    collect_ignore += [f"offline/test_{name}.py" for name in ("chain", "check_kernels", "jit")]


def pytest_addoption(parser):
    parser.addoption("--margins", metavar="FOLDER", help="record there how near every test came to its limits")
    parser.addoption("--bounds", metavar="FOLDER", help="keep error bounds there, for other processes and later runs")
    parser.addoption("--remote", metavar="COMMAND", help="test the engine that this command runs, not this machine's")


def stale(root):
    """A source of the engine that is younger than its build here, or None: what ran would not be what stands."""
    built = [path.stat().st_mtime for path in (root / "diffuser_fast").glob("_cpu*.so")]
    sources = [path for part in (".", "cpu") for path in (root / "csrc" / part).glob("*.[hc]*")]
    youngest = max(sources, key=lambda path: path.stat().st_mtime, default=None)
    return youngest if built and youngest and youngest.stat().st_mtime > min(built) else None


def pytest_configure(config):
    if (source := stale(config.rootpath)) is not None and not hasattr(config, "workerinput"):
        raise pytest.UsageError(f"{source.relative_to(config.rootpath)} is younger than the engine: make build")
    if config.getoption("--remote"):  # before anything loads this machine's engine
        from arm import remote

        remote.install(shlex.split(config.getoption("--remote")))
    if config.getoption("--bounds"):
        import kept_bounds

        kept_bounds.install(Path(config.getoption("--bounds")))
    if config.getoption("--margins"):
        import margins

        worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
        margins.install(Path(config.getoption("--margins")) / f"{worker}.json")


def pytest_sessionfinish(session):
    if session.config.getoption("--margins"):
        import margins

        margins.RECORDER.write()

"""What all tests run under: one torch thread unless OMP_NUM_THREADS says otherwise; ``--margins`` (see margins.py),
``--remote`` (see arm/remote.py).
"""

import os
import shlex
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is loaded: its tensors here are small


def pytest_addoption(parser):
    parser.addoption("--margins", metavar="FOLDER", help="record there how near every test came to its limits")
    parser.addoption("--remote", metavar="COMMAND", help="test the engine that this command runs, not this machine's")


def pytest_configure(config):
    if config.getoption("--remote"):
        from arm import remote

        remote.install(shlex.split(config.getoption("--remote")))
    if config.getoption("--margins"):
        import margins

        worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
        margins.install(Path(config.getoption("--margins")) / f"{worker}.json")


def pytest_sessionfinish(session):
    if session.config.getoption("--margins"):
        import margins

        margins.RECORDER.write()

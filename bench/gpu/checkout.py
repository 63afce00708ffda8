"""The package without an installation: its kernels under their name, its C++ engine built in place."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from ..machine import ROOT

KERNELS = "diffuser_fast.kernels"


def mount_kernels(root: Path = ROOT) -> None:
    """``kernels/`` of the checkout as ``diffuser_fast.kernels``, which an installation does by its package map."""
    if KERNELS in sys.modules:
        return
    import diffuser_fast

    folder = root / "kernels"
    spec = importlib.util.spec_from_file_location(
        KERNELS, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[KERNELS] = module
    spec.loader.exec_module(module)
    diffuser_fast.kernels = module


class EngineBuild:
    """The C++ engine being built in place by setup.py, while other things go on."""

    def __init__(self, root: Path = ROOT) -> None:
        self.root, self.process = root, None
        if self.reason() is None:
            return
        environment = {name: value for name, value in os.environ.items() if name != "DIFFUSER_FAST_BUILD"}
        self.output = tempfile.TemporaryFile("w+")  # noqa: SIM115 (read when the process has ended)
        self.process = subprocess.Popen(
            [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
            cwd=root, env=environment, stdout=self.output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def wait(self, seconds: float) -> str | None:
        """Why there is no engine of this source, in a sentence, or None. Stops the build when the time is over."""
        if self.process is None:
            return None
        with self.output:
            try:
                self.process.wait(max(seconds, 0.0))
            except subprocess.TimeoutExpired:
                self.process.kill()
            unfinished = self.process.wait() < 0
            self.process = None
            if unfinished:
                return "the C++ engine was not built in the time there was"
            if self.reason() is None:
                return None
            self.output.seek(0)
            last = ([line.strip() for line in self.output if line.strip()] or ["no word"])[-1]
            return f"the C++ engine could not be built: {last[:300]}"

    def reason(self) -> str | None:
        """Whether a library for this Python is there and is not older than its source."""
        importlib.invalidate_caches()
        spec = importlib.util.find_spec("diffuser_fast._cpu")
        if spec is None or spec.origin is None:
            return "it is not built"
        sources = [*self.root.glob("csrc/*.*"), *self.root.glob("csrc/cpu/*")]
        newest = max(path.stat().st_mtime for path in sources)
        return "it is older than its source" if Path(spec.origin).stat().st_mtime < newest else None

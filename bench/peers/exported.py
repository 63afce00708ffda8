"""Models in the files of other engines, with static shapes: exported once and kept on disk."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from ..machine import ROOT, SCRATCH
from ..problem import Problem, problem
from ..workloads import workloads
from .assembled import inputs

# Format -> the packages that export to it.
PACKAGES = {"onnx": ("torch", "onnx", "onnxscript"), "tflite": ("torch", "litert_torch")}
_SOURCES = ("assembled.py", "modules.py", "images.py", "exported.py")


def model(given: Problem, role: str, format: str, form: str, folder: Path = SCRATCH / "models") -> Path:
    """The file of a role of assembled.py. form: "rows" (modules.py) or "images" (images.py).

    Its name is a digest of all that it is made of: weights, inputs, our code, the exporter's versions. RuntimeError if
    it cannot be exported.
    """
    name = f"{given.workload.name.replace('/', '-')}-{role}-{form}"
    digest = hashlib.sha256("".join(f"{name} {package} {version(package)}" for package in PACKAGES[format]).encode())
    digest.update(b"".join(Path(__file__).with_name(source).read_bytes() for source in _SOURCES))
    network = given.loop.denoiser if role in ("step", "denoise") else given.loop.guide
    digest.update(network.program.digest().encode())
    for array in (*network.weights.values(), *inputs(given, role), given.inpainting.mask):
        digest.update(array.tobytes())
    path = folder / f"{name}-{digest.hexdigest()[:16]}.{format}"
    if not path.exists():  # by a process of its own: one that only loads models holds no torch
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "bench.peers.exported", given.workload.name, role, form, str(path)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"export to {format}: {(done.stderr.strip().splitlines() or ['without a word'])[-1]}")
    return path


def main(workload: str, role: str, form: str, path: str) -> None:
    """Export, whole or not at all."""
    import torch

    from .images import ImageModule
    from .modules import PlanModule, ProgramModule

    given = problem(workloads().find(workload))
    example = tuple(torch.tensor(a) for a in inputs(given, role))
    module = PlanModule(given, role, {"rows": ProgramModule, "images": ImageModule}[form]).eval()
    part = Path(path).with_suffix(".part")
    with torch.no_grad():
        if path.endswith(".onnx"):
            program = torch.onnx.export(module, example, dynamo=True, verbose=False)
            part.write_bytes(program.model_proto.SerializeToString())
        else:
            import litert_torch

            litert_torch.convert(module, example).export(str(part))
    part.replace(path)


if __name__ == "__main__":
    main(*sys.argv[1:])

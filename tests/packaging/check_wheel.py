"""Install a wheel into an empty environment, leave the checkout, and plan with it: `check_wheel.py WHEEL`.

Only the wheel's own minimal dependencies are there, so this proves that torch is optional and that no file is missing.
"""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

MOST = 60_000_000  # bytes

TRIAL = """
import importlib.metadata, importlib.util, pathlib, sys
import numpy as np
import diffuser_fast as dfx
import diffuser_fast.pretrained

site = pathlib.Path(dfx.__file__).parent
assert pathlib.Path(sys.prefix) in site.parents, f"imported from {site}, not from the wheel"
assert dfx.__version__ == importlib.metadata.version("diffuser-fast")
for name in ("torch", "mujoco", "gymnasium"):
    assert importlib.util.find_spec(name) is None, f"a minimal installation brought {name}"
assert importlib.util.find_spec("kernels") is None, "the wheel installs a top-level `kernels`"
assert importlib.util.find_spec("diffuser_fast.kernels"), "the wheel lacks diffuser_fast.kernels"

from diffuser_fast import _cpu
print(f"engine       {pathlib.Path(_cpu.__file__).name}")

bundled = sorted((site / "pretrained").glob("*.safetensors"))
print(f"checkpoints  {', '.join(path.name for path in bundled) or 'none bundled yet'}")
left_out = [name for name in dfx.pretrained.APART if (site / "pretrained" / f"{name}.safetensors").exists()]
assert not left_out, f"the wheel has {left_out}, which it should leave out"
for path in bundled:
    planner = dfx.Planner(dfx.load(path), backend="cpu", seed=1)
    free = planner.plan({})
    obs = np.asarray(free.observations[0, 0], dtype=np.float32)
    plans = planner.plan({0: obs})
    again = dfx.Planner(dfx.load(path), backend="cpu", seed=1)
    again.plan({})
    assert np.isfinite(plans.observations).all() and np.isfinite(plans.actions).all()
    assert np.allclose(plans.observations[:, 0], obs, atol=1e-3), "the plan does not start where it was told to"
    assert np.array_equal(again.plan({0: obs}).observations, plans.observations), "the same seed gave another plan"
    print(f"plan         {path.stem}: {plans.observations.shape}, {plans.latency_ms:.1f} ms")
assert "torch" not in sys.modules
"""


def contents(wheel):
    """Names in the wheel -> complaints about what must not ship, or must."""
    names = zipfile.ZipFile(wheel).namelist()
    for name in names:
        if name.split("/")[0] not in ("diffuser_fast",) and ".dist-info/" not in name:
            yield f"{name} does not belong in the wheel"
    if (size := wheel.stat().st_size) > MOST:
        yield f"the wheel has {size:,} bytes, more than {MOST:,}"
    if not any(name.startswith("diffuser_fast/_cpu.") for name in names):
        yield "the wheel has no compiled engine"


def main(wheel):
    wheel = Path(wheel).resolve()
    if found := list(contents(wheel)):
        raise SystemExit("\n".join(found))
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", f"{folder}/venv"], check=True)
        python = f"{folder}/venv/bin/python"
        pip = [python, "-m", "pip", "--disable-pip-version-check", "-q"]
        subprocess.run([*pip, "install", str(wheel)], check=True, cwd=folder)
        subprocess.run([python, "-W", "error", "-c", TRIAL], check=True, cwd=folder)
        subprocess.run(
            [f"{folder}/venv/bin/diffuser-fast", "--help"], check=True, cwd=folder, stdout=subprocess.DEVNULL
        )
    print(f"{wheel.name} works from another directory, without torch")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: check_wheel.py WHEEL (exactly one)")
    main(sys.argv[1])

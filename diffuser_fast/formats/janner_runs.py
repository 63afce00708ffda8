"""Where the original keeps its runs: logs/<environment>/{diffusion, values}/<run>/state_<epoch>.pt."""

from __future__ import annotations

from pathlib import Path

from .janner_state import states


def descend(path: Path, kind: str = "diffusion") -> Path:
    """The one run that a folder of runs leads to; any other path as it is.

    A folder of runs is logs/<environment>/<kind>, logs/<environment> or logs. ValueError names the runs if it has
    several.
    """
    if not path.is_dir() or states(path) or any(path.glob("*.safetensors")):
        return path
    found = _runs(path / kind) or _runs(path)
    found = found or [run for folder in sorted(path.iterdir()) for run in _runs(folder / kind)]
    if len(found) > 1:
        names = ", ".join(str(run.relative_to(path)) for run in found[:6])
        more = f" and {len(found) - 6} more" if len(found) > 6 else ""
        raise ValueError(f"{path}: it has {len(found)} runs; pass one of them: {names}{more}")
    return found[0] if found else path


def values_of(run: Path) -> list[Path]:
    """Runs of value networks for a run in logs/<environment>/diffusion: those in logs/<environment>/values."""
    run = run.resolve()
    for folder in (run, run.parent):
        if folder.name == "diffusion":
            return _runs(folder.with_name("values"))
    return []


def _runs(folder: Path) -> list[Path]:
    """A folder with state files, or those in it that have some."""
    if not folder.is_dir():
        return []
    return [folder] if states(folder) else [run for run in sorted(folder.iterdir()) if run.is_dir() and states(run)]

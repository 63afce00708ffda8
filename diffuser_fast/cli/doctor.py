"""``diffuser-fast doctor``: what runs here, what does not and why; with --check, whether it computes right."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import platform
from typing import Any

import click

from . import show

PACKAGES = {
    "numpy": "everything",
    "safetensors": "native checkpoints",
    "torch": "the original's checkpoints, training, the reference backend",
    "gymnasium": "environments",
    "mujoco": "environments",
    "h5py": "data sets",
    "minari": "Minari's data sets",
    "matplotlib": "pictures",
    "PIL": "GIFs",
    "triton": "GPU kernels",
}


@click.command()
@click.option("--check", is_flag=True, help="Run conformance cases on every backend that can run here.")
@click.option("--realtime", is_flag=True, help="What a control loop would want of this machine, and what helps.")
@show.json_option
def command(check: bool, realtime: bool, as_json: bool) -> None:
    """Say which backends run on this machine, which does the planning, and why not the others."""
    record = examine()
    if check:
        from ..conformance import quick_check

        record["conformance"] = quick_check([b for b, reason in record["backends"].items() if reason is None])
    if realtime:
        from .realtime import examine as findings

        record["realtime"] = findings()
    wrong = [row for row in record.get("conformance", []) if not row["passed"]]
    if as_json:
        show.emit(record)
    else:
        _print(record)
    if wrong:
        raise RuntimeError(
            f"{len(wrong)} conformance cases failed, the first: {wrong[0]['case']} on {wrong[0]['backend']}"
        )


def examine() -> dict[str, Any]:
    """Machine, packages, backends (None: it runs; else why not), and the one that "auto" takes."""
    from .. import __version__, backends
    from ..conformance import random_checkpoint
    from ..core.loop import sampling_loop
    from ..core.samplers import ddpm
    from ..core.spec import UNetSpec, ValueSpec
    from ..settings import SETTINGS, usable_cores

    # Something small and guided to ask the backends about.
    sizes = {"horizon": 8, "transition_dim": 5, "dim": 16, "dim_mults": (1, 4)}
    checkpoint = random_checkpoint(UNetSpec(**sizes), ValueSpec(**sizes), n_train=2)
    loop = sampling_loop(checkpoint, ddpm(checkpoint.schedule), guide=checkpoint.guide)
    found = {name: backends.why_not(name, loop) for name in backends.NAMES}
    packages = {name: importlib.util.find_spec(name) is not None for name in PACKAGES}
    record: dict[str, Any] = {
        "diffuser-fast": __version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "cores": len(usable_cores()),
        "packages": packages,
        "backends": found,
        "auto": SETTINGS.backend or backends.choose("auto", loop),
        "auto_is_set": SETTINGS.backend is not None,
        "not_auto": dict(backends.NOT_AUTO),
    }
    running = [backends.get(name) for name, reason in found.items() if reason is None]
    if sets := [isa for backend in running for isa in backend.isas()]:
        record["instruction_sets"] = sets
    return record


def _print(record: dict[str, Any]) -> None:
    facts = [[name, str(record[name])] for name in ("diffuser-fast", "python", "machine", "cores")]
    if "instruction_sets" in record:
        facts.append(["CPU engine", ", ".join(record["instruction_sets"])])
    show.table("machine", ["", ""], facts)
    missing = [f"{name} ({use})" for name, use in PACKAGES.items() if not record["packages"][name]]
    show.table(
        "backends",
        ["", ""],
        [
            [name, ("runs" if reason is None else reason) + (" (auto)" if name == record["auto"] else "")]
            for name, reason in record["backends"].items()
        ],
    )
    click.echo(_auto(record))
    if missing:
        click.echo("not installed: " + "; ".join(missing))
    if "realtime" in record:
        marks = {True: "good", False: "lacking", None: ""}
        show.table("real time", ["", "", ""], [[r["what"], r["found"], marks[r["good"]]] for r in record["realtime"]])
        for row in record["realtime"]:
            if row["cure"]:
                click.echo(f"{row['what']}: {row['cure']}")
    rows = record.get("conformance")
    if rows is not None:
        show.table(
            "conformance: error against float64, as a multiple of what the class allows",
            ["case", "backend", "error", ""],
            [[r["case"], r["backend"], f"{r['ratio']:.2f}", "passed" if r["passed"] else "FAILED"] for r in rows],
        )


def _auto(record: dict[str, Any]) -> str:
    """What "auto" takes and what it leaves, in plain words."""
    if record["auto_is_set"]:
        return f"auto is {record['auto']}: DIFFUSER_FAST_BACKEND says so."
    left = [
        f"{name} is never chosen by itself: {reason}; --backend {name} (backend={name!r}) asks for it."
        for name, reason in record["not_auto"].items()
    ]
    return " ".join([f"auto is {record['auto']}.", *left])

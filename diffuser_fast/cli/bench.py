"""``diffuser-fast bench``: the suite of ``bench/`` in a checkout; in an installation the engine beside torch eager.

The suite, its peers and its results are not part of the wheel. This command finds the checkout it belongs to and hands
its words on to ``python -m bench``, whose options they are.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click

from . import show

CHECKOUT = Path(__file__).resolve().parents[2]
BUNDLED = "maze2d-umaze"


@click.command(context_settings={"ignore_unknown_options": True}, add_help_option=False, options_metavar="")
@click.argument("words", metavar="[OPTIONS]", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def command(context: click.Context, words: tuple[str, ...]) -> None:
    """Latency of our engines beside what else a user could pick: torch, ONNX Runtime, LiteRT, jax and others.

    In a checkout all options of `python -m bench`; elsewhere --json alone.
    """
    if {"-h", "--help"} & set(words):
        click.echo(f"{context.get_help()}\n")
    if (CHECKOUT / "bench" / "__main__.py").is_file():
        code = subprocess.run([sys.executable, "-m", "bench", *words], cwd=CHECKOUT).returncode
        if code:
            raise SystemExit(code)
        return
    why = "the suite is in bench/ of a checkout, which this installation does not have"
    if {"-h", "--help"} & set(words):
        click.echo(f"Here, {why}.")
        return
    if set(words) - {"--json"}:
        raise click.UsageError(f"{why}: git clone the project and run `make bench`")
    click.echo(f"{why}; this is the engine beside torch eager, on the bundled planner", err=True)
    _small("--json" in words)


def _small(as_json: bool) -> None:
    import numpy as np

    from ..formats import load
    from ..planner import Planner
    from .latency import engine_vs_eager

    planner = Planner(load(BUNDLED))
    # Any situation will do: the middle of what the planner has seen, at rest.
    observations = planner.checkpoint.normalizers.observations
    middle = observations.unnormalize(np.zeros(observations.dim))
    rows = engine_vs_eager(planner, {0: middle, -1: middle})
    if as_json:
        show.emit({"checkpoint": BUNDLED, "latency": rows})
        return
    cells = [[r["name"], f"{r['p50_ms']:.1f} ms", f"{r['p90_ms']:.1f} ms", str(r["count"])] for r in rows]
    show.table(f"one plan of {BUNDLED}", ["", "p50", "p90", "plans"], cells)

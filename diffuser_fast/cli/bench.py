"""``diffuser-fast bench``: the ladder of ``bench/`` in a checkout; in an installation the engine beside torch eager.

The ladder, its peers and its results are not part of the wheel. This command finds the checkout it belongs to and hands
its options on; ``bench/__main__.py`` takes the same ones.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from . import show

CHECKOUT = Path(__file__).resolve().parents[2]
BUNDLED = "maze2d-umaze"

_OPTIONS = (
    click.option("--summary", is_flag=True, help="The six workloads of the front page, measured in full."),
    click.option("--quick", is_flag=True, help="Six workloads in about two minutes."),
    click.option("--only", multiple=True, metavar="PATTERN", help="Workloads: part of a name, or a pattern with *."),
    click.option("--candidates", multiple=True, metavar="PATTERN", help="Candidates: the same; ! leaves out."),
    click.option(
        "--threads",
        type=click.IntRange(min=1),
        multiple=True,
        help="Of every candidate. Again: one run each.",
    ),
    click.option(
        "--isa",
        type=click.Choice(["scalar", "avx2", "avx512"]),
        help="The widest allowed, to peers too where they listen.",
    ),
    click.option("--every-isa", is_flag=True, help="Our CPU engine once per instruction set."),
    click.option("--budget", type=click.FloatRange(min=0, min_open=True), help="Seconds of measuring per workload."),
    click.option("--tails", is_flag=True, help="Instead: p50 to the slowest of 10,000 calls of a control loop."),
    click.option("--calls", type=click.IntRange(min=1), help="Of --tails."),
    click.option("--layers", is_flag=True, help="Instead: every op of our engine against its roof."),
    click.option("--memory", is_flag=True, help="Instead: peak memory of a process that runs one candidate alone."),
    click.option("--gpu", is_flag=True, help="Instead: the GPU ladder, as `make gpu`, with --only and --results."),
    click.option("--list", "listing", is_flag=True, help="Name the workloads and candidates, and stop."),
    click.option("--results", type=click.Path(file_okay=False), help="Folder of the rows. Default: bench/results."),
)


def ladder_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What both commands take."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command()
@ladder_options
@show.json_option
def command(as_json: bool, **options: Any) -> None:
    """Latency of our engines beside torch eager, torch.compile, ONNX Runtime and OpenVINO, in one interleaved run.

    Every candidate is checked against float64 before it is timed. Rows are appended to bench/results.
    """
    if (CHECKOUT / "bench" / "__main__.py").is_file():
        arguments = [*spelt(options), *(["--json"] if as_json else [])]
        raise SystemExit(subprocess.run([sys.executable, "-m", "bench", *arguments], cwd=CHECKOUT).returncode)
    why = "the ladder is in bench/ of a checkout, which this installation does not have"
    if any(options.values()):
        raise click.UsageError(f"{why}: git clone the project and run `make bench`")
    click.echo(f"{why}; this is the engine beside torch eager, on the bundled planner", err=True)
    _small(as_json)


def spelt(options: dict[str, Any]) -> list[str]:
    """Options as words of a command line."""
    words = []
    for name, value in options.items():
        flag = f"--{'list' if name == 'listing' else name.replace('_', '-')}"
        if isinstance(value, tuple):
            words += [word for one in value for word in (flag, str(one))]
        elif value is True:
            words.append(flag)
        elif value not in (None, False):
            words += [flag, str(value)]
    return words


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
    cells = [[r["name"], f"{r['p50_ms']:.1f} ms", f"{r['p99_ms']:.1f} ms", str(r["count"])] for r in rows]
    show.table(f"one plan of {BUNDLED}", ["", "p50", "p99", "plans"], cells)

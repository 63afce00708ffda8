"""``diffuser-fast demo --env hopper``: a body that plans at every step, and a film of it with its plans."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from . import show

STEPS = 400  # of the episode that is shown: three to twenty seconds of the body's time
BATCH = 16  # candidates


def names() -> list[str]:
    """Bodies that have a bundled planner."""
    from .. import pretrained
    from ..envs.locomotion import BODIES

    return [body for body in BODIES if any(name.startswith(f"{body}-") for name in pretrained.names())]


def bundled(body: str) -> str:
    """The bundled planner of a body; ValueError lists the bodies that have one."""
    from .. import pretrained

    found = [name for name in pretrained.names() if name.startswith(f"{body}-")]
    if not found:
        raise ValueError(f"env: no planner for {body!r} is bundled; there are those of: {', '.join(names()) or 'none'}")
    return found[0]


def demo(
    checkpoint: str, env: str, out: Path, *, backend: str, threads: int | None, seed: int, steps: int, as_json: bool
) -> None:  # fmt: skip
    """Run one episode of at most ``steps`` steps, time single plans against torch eager, leave a GIF in ``out``."""
    from .. import Planner, load
    from ..control.locomotion import rollout_body
    from ..envs.locomotion import make_body
    from .latency import engine_vs_eager
    from .pictures import body_film

    loaded = load(checkpoint)
    planner = Planner(loaded, backend, batch_size=BATCH, threads=threads, seed=seed)
    with show.progress(f"{steps} steps of {env}", steps, quiet=as_json) as update:
        result = rollout_body(
            planner, env, episodes=1, seed=seed, max_steps=steps, progress=lambda done, total: update(done)
        )
    gif = body_film(out / f"{env}.gif", result, steps=steps)
    start, _ = make_body(env).reset(seed=seed)
    rows = engine_vs_eager(planner, {0: start}, seconds=4.0)
    record: dict[str, Any] = {
        **result.summary(), "backend": planner.backend, "latency": rows, "pictures": [str(gif)],
    }  # fmt: skip
    if as_json:
        show.emit(record)
        return
    click.echo(
        f"{env}: return {record['return']:.0f} in {record['length']:.0f} steps, a plan at each of them: "
        f"p50 {record['call_latency_ms']['p50']:.1f} ms, p99 {record['call_latency_ms']['p99']:.1f} ms"
    )
    show.table(
        f"one plan from noise: the best of {BATCH}, {planner.horizon} steps ahead, "
        f"{planner.checkpoint.schedule.n_steps} denoising steps",
        ["", "p50", "p90", "plans"],
        [[r["name"], f"{r['p50_ms']:.1f} ms", f"{r['p90_ms']:.1f} ms", str(r["count"])] for r in rows],
    )
    if len(rows) > 1:
        click.echo(f"{rows[-1]['p50_ms'] / rows[0]['p50_ms']:.1f} times faster than torch eager, measured just now")
    click.echo(f"look at {gif}: the body is dark, where it plans to be is coloured by time")

"""``python -m bench``: what `make bench` and `diffuser-fast bench` run in a checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

from diffuser_fast.cli.bench import ladder_options, spelt
from diffuser_fast.cli.show import json_option

from .workloads import ladder

THREADS = 2  # the smallest machine that we promise anything for
SCRATCH = Path(__file__).with_name("scratch")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@ladder_options
@json_option
def main(
    as_json: bool, threads: tuple[int, ...], listing: bool, tails: bool, layers: bool, memory: bool,
    gpu: bool, calls: int | None, results: str | None, **options: Any,
) -> None:  # fmt: skip
    """Run the ladder, or what one of its switches asks for instead."""
    if gpu:
        raise SystemExit(_gpu(results, options["only"]))
    if listing:
        _list(as_json)
        return
    switches = {"tails": tails, "layers": layers, "memory": memory}
    asked = [name for name, wanted in switches.items() if wanted]
    if len(asked) > 1:
        raise click.UsageError(f"--{' and --'.join(asked)} are runs of their own: one at a time")
    if options["summary"] and options["quick"]:
        raise click.UsageError("--summary and --quick are different workloads: one at a time")
    if calls and not tails:
        raise click.UsageError("--calls is for --tails")
    threads = threads or (tuple(ladder().tails["threads"]) if tails else (THREADS,))
    if len(threads) > 1:
        _one_by_one(threads, as_json, {**switches, "calls": calls, "results": results, **options})
        return
    prepare(threads[0], options["isa"])
    from .session import RESULTS, Request, session  # loads numpy, which reads its environment

    try:
        log = session(
            Request(
                what=asked[0] if asked else "ladder", threads=threads[0], calls=calls,
                results=Path(results) if results else RESULTS, quiet=as_json, **options,
            )
        )  # fmt: skip
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if as_json:
        click.echo(json.dumps({"runs": [{"path": os.path.relpath(log.path), "rows": log.rows}]}, indent=2))
    else:
        click.echo(f"{len(log.rows) - 1} rows appended to {os.path.relpath(log.path)}")
        if shutil.which("nvidia-smi"):
            click.echo("this machine seems to have an NVIDIA GPU: `make gpu` or --gpu measures it")


def _gpu(results: str | None, only: tuple[str, ...]) -> int:
    """In a process of its own, which sets its own environment."""
    words = [word for pattern in only for word in ("--only", pattern)]
    words += ["--results", results] if results else []
    return subprocess.run([sys.executable, "-m", "bench.gpu", *words]).returncode


def prepare(threads: int, isa: str | None) -> None:
    """Environment that libraries read when they are loaded; so before any of them is."""
    assert "torch" not in sys.modules, "too late: torch has read its environment"
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
    # Where torch.compile keeps what it compiled: the next ladder need not compile it again.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(SCRATCH / "inductor"))
    if isa:
        caps = {
            "scalar": ("SSE41", "default"),
            "avx2": ("AVX2", "avx2"),
            "avx512": ("AVX512_CORE", "avx512"),
        }[isa]
        # oneDNN (torch's and OpenVINO's) hears the first, ATen and Inductor the second; ONNX Runtime hears neither.
        os.environ["ONEDNN_MAX_CPU_ISA"], os.environ["ATEN_CPU_CAPABILITY"] = caps
        os.environ["DIFFUSER_FAST_ISA"] = isa


def _list(as_json: bool) -> None:
    from .peers import candidates

    record = {
        "workloads": [w.name for w in ladder().workloads],
        "quick": list(ladder().quick),
        "candidates": [c.name for c in candidates(every_isa=True)],
    }
    if as_json:
        click.echo(json.dumps(record, indent=2))
        return
    for title, names in record.items():
        click.echo(f"{title}:\n  " + "\n  ".join(names))


def _one_by_one(threads: tuple[int, ...], as_json: bool, options: dict[str, Any]) -> None:
    """A fresh process per number of threads: thread pools are made once and for all."""
    runs = []
    for count in threads:
        command = [sys.executable, "-m", "bench", "--threads", str(count), *spelt(options)]
        if not as_json:
            subprocess.run(command, check=True)
            continue
        done = subprocess.run([*command, "--json"], check=True, stdout=subprocess.PIPE, text=True)
        runs += json.loads(done.stdout)["runs"]
    if as_json:
        click.echo(json.dumps({"runs": runs}, indent=2))


if __name__ == "__main__":
    main()

"""pytest-benchmark: our engines on single networks and whole plans. `python -m pytest bench`; not part of `make test`.

The ladder is for comparing with others; this is for watching one's own change, with pytest-benchmark's
`--benchmark-save` and `--benchmark-compare`.
"""

import pytest

from bench.peers import Settings
from bench.peers.ours import engines
from bench.problem import problem
from bench.workloads import ladder

WORKLOADS = (
    "hopper/step/b1", "hopper/step/b64", "hopper/gradient/b1", "hopper/gradient/b64", "hopper/guided/b1",
    "halfcheetah/step/b64", "maze2d-umaze/step/b1", "maze2d-large/step/b1",
)  # fmt: skip
ENGINES = [engine for engine in engines(every_isa=True) if engine.backend != "reference"]


@pytest.mark.parametrize("workload", WORKLOADS)
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
def test_engine(benchmark, engine, threads, workload):
    given, settings = problem(ladder().find(workload)), Settings(threads=threads)
    if (reason := engine.why_not(given, settings)) is not None:
        pytest.skip(reason)
    benchmark.group = f"{workload}, {threads} threads"
    benchmark(engine.ready(given, settings).run)

"""Who is timed: the register of candidates, and what each must offer. A new peer is a class and a word in ``_all``."""

from __future__ import annotations

import importlib.util
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from numpy.typing import NDArray

from ..clocks import CLOCKS, WallClock
from ..machine import SCRATCH, compiled
from ..problem import Problem
from ..workloads import matches

CAP = Path(__file__).parents[1] / "cap.c"
KEPT = {"scalar": 0x3, "avx2": 0x7, "avx512": 0xE7}  # by an instruction set: the system's mask of registers
XLA = {"avx2": "AVX2", "avx512": "AVX512"}  # it compiles for what it believes the CPU to be, whatever that has


@dataclass(frozen=True)
class Settings:
    """clock: a name of ``CLOCKS``. threads: of every candidate alike. isa: the widest instruction set, or None: any."""

    clock: str = "cpu"
    threads: int = 2
    isa: str | None = None

    @property
    def on(self) -> WallClock:
        """The clock, with the device that it is of."""
        return CLOCKS[self.clock]()

    def apply(self) -> None:
        """Set the environment that libraries read when they are loaded: before a process that loads them starts."""
        if (audit := self.cap()) is not None:
            os.environ["LD_AUDIT"] = str(audit)
        if self.clock == "cpu":
            names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
            os.environ.update(dict.fromkeys(names, str(self.threads)))
        if self.clock == "rehearsal":
            os.environ["TRITON_INTERPRET"] = "1"
        # Where torch.compile and Triton keep what they compiled: the next suite need not do it again.
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(SCRATCH / "inductor"))
        os.environ.setdefault("TRITON_CACHE_DIR", str(SCRATCH / "triton"))
        if self.isa:
            os.environ.update(DIFFUSER_FAST_ISA=self.isa, XLA_FLAGS=f"--xla_cpu_max_isa={XLA.get(self.isa, 'SSE4_2')}")

    def cap(self) -> Path | None:
        """What hides wider registers from every library of a process (``cap.c``). None where there is nothing to hide;
        ValueError without a C compiler, for then the peers would not be held to it."""
        if self.isa not in KEPT or platform.machine() != "x86_64":
            return None
        made = compiled(CAP, ["-O2", "-shared", "-fPIC", f"-DKEPT={KEPT[self.isa]}"], SCRATCH / f"cap-{self.isa}.so")
        if made is None:
            raise ValueError(
                f"isa: found {self.isa!r}, which the peers are held to by {CAP.name}: no C compiler is here"
            )
        return made


@dataclass(frozen=True)
class Ready:
    """A candidate with a problem's inputs at hand, in whatever form it likes best.

    run: what is timed, from numpy to its answer in the host's memory. answer: run's result -> arrays by name (see
    ``Problem.answer``). loop: on a GPU the loop alone, enqueued and not waited for (None: run). check: gives the answer
    that is judged, where run draws noise of its own. note: how it was made ready.
    """

    run: Callable[[], Any]
    answer: Callable[[Any], dict[str, NDArray]] = dict
    loop: Callable[[], Any] | None = None
    check: Callable[[], Any] | None = None
    note: str = ""


class Candidate:
    """An engine of ours, or a peer: small and picklable, for it is made ready in a process of its own.

    ours: it is compared with the best peer, and is none. needs: packages.
    """

    name: str
    ours: ClassVar[bool] = False
    needs: ClassVar[Sequence[str]] = ()

    def why_not(self, problem: Problem, settings: Settings) -> str | None:
        """Why it takes no part in this workload here, in a sentence, or None."""
        absent = next((name for name in self.needs if importlib.util.find_spec(name) is None), None)
        return absent and f"{absent} is not installed (pip install diffuser-fast[bench] has what all peers need)"

    def ready(self, problem: Problem, settings: Settings) -> Ready:
        """Everything that a user would do once: loading, compiling, exporting."""
        raise NotImplementedError


def candidates(settings: Settings, only: Sequence[str] = ()) -> list[Candidate]:
    """Peers first, then ours. only: patterns of names, or parts of them; with "!" before it, of names to leave out.

    ValueError if none is left.
    """
    everyone = _all(settings)
    wanted = [pattern for pattern in only if not pattern.startswith("!")] or ["*"]
    unwanted = [pattern[1:] for pattern in only if pattern.startswith("!")]
    found = [c for c in everyone if matches(c.name, wanted) and not matches(c.name, unwanted)]
    if not found:
        names = ", ".join(c.name for c in everyone)
        raise ValueError(f"--candidates: nothing matches {', '.join(only)}; there are {names}")
    return found


def _all(settings: Settings) -> list[Candidate]:
    from .loaded import LiteRt, Mnn, OnnxRuntime, OpenVino
    from .ours import engines
    from .torch_compile import CPU_MODES, GPU_MODES, Compiled
    from .torch_eager import Eager
    from .xla import Iree, Xla

    if settings.clock == "cpu":
        others = [OnnxRuntime(), OpenVino(), LiteRt(), Mnn(), Xla(), Iree()]
        return [Eager(), *map(Compiled, CPU_MODES), *others, *engines(settings)]
    return [Eager("waits"), Eager(), Eager("one graph"), *map(Compiled, GPU_MODES), *engines(settings)]

"""What many findings of one check come to: a row."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from .jobs import Ended


@dataclass
class Tally:
    """One check of one candidate in its class. total: how many cases there are; parts: jobs it is split in."""

    check: str
    candidate: str
    exactness: str
    total: int
    parts: int = 1
    cases: int = 0
    failed: int = 0
    worst: float | None = None
    worst_case: str | None = None
    why_not: str | None = None

    def take(self, finding: dict[str, Any] | Ended) -> bool:
        """A finding, or the end of a part; True when that was the last."""
        if isinstance(finding, Ended):
            self.parts -= 1
            self.failed += finding.failed
            self.why_not = self.why_not or finding.why_not
            return self.parts == 0
        self.cases += 1
        self.failed += not finding["passed"]
        # JSON has no infinity: an error that is not finite is the worst there is, and is not given a number.
        size = finding["worst"] if finding["worst"] is not None else math.inf
        if self.worst_case is None or size > (math.inf if self.worst is None else self.worst):
            self.worst, self.worst_case = (size if math.isfinite(size) else None), finding["case"]
        return False

    @property
    def passed(self) -> bool:
        """Nothing failed; what was not run does not count against it."""
        return not self.failed

    def row(self, rehearsal: bool) -> dict[str, Any]:
        """Fields of a "gpu_check" row."""
        return {
            "check": self.check, "candidate": self.candidate, "exactness": self.exactness, "cases": self.cases,
            "total": self.total, "failed": self.failed, "worst": self.worst, "worst_case": self.worst_case,
            "why_not": self.why_not, "rehearsal": rehearsal,
        }  # fmt: skip

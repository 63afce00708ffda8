"""``python -m bench.report``: write the tables and plots of bench/README.md and README.md from the rows.

A section stands between ``<!-- bench:NAME -->`` and ``<!-- /bench:NAME -->``; everything between the two is replaced,
nothing else is touched. Run twice, it changes nothing the second time.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

from . import rows, tables
from .choice import Row
from .gpu import tables as gpu_tables
from .machine import ROOT

PAGES = (ROOT / "bench" / "README.md", ROOT / "README.md")
PLOTS = rows.RESULTS / "plots"
SECTIONS: dict[str, Callable[[list[Row]], str]] = {
    "ladder": tables.ladder,
    "summary": tables.summary,
    "tails": tables.tails,
    "memory": tables.memory,
    "layers": tables.layers,
    "gpu": gpu_tables.gpu,
}
MARKER = re.compile(r"(<!-- bench:(?P<name>[\w-]+) -->\n).*?(<!-- /bench:(?P=name) -->)", re.DOTALL)


def report(text: str, found: list[Row], page: Path) -> str:
    """A page with its sections written anew; ValueError on a section that nobody knows how to write."""

    def write(match: re.Match[str]) -> str:
        name = match["name"]
        if name == "plots":
            body = _plots(page)
        elif name in SECTIONS:
            body = SECTIONS[name](found)
        else:
            raise ValueError(f"{page.name}: no such section: bench:{name}; there are plots, {', '.join(SECTIONS)}")
        return f"{match[1]}\n{body}\n\n{match[3]}"

    return MARKER.sub(write, text)


def _plots(page: Path) -> str:
    """Links to all plots there are, relative to the page."""
    found = sorted(PLOTS.glob("*.png"))
    links = [f"![{p.stem.replace('-', ' ')}]({Path(os.path.relpath(p, page.parent)).as_posix()})" for p in found]
    return "\n\n".join(links) or "No plots yet."


def main() -> int:
    """Exit code 0; says which pages changed."""
    found = rows.read()
    for page in PAGES:
        if not page.exists():
            continue
        before = page.read_text(encoding="utf-8")
        after = report(before, found, page)
        if after != before:
            page.write_text(after, encoding="utf-8")
        print(f"{page.relative_to(ROOT)}: {'written' if after != before else 'as it was'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

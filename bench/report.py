"""``python -m bench.report``: write the tables of bench/README.md and README.md from the records.

A section stands between ``<!-- bench:NAME -->`` and ``<!-- /bench:NAME -->``; everything between the two is replaced,
nothing else is touched. Run twice, it changes nothing the second time.
"""

from __future__ import annotations

import re
from pathlib import Path

from .machine import ROOT
from .records import Entry, read
from .tables import SECTIONS

PAGES = (ROOT / "bench" / "README.md", ROOT / "README.md")
MARKER = re.compile(r"(<!-- bench:(?P<name>[\w-]+) -->\n).*?(<!-- /bench:(?P=name) -->)", re.DOTALL)


def written(text: str, entries: list[Entry]) -> str:
    """A page with its sections written anew; ValueError on a section that nobody knows how to write."""

    def write(match: re.Match[str]) -> str:
        if match["name"] not in SECTIONS:
            raise ValueError(f"no such section: bench:{match['name']}; there are {', '.join(SECTIONS)}")
        return f"{match[1]}\n{SECTIONS[match['name']](entries)}\n\n{match[3]}"

    return MARKER.sub(write, text)


def rewrite(page: Path, text: str) -> None:
    """Write a page if it is another, and say so."""
    changed = text != page.read_text(encoding="utf-8")
    if changed:
        page.write_text(text, encoding="utf-8")
    print(f"{page.relative_to(ROOT)}: {'written' if changed else 'as it was'}")


if __name__ == "__main__":
    found = read()
    for page in PAGES:
        rewrite(page, written(page.read_text(encoding="utf-8"), found))

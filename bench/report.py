"""``python -m bench --readme``: the tables of the pages, and the picture, from the records.

A section stands between ``<!-- bench:NAME -->`` and ``<!-- /bench:NAME -->``; everything between the two is replaced,
nothing else is touched. Run twice, it changes nothing the second time.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from . import front_page, tables
from .machine import ROOT
from .records import Entry, read

PAGES = (ROOT / "README.md", ROOT / "docs" / "benchmarks.md", ROOT / "docs" / "locomotion.md")
MARKER = re.compile(r"(<!-- bench:(?P<name>[\w-]+) -->\n).*?(<!-- /bench:(?P=name) -->)", re.DOTALL)
SHEETS = (
    "tails", "layers", "relatives", "load", "deadlines", "executor", "delays", "pruning", "imitation", "candidates",
)  # fmt: skip
SECTIONS = {
    "summary": front_page.summary, "suite": partial(tables.suite, clock="cpu"), "memory": tables.memory,
    "gpu": tables.gpu, **{what: partial(tables.sheets, what=what) for what in SHEETS},
}  # fmt: skip


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


def run() -> None:
    """Print the front page's tables, and write pages and picture."""
    entries = read()
    print("\n".join([front_page.summary(entries), "", *front_page.refused(entries)]))
    for page in PAGES:
        rewrite(page, written(page.read_text(encoding="utf-8"), entries))
    if not pictured(entries):
        front_page.draw(entries)
        print(f"{front_page.PICTURE.relative_to(ROOT)}: written")


def pictured(entries: list[Entry]) -> bool:
    """Whether the picture is of the tables that these records make."""
    digest, path = front_page.digest(entries), front_page.PICTURE
    return path.exists() and digest.encode() in path.read_bytes()

"""What the tests need, as pip takes it: the oldest versions that pyproject.toml admits, or its ranges.

python tests/packaging/oldest.py torch=2.6.0    a line `name==version` for each; some named otherwise
python tests/packaging/oldest.py --ranges       the package with its extras, as one editable requirement
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import tomllib

ROOT = Path(__file__).resolve().parents[2]
EXTRAS = ("torch", "gpu", "envs", "minari", "train")
# Tools that tests run with; those of lint and of the wheel are not needed.
TOOLS = ("pybind11", "setuptools", "wheel", "pytest", "pytest-benchmark", "pytest-xdist", "hypothesis")


def oldest(others: dict[str, str]) -> list[str]:
    """``name[extras]==version; marker`` of every requirement."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *(line for extra in EXTRAS for line in extras[extra])]
    lines += [line for line in extras["dev"] if re.match(r"[\w-]+", line)[0] in TOOLS]
    found = {}
    for line in lines:
        name, version = re.match(r"([\w-]+(?:\[[\w,]+\])?)(?:>=([\w.]+))?", line).groups()
        if version is not None:
            marker = line.partition(";")[2]
            found[name] = f"{name}=={others.get(name, version)}" + (f"; {marker.strip()}" if marker else "")
    return list(found.values())


if __name__ == "__main__":
    if sys.argv[1:] == ["--ranges"]:
        print(f".[{','.join(EXTRAS)}]")
    else:
        print("\n".join(oldest(dict(word.split("=", 1) for word in sys.argv[1:]))))

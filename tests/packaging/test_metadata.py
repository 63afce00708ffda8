"""pyproject.toml, requirements and the tree agree with each other."""

import re
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:  # the pins need 3.11; this keeps the rest of the suite collectable on 3.10
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
EXTRAS = PROJECT["optional-dependencies"]


def pins():
    """requirements/dev.txt -> {canonical name: exact version}."""
    found = {}
    for line in (ROOT / "requirements" / "dev.txt").read_text(encoding="utf-8").splitlines():
        line = line.partition("#")[0].partition(";")[0].strip()  # without a remark, and on whatever platform
        if line:
            name, exact, version = line.partition("==")
            assert exact and re.fullmatch(r"[\w.!+]+", version), f"not an exact pin: {line}"
            assert canonicalize_name(name) not in found, f"pinned twice: {name}"
            found[canonicalize_name(name)] = version
    return found


def required(extras):
    """Names of extras -> every requirement they and the package itself bring, our own extras followed."""
    lists = [
        PROJECT["dependencies"],
        PYPROJECT["build-system"]["requires"],
        *(EXTRAS[name] for name in extras),
    ]
    for requirement in (Requirement(text) for texts in lists for text in texts):
        if requirement.name == PROJECT["name"]:
            yield from required(sorted(requirement.extras))
        else:
            yield requirement


def test_packages_are_the_folders_on_disk():
    folders = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for path in (ROOT / "diffuser_fast").rglob("*")
        if path.suffix in (".py", ".safetensors") and "__pycache__" not in path.parts
    }
    kernels = {
        f"diffuser_fast.{'.'.join(path.parent.relative_to(ROOT).parts)}" for path in (ROOT / "kernels").rglob("*.py")
    }
    listed = PYPROJECT["tool"]["setuptools"]["packages"]
    assert listed == sorted(set(listed))
    assert set(listed) == folders | kernels


def test_every_pin_is_inside_its_range():
    pinned = pins()
    for requirement in required(["dev"]):
        name = canonicalize_name(requirement.name)
        assert name in pinned, f"requirements/dev.txt does not pin {name}"
        assert requirement.specifier.contains(pinned[name]), f"{name}=={pinned[name]} is outside {requirement}"


def test_ranges_are_ranges():
    """Users get honest lower bounds: no pins, no caps, and torch in extras only."""
    for name, texts in {"dependencies": PROJECT["dependencies"], **EXTRAS}.items():
        for requirement in map(Requirement, texts):
            if requirement.name != PROJECT["name"]:
                assert {clause.operator for clause in requirement.specifier} == {">="}, f"{name}: {requirement}"
    assert {Requirement(text).name for text in PROJECT["dependencies"]} == {
        "click",
        "numpy",
        "rich",
        "safetensors",
    }


def test_torch_stays_at_its_measured_release():
    """Another release of torch may bring gigabytes of GPU libraries into `make test`."""
    assert pins()["torch"] == "2.13.0"
    assert not [name for name in pins() if name.startswith("nvidia-")]


def test_extras_agree_on_bounds():
    bounds = {}
    for requirement in required(sorted(EXTRAS)):
        bounds.setdefault(canonicalize_name(requirement.name), set()).add(str(requirement.specifier))
    assert {name: found for name, found in bounds.items() if len(found) > 1} == {}

"""The layers: every import goes to a lower layer or stays in its package; no cycles, even between two files.

The checker reads source and imports nothing. It counts an import wherever it stands: hiding one inside a function
changes when a module is loaded, not who depends on whom. The second half builds small trees that break each rule.
"""

import ast
import graphlib
import re
import sys
import textwrap
from collections import deque
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOP = "diffuser_fast"

# Package (or module at the top) -> layer. An import must go to a lower layer or stay in its package. TOP itself is the
# lazy public interface: the modules below it do not import it, the command line may.
LAYERS = {
    "core": 0,
    "settings": 1,
    "kernels": 2, "_cpu": 2, "_cuda": 2, "pretrained": 2,
    "envs": 3, "data": 3, "formats": 3, "backends": 3,
    "planner": 4, "conformance": 4,
    "bundle": 5, "control": 5, "train": 5, "dropin": 5, TOP: 5,
    "cli": 6,
}  # fmt: skip

# backends/ has one package or module per engine, none of which imports another, and modules that they share; only its
# __init__, the registry, imports engines.
ENGINES = {"reference", "cpu", "triton", "cuda"}
SHARED = {"driver", "engine", "gpu", "pack"}

COMPILED = {"_cpu", "_cuda"}  # packages without source in Python
STDLIB = set(sys.stdlib_module_names)
FOREIGN = {"core": {"numpy"}, "kernels": {"torch", "triton"}}  # all these packages may import besides the stdlib

# What planning on the CPU engine from a native checkpoint loads; importing it may load none of HEAVY.
LIGHT = ["cli", "settings", "planner", "formats", "formats.native", "backends", "backends.cpu"]
HEAVY = {"torch", "triton", "mujoco", "gymnasium", "h5py", "matplotlib", "PIL", "onnxruntime", "openvino"}


def modules(root):
    """Path of the checkout -> {module name: file}."""
    found = {}
    for folder, prefix in ((root / TOP, TOP), (root / "kernels", f"{TOP}.kernels")):
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            found[".".join((prefix, *(parts[:-1] if parts[-1] == "__init__" else parts)))] = path
    return found


def package_of(module):
    """Dotted name -> the package it is in (or the module at the top that it is), None if it is not ours."""
    parts = module.split(".")
    return None if parts[0] != TOP else parts[1] if len(parts) > 1 else TOP


def engine_of(module):
    """Dotted name -> the engine it belongs to, "" for the shared part of backends, None outside backends."""
    parts = module.split(".")
    if parts[:2] != [TOP, "backends"]:
        return None
    return parts[2] if len(parts) > 2 and parts[2] in ENGINES else ""


def call_of_import(node):
    """importlib.import_module("name", ...) or __import__("name") -> name, else None."""
    if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        function = getattr(node.func, "attr", None) or getattr(node.func, "id", None)
        name = node.args[0].value
        return name if function in ("import_module", "__import__") and isinstance(name, str) else None
    return None


def imports(path, module, known):
    """One file -> (imported dotted name, line, whether loading the file runs it).

    `from a import b` is an import of a.b if that is a module, of a otherwise. Constant import_module calls count.
    """
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]

    def absolute(level, name):
        base = package.split(".")[: len(package.split(".")) - level + 1] if level else []
        return ".".join([*base, *([name] if name else [])])

    def named(node):
        if isinstance(node, ast.Import):
            return [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            base = absolute(node.level, node.module)
            children = {alias.name: f"{base}.{alias.name}" for alias in node.names}
            return [c if c in known or (base == TOP and name in LAYERS) else base for name, c in children.items()]
        if (name := call_of_import(node)) is not None:
            dots = len(name) - len(name.lstrip("."))
            return [absolute(dots, name[dots:])]
        return []

    def walk(node, at_load):
        for name in named(node):
            yield name, node.lineno, at_load
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.body:
                yield from walk(child, False)
            for child in node.orelse:
                yield from walk(child, at_load)
            return
        inside = at_load and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, inside)

    yield from walk(ast.parse(path.read_text(encoding="utf-8"), str(path)), True)


def unassigned(known):
    """Modules in no layer: whoever adds one decides where it belongs."""
    for module in known:
        parts = module.split(".")
        if package_of(module) not in LAYERS:
            yield f"{module}: in no layer; give it one in tests/test_layers.py"
        elif parts[1:2] == ["backends"] and len(parts) > 2 and parts[2] not in ENGINES | SHARED:
            yield f"{module}: neither an engine nor a shared module of backends; name it in tests/test_layers.py"


def verdict(here, there):
    """Two dotted names, the second imported by the first -> what is wrong with it, or None."""
    a, b = package_of(here), package_of(there)
    if b is None:
        first = there.split(".")[0]
        if a in FOREIGN and first not in FOREIGN[a] | STDLIB:
            return f"{a} may not import {first}"
    elif a not in LAYERS:
        return None  # unassigned, and reported as that
    elif b not in LAYERS:
        return f"{there} is in no layer"
    elif a == b:
        e, f = engine_of(here), engine_of(there)
        if e != f and f and here != f"{TOP}.backends":
            return f"backends.{e or here.split('.')[2]} may not import backends.{f}"
    elif a == "kernels" or LAYERS[b] >= LAYERS[a]:
        return f"{a} may not import {b}"
    return None


def loaded_by(starts, graph):
    """Modules -> {every module their import loads: how, as a chain of names}."""
    chains = {}
    queue = deque((start, start) for start in starts if start in graph)
    while queue:  # the shortest chain first
        module, chain = queue.popleft()
        if module not in chains:
            chains[module] = chain
            queue += [(name, f"{chain} -> {name}") for name in sorted(graph[module])]
    return chains


def check(root):
    """Path of a checkout -> sorted complaints."""
    known = modules(root)
    depends = {module: set() for module in known}  # every import
    loads = {module: set() for module in known}  # those that run when the module does, packages on the way included
    heavy = {module: [] for module in known}
    bad = list(unassigned(known))
    for module, path in known.items():
        where = path.relative_to(root)
        for name, line, at_load in imports(path, module, known):
            if (wrong := verdict(module, name)) is not None:
                bad.append(f"{where}:{line}: {wrong}")
            elif package_of(name) and name not in known and package_of(name) not in COMPILED:
                bad.append(f"{where}:{line}: there is no {name}")
            if name in known and name != module:
                depends[module].add(name)
                if at_load:
                    parts = name.split(".")
                    above = {".".join(parts[:n]) for n in range(1, len(parts) + 1)}
                    loads[module] |= above & known.keys() - {module}
            if at_load and name.split(".")[0] in HEAVY:
                heavy[module].append((line, name.split(".")[0]))
    for module, chain in loaded_by([TOP, *(f"{TOP}.{name}" for name in LIGHT)], loads).items():
        for line, name in heavy[module]:
            where = known[module].relative_to(root)
            bad.append(f"{where}:{line}: loads {name} on import ({chain}); import it where it is used")
    try:
        graphlib.TopologicalSorter(depends).prepare()
    except graphlib.CycleError as error:
        bad.append("cycle: " + " -> ".join(error.args[1]))
    return sorted(set(bad))


def check_oracle(root):
    """tests/oracle is the second opinion: it may import nothing of ours."""
    for path in sorted((root / "tests" / "oracle").rglob("*.py")):
        if path.name.startswith("test_"):
            continue
        for name, line, _ in imports(path, path.stem, {}):
            if package_of(name):
                yield f"{path.relative_to(root)}:{line}: the oracle may not import {name}"


def check_csrc(root):
    """Includes of the C++ tree: no torch anywhere, pybind11 in bind_*.cc only, csrc/cpu and csrc/cuda apart."""
    for path in sorted(p for p in (root / "csrc").rglob("*") if p.suffix in (".h", ".cc", ".cu", ".cuh")):
        where = path.relative_to(root)
        side = where.parts[1] if len(where.parts) > 2 else None
        for line, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            include = re.match(r"\s*#\s*include\s*[<\"]([^>\"]+)", text)
            if not include:
                continue
            header = include.group(1)
            first = header.removeprefix("../").split("/")[0].lower()
            if first in ("torch", "aten", "c10", "python.h"):
                yield f"{where}:{line}: no {header} here: csrc sees pointers, lengths and constants"
            elif first == "pybind11" and not path.name.startswith("bind_"):
                yield f"{where}:{line}: {header} belongs in bind_*.cc"
            elif {first, side} == {"cpu", "cuda"}:
                yield f"{where}:{line}: csrc/{side} may not include csrc/{first}"


def test_every_import_goes_to_a_lower_layer():
    found = check(ROOT)
    assert not found, "\n".join(found)


def test_the_oracle_is_independent():
    found = list(check_oracle(ROOT))
    assert not found, "\n".join(found)


def test_csrc_includes():
    found = list(check_csrc(ROOT))
    assert not found, "\n".join(found)


# ---- the checker itself: each small tree breaks one rule ----

SOUND = {
    f"{TOP}/__init__.py": "_LAZY = {'Planner': 'diffuser_fast.planner'}",
    f"{TOP}/core/__init__.py": "",
    f"{TOP}/core/ops.py": "import math\nimport numpy as np\n",
    f"{TOP}/core/program.py": "from . import ops\nfrom .ops import conv",
    f"{TOP}/settings.py": "from .core import ops",
    f"{TOP}/backends/__init__.py": "def ready():\n    from . import cpu, reference",
    f"{TOP}/backends/engine.py": "from diffuser_fast.core.program import Program",
    f"{TOP}/backends/reference.py": "import torch\nfrom .engine import Engine",
    f"{TOP}/backends/cpu.py": "from diffuser_fast import _cpu, settings\nfrom diffuser_fast.backends import engine",
    f"{TOP}/formats/__init__.py": "",
    f"{TOP}/formats/native.py": "def load():\n    import torch",
    f"{TOP}/planner.py": "import typing\nif typing.TYPE_CHECKING:\n    import torch\nfrom . import backends",
    f"{TOP}/train/module.py": "import torch\nfrom diffuser_fast.backends import reference",
    f"{TOP}/cli.py": "import diffuser_fast as dfx\ndef train():\n    from .train import module\n",
    "kernels/__init__.py": "",
    "kernels/conv_block.py": "import torch\nimport triton.language as tl\nfrom . import launch",
    "kernels/launch.py": "import os",
}  # fmt: skip


def build(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
    return folder


def test_a_sound_tree_passes(tmp_path):
    assert check(build(tmp_path, SOUND)) == []


@pytest.mark.parametrize(
    ("file", "text", "complaint"),
    [
        ("core/ops.py", "from diffuser_fast import planner", "core may not import planner"),
        ("core/ops.py", "from ..backends import engine", "core may not import backends"),
        ("core/ops.py", "from .. import settings", "core may not import settings"),
        ("core/ops.py", "import torch", "core may not import torch"),
        ("core/ops.py", "def f():\n    import scipy.signal", "core may not import scipy"),
        ("core/ops.py", "from . import program", "cycle: "),
        ("core/ops.py", "def f():\n    from .program import Program", "cycle: "),
        ("core/__init__.py", "from .program import Program\nimport diffuser_fast.core.program", ""),
        ("core/ops.py", "import importlib\nimportlib.import_module('diffuser_fast.cli')", "core may not import cli"),
        ("core/ops.py", "from importlib import import_module\nimport_module('..planner', __package__)", "core may not"),
        ("formats/native.py", "from diffuser_fast.backends import pack", "formats may not import backends"),
        ("backends/pack.py", "from diffuser_fast import envs", "backends may not import envs"),
        ("backends/cpu.py", "from . import reference", "backends.cpu may not import backends.reference"),
        ("backends/cpu.py", "from .reference import run", "backends.cpu may not import backends.reference"),
        ("backends/triton/conv.py", "from .. import cpu", "backends.triton may not import backends.cpu"),
        ("backends/engine.py", "from . import cpu", "backends.engine may not import backends.cpu"),
        ("backends/utilities.py", "", "backends.utilities: neither an engine"),
        ("planner.py", "from .train import module", "planner may not import train"),
        ("planner.py", "from . import dropin", "planner may not import dropin"),
        ("planner.py", "import diffuser_fast", "planner may not import diffuser_fast"),
        ("planner.py", "from diffuser_fast import Plans", "planner may not import diffuser_fast"),
        ("control/rollout.py", "from diffuser_fast.train import module", "control may not import train"),
        ("train/trainer.py", "from diffuser_fast.control import rollout", "train may not import control"),
        ("helpers.py", "", "helpers: in no layer"),
        ("extras/__init__.py", "", "extras: in no layer"),
        ("planner.py", "from diffuser_fast.core import nothing", ""),
        ("planner.py", "from diffuser_fast.core.nothing import thing", "there is no diffuser_fast.core.nothing"),
        ("planner.py", "from diffuser_fast.extras import thing", "diffuser_fast.extras is in no layer"),
        ("__init__.py", "import torch", "loads torch on import (diffuser_fast)"),
        ("cli.py", "from .train import module", "loads torch on import (diffuser_fast.cli -> diffuser_fast.train"),
        ("__init__.py", "from .backends import reference", "-> diffuser_fast.backends.reference)"),
        ("__init__.py", "try:\n    import h5py\nexcept ImportError:\n    h5py = None", "loads h5py on import"),
        ("formats/native.py", "import torch", "loads torch on import"),
        ("envs/maze2d.py", "import mujoco", ""),
        ("../kernels/launch.py", "from diffuser_fast.core import ops", "kernels may not import core"),
        ("../kernels/launch.py", "from diffuser_fast import settings", "kernels may not import settings"),
        ("../kernels/launch.py", "import scipy", "kernels may not import scipy"),
        ("../kernels/launch.py", "from . import conv_block", "cycle: "),
    ],
)  # fmt: skip
def test_the_checker_sees(tmp_path, file, text, complaint):
    path = file.removeprefix("../") if file.startswith("../") else f"{TOP}/{file}"
    found = check(build(tmp_path, SOUND | {path: text}))
    assert any(complaint in line for line in found) if complaint else not found, found


def test_the_checker_sees_the_oracle_and_csrc(tmp_path):
    build(
        tmp_path,
        {
            "tests/oracle/unet.py": "import numpy\nfrom diffuser_fast.core import ops",
            "csrc/cpu/run.cc": '#include <torch/all.h>\n#include "cuda/tile.cuh"\n#include "pool.h"',
            "csrc/cpu/pool.h": "#include <pybind11/pybind11.h>",
            "csrc/bind_cpu.cc": '#include <pybind11/pybind11.h>\n#include "cpu/run.h"',
        },
    )
    assert [line.partition(": ")[0] for line in check_oracle(tmp_path)] == ["tests/oracle/unet.py:2"]
    assert [line.partition(": ")[0] for line in check_csrc(tmp_path)] == [
        "csrc/cpu/pool.h:1",
        "csrc/cpu/run.cc:1",
        "csrc/cpu/run.cc:2",
    ]

"""Error bounds kept in a folder: the processes of a run, and runs one after another, compute each of them once.

    pytest tests/backends --bounds=FOLDER

A bound depends on nothing but the computation (conformance/error_bounds.py), so it is kept by a digest of its
arguments, in a folder for the digest of the code that computes it. Those of float64 are not kept: beside them the
rounding of the evaluation itself is not small, and it is torch's, whose kernels a run may choose.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST = 1 << 28  # bytes: a folder of any number of such would fill a disk


def install(folder: Path) -> None:
    """For whoever imports the bounds from now on. Called from conftest.py, before tests are imported."""
    from diffuser_fast import conformance
    from diffuser_fast.conformance import runs

    folder = tidy(folder)
    for name in ("implied_by_program", "implied_by_plan"):
        its = kept(getattr(conformance, name), folder)
        for module in (conformance, runs):
            setattr(module, name, its)


def tidy(folder: Path) -> Path:
    """The folder for today's code, in this one; those of other code are removed."""
    (own := folder / code()).mkdir(parents=True, exist_ok=True)
    for other in folder.iterdir():
        if other != own:
            shutil.rmtree(other, ignore_errors=True)
    return own


def kept(compute: Callable[..., Any], folder: Path) -> Callable[..., Any]:
    """``implied_by_program`` or ``implied_by_plan``, which looks into the folder first."""
    from diffuser_fast.conformance import ARITHMETIC, Arithmetic, Implied, ImpliedPlan

    fields = ("x", "values", "chain")

    def computed_or_read(arguments: tuple, options: dict[str, Any]) -> Any:
        try:
            path = folder / f"{digest(compute.__name__, arguments, options)}.npz"
        except (pickle.PicklingError, AttributeError, TypeError):  # a function is in it: what it does is not seen
            return compute(*arguments, **options)
        if path.exists():
            with np.load(path) as file:
                names = dict.fromkeys(name.rpartition("/")[0] for name in file.files)
                read = {name: Implied(file[f"{name}/exact"], file[f"{name}/errors"]) for name in names}
            return ImpliedPlan(**read) if compute.__name__ == "implied_by_plan" else read
        found = compute(*arguments, **options)
        its = found if isinstance(found, dict) else {field: getattr(found, field) for field in fields}
        write(path, {f"{name}/{part}": getattr(one, part) for name, one in its.items() for part in ("exact", "errors")})
        return found

    @wraps(compute)
    def implied(*arguments: Any, **options: Any) -> Any:
        given = (one for one in (*arguments, *options.values()) if isinstance(one, Arithmetic))
        if ARITHMETIC["float64"] in given:
            return compute(*arguments, **options)
        return computed_or_read(arguments, options)

    return implied


def write(path: Path, arrays: dict[str, NDArray]) -> None:
    """Unless they are large: beside its name first, for another process may read it at any time."""
    if sum(array.nbytes for array in arrays.values()) > LARGEST:
        return
    own = path.with_name(f"{os.getpid()}-{path.name}")
    np.savez(own, **arrays)
    own.replace(path)


def digest(*what: Any) -> str:
    """Of what a bound is computed from."""
    total = hashlib.sha256()
    for part in parts(what):
        total.update(part)
    return total.hexdigest()[:40]


@lru_cache(maxsize=1)
def code() -> str:
    """A digest of the modules that compute bounds, and of the libraries' versions."""
    import torch

    import diffuser_fast

    package, total = (
        Path(diffuser_fast.__file__).parent,
        hashlib.sha256(f"{np.__version__} {torch.__version__}".encode()),
    )
    names = [f"conformance/{name}.py" for name in ("arithmetic", "error_bounds", "implied", "monte_carlo")]
    for pattern in ("core/**/*.py", "backends/reference*", *names):
        for path in sorted(package.glob(pattern)):
            total.update(path.read_bytes())
    return total.hexdigest()[:16]


def parts(what: Any) -> Iterator[bytes]:
    """Bytes that two things share only if they are alike. Those of pickle are not the same in every process: sets."""
    yield type(what).__name__.encode()
    if isinstance(what, np.ndarray):
        yield f"{what.dtype.str}{what.shape}".encode()
        yield np.ascontiguousarray(what).tobytes()
    elif isinstance(what, Mapping):
        for key, value in what.items():
            yield from parts(key)
            yield from parts(value)
    elif isinstance(what, tuple | list):
        yield f"{len(what)}".encode()
        for one in what:
            yield from parts(one)
    elif isinstance(what, set | frozenset):
        yield from sorted(b"".join(parts(one)) for one in what)
    elif hasattr(what, "__dataclass_fields__"):
        yield from parts({name: getattr(what, name) for name in what.__dataclass_fields__})
    else:
        yield pickle.dumps(what)

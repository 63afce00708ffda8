"""A cost as a network: what it takes from a value, as ops that every engine has.

Level by level, the bends of forms are rows of a convolution over the plan's columns and all bends below, and then an
activation; its taps are the times that forms look ahead. A dense layer adds everything up over time. Normalisers are
affine and so are folded into weights.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from .checkpoint import Checkpoint
from .cost import Bent, Cost, Entry, Form
from .program import Builder, Program

Weights = dict[str, NDArray[np.float32]]


def with_cost(value: Program | None, cost: Cost, checkpoint: Checkpoint, horizon: int) -> tuple[Program, Weights]:
    """The Program of ``value`` (None: 0) less the cost, ``x [D, H] -> y [1, 1]``, and the cost's own weights.

    ValueError if a form is of what the checkpoint's plans do not have.
    """
    columns = Columns(checkpoint)
    builder = Builder((checkpoint.unet.spec.transition_dim, horizon)) if value is None else Builder.extending(value)
    x, weights = builder.inputs["x"], {}
    rows: dict[Entry | Bent, int] = {}  # of bends that are made: which channel of ``seen``
    seen, width = x, builder.shapes[x][0]

    def row(form: Form, reach: int) -> tuple[NDArray, float]:
        """A form's factors of the channels of ``seen``, now and up to ``reach`` later, and its constant."""
        factors, constant = np.zeros((width, reach + 1)), form.constant
        for term, factor in form.terms:
            if isinstance(term, Entry):
                at, scale, offset = columns[term]
                factors[at, term.later] += factor * scale
                constant += factor * offset
            else:
                factors[rows[term], 0] += factor
        return factors, constant

    bends = _bends(part.form for part in cost.parts)
    for level in range(1, 1 + max((bend.level for bend in bends), default=0)):
        below, found = seen, []
        for act in ("square", "relu"):
            many = [bend for bend in bends if bend.level == level and bend.act == act]
            if many:
                name = f"cost.{level}.{act}"
                reach = max(bend.of.later for bend in many)
                factors, constants = zip(*(row(bend.of, reach) for bend in many), strict=True)
                past = np.zeros((len(many), width, reach))  # taps lie around a time, and none looks back
                weights[f"{name}.weight"] = np.concatenate((past, np.stack(factors)), axis=2).astype(np.float32)
                weights[f"{name}.bias"] = np.array(constants, np.float32)
                found.append((many, builder.act(builder.conv(below, name, len(many), k=2 * reach + 1), act)))
        for many, made in found:
            rows |= {bend: width + n for n, bend in enumerate(many)}
            seen, width = builder.concat(seen, made), width + len(many)
    total, constant = np.zeros((width, horizon)), 0.0
    for part in cost.parts:
        factors, own = row(part.form, part.form.later)
        times = part.weights(horizon)
        for later in range(factors.shape[1]):
            total[:, later : later + len(times)] += factors[:, later, None] * times
        constant += own * times.sum()
    weights["cost.sum.weight"] = (-total[None]).astype(np.float32)
    weights["cost.sum.bias"] = np.array([-constant], np.float32)
    y = builder.conv(seen, "cost.sum", 1, k=horizon, pad=0)
    return builder.done(y=y if value is None else builder.add(value.outputs["y"], y)), weights


class Columns:
    """Where an entry of a form lies in a plan, and how it is made from the normalised number there."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint

    def __getitem__(self, entry: Entry) -> tuple[int, float, float]:
        """Column of x, scale, offset: physical = scale x + offset."""
        checkpoint, observed = self.checkpoint, entry.field == "observation"
        actions, observations = checkpoint.columns
        columns = observations if observed else actions
        count = columns.stop - columns.start
        if entry.dim >= count:
            raise ValueError(f"cost: {entry.field} {entry.dim} of plans that hold {count} dimensions of it")
        if checkpoint.normalizers is None:
            raise ValueError("cost: the checkpoint has no normaliser statistics, and costs are in physical units")
        normalizer = checkpoint.normalizers.observations if observed else checkpoint.normalizers.actions
        if normalizer.straight is None:
            raise ValueError(
                f"cost: the {entry.field}'s normaliser ({type(normalizer).__name__}) is not a straight line"
            )
        scale, offset = normalizer.straight
        return columns.start + entry.dim, float(scale[entry.dim]), float(offset[entry.dim])


def _bends(forms: Iterable[Form]) -> list[Bent]:
    """Every bend once, in the order in which they are met."""
    found: dict[Bent, None] = {}

    def visit(form: Form) -> None:
        for term, _ in form.terms:
            if isinstance(term, Bent) and term not in found:
                visit(term.of)
                found[term] = None

    for form in forms:
        visit(form)
    return list(found)

"""Costs that a plan shall keep low, written as formulas of its observations and actions (Janner et al. 2022, sec. 3.2).

A ``Form`` is a number for each time of a plan: an observation or an action in physical units, now or one time later;
sums, multiples, squares and hinges of forms. A ``Cost`` adds a form up over the times of a plan, and
core/cost_network.py makes a network of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arrays import as_numbers
from .scalars import real, shown, whole


@dataclass(frozen=True)
class Entry:
    """A dimension of the observation or of the action, in physical units, so many times later."""

    field: str
    dim: int
    later: int = 0

    @property
    def reach(self) -> int:
        """How far behind a time lies what is read."""
        return self.later

    def next(self) -> Entry:
        """A time later."""
        return replace(self, later=self.later + 1)


@dataclass(frozen=True)
class Bent:
    """A function of a form, time by time: "square", or "relu", which is the hinge max(0, form)."""

    act: str
    of: Form

    @property
    def level(self) -> int:
        """How many bends lie one in the other: 1 for that of a form without any."""
        return 1 + max((term.level for term, _ in self.of.terms if isinstance(term, Bent)), default=0)

    @property
    def reach(self) -> int:
        """As of an entry."""
        return self.of.reach

    def next(self) -> Bent:
        """A time later."""
        return replace(self, of=self.of.next())


@dataclass(frozen=True)
class Form:
    """A number for each time of a plan: the sum of terms, each with its factor, and of a constant."""

    terms: tuple[tuple[Entry | Bent, float], ...] = ()
    constant: float = 0.0

    # numpy's numbers and arrays leave arithmetic with a form to the form.
    __array_ufunc__ = None

    def __add__(self, other: Form | float) -> Form:
        other = _form(other)
        factors: dict[Entry | Bent, float] = {}
        for term, factor in (*self.terms, *other.terms):
            factors[term] = factors.get(term, 0.0) + factor
        terms = tuple((term, factor) for term, factor in factors.items() if factor != 0)
        return Form(terms, self.constant + other.constant)

    __radd__ = __add__

    def __mul__(self, factor: float) -> Form:
        if isinstance(factor, Form):
            raise TypeError("form: a product of two forms is no form; found one, expected a number (squares are: x**2)")
        factor = real("factor", factor)
        return Form(tuple((term, factor * f) for term, f in self.terms if factor), factor * self.constant)

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> Form:
        return self * (1 / real("divisor", divisor))

    def __neg__(self) -> Form:
        return self * -1.0

    def __sub__(self, other: Form | float) -> Form:
        return self + -_form(other)

    def __rsub__(self, other: Form | float) -> Form:
        return _form(other) - self

    def __pow__(self, power: int) -> Form:
        """Squares only: two of them, one in the other, are a fourth power."""
        if power != 2:
            raise ValueError(f"power: found {shown(power)}, expected 2")
        return Form(((Bent("square", self), 1.0),))

    @property
    def later(self) -> int:
        """How far its own entries look ahead, those of its bends left aside."""
        return max((term.later for term, _ in self.terms if isinstance(term, Entry)), default=0)

    @property
    def reach(self) -> int:
        """How many of a plan's last times it has no number for."""
        return max((term.reach for term, _ in self.terms), default=0)

    def next(self) -> Form:
        """The form one time later: ``x.next() - x`` is how far a plan moves from each time to the next."""
        return replace(self, terms=tuple((term.next(), factor) for term, factor in self.terms))

    def hinge(self) -> Form:
        """max(0, form): no cost below zero, and no gradient."""
        return Form(((Bent("relu", self), 1.0),))

    def __call__(self, observations: ArrayLike, actions: ArrayLike) -> NDArray[np.float64]:
        """Of plans in physical units, observations ``[..., H, O]`` and actions ``[..., H, A]`` -> ``[..., H]``, in
        float64; not a number at the last times of what is read later."""
        given = {"observation": observations, "action": actions}
        fields = {name: as_numbers(f"{name}s", value, finite=False) for name, value in given.items()}
        total = np.full(fields["observation"].shape[:-1], self.constant)
        for term, factor in self.terms:
            if isinstance(term, Entry):
                found = np.full(total.shape, np.nan)
                found[..., : total.shape[-1] - term.later] = fields[term.field][..., term.later :, term.dim]
            else:
                inner = term.of(observations, actions)
                found = inner**2 if term.act == "square" else np.maximum(inner, 0)
            total = total + factor * found
        return total


@dataclass(frozen=True)
class Part:
    """A form with its weight, at these times of a plan (negative ones count from its end); None: wherever it is."""

    form: Form
    weight: float
    at: tuple[int, ...] | None

    def weights(self, horizon: int) -> NDArray[np.float64]:
        """Of each time at which the form is a number, ``[H - reach]``; ValueError if one lies outside."""
        if self.form.reach >= horizon:
            raise ValueError(f"form: it is of what comes {self.form.reach} later, and the horizon is {horizon}")
        found = np.zeros(horizon)
        for t in range(horizon - self.form.reach) if self.at is None else self.at:
            if not -horizon <= t < horizon:
                raise ValueError(f"at: time {t} is outside the horizon {horizon}")
            found[t] += self.weight
        if found[(last := horizon - self.form.reach) :].any():
            raise ValueError(
                f"at: the form is of what comes {self.form.reach} later, so that {last - 1} is its last time"
            )
        return found[:last]


class Cost:
    """What a plan shall keep low: ``weight`` times a form, added up over the times ``at`` (None: over all).

        x, y = dfx.Cost.observation(0), dfx.Cost.observation(1)
        inside = (0.5**2 - (x - 2) ** 2 - (y - 3) ** 2).hinge()
        planner = dfx.Planner(checkpoint, cost=dfx.Cost(inside, weight=20))

    Forms are in physical units. at: a time or several; negative ones count from the end. Costs are added with ``+``. A
    planner with a cost is guided by its value network, if it has one, less the cost, with the gradient of both, and
    ranks by that. Every engine runs it as part of the guide's network. Raises ValueError or TypeError, naming the
    argument.
    """

    def __init__(self, form: Form, weight: float = 1.0, at: int | Sequence[int] | None = None) -> None:
        if not isinstance(form, Form):
            raise TypeError(f"form: expected a form of Cost.observation and Cost.action, found {type(form).__name__}")
        if at is not None:
            times = [at] if np.ndim(at) == 0 else list(at)
            at = tuple(whole("at", t, -(2**31), 2**31 - 1) for t in times)
        self.parts: tuple[Part, ...] = (Part(form, real("weight", weight), at),)

    def __add__(self, other: Cost) -> Cost:
        if not isinstance(other, Cost):
            return NotImplemented
        both = object.__new__(Cost)
        both.parts = self.parts + other.parts
        return both

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cost) and self.parts == other.parts

    def __hash__(self) -> int:
        return hash(self.parts)

    def __call__(self, observations: ArrayLike, actions: ArrayLike) -> NDArray[np.float64]:
        """Of plans in physical units: ``[..., H, O]`` and ``[..., H, A]`` -> ``[...]``, in float64."""
        observations = as_numbers("observations", observations, finite=False)
        actions = as_numbers("actions", actions, finite=False)
        for name, array in (("observations", observations), ("actions", actions)):
            if array.ndim < 2:
                raise ValueError(f"{name}: expected shape [..., H, D], found {list(array.shape)}")
        horizon = observations.shape[-2]
        weights = [part.weights(horizon) for part in self.parts]
        forms = (part.form(observations, actions) for part in self.parts)
        return np.sum([form[..., : len(w)] @ w for form, w in zip(forms, weights, strict=True)], axis=0)

    @staticmethod
    def observation(dim: int) -> Form:
        """Dimension ``dim`` of the observation at each time, in physical units."""
        return Form(((Entry("observation", whole("dim", dim, 0)), 1.0),))

    @staticmethod
    def action(dim: int) -> Form:
        """Dimension ``dim`` of the action at each time, in physical units."""
        return Form(((Entry("action", whole("dim", dim, 0)), 1.0),))

    @classmethod
    def keep_out(cls, center: ArrayLike, radius: float, weight: float = 1.0, dims: Sequence[int] = (0, 1)) -> Cost:
        """Stay out of a ball around ``center``: how far inside it a plan is, radius^2 - distance^2, where that is
        positive. dims: the observation's dimensions that ``center`` is in."""
        return cls((real("radius", radius) ** 2 - _distance(center, dims)).hinge(), weight)

    @classmethod
    def waypoint(
        cls, position: ArrayLike, at: int | Sequence[int], weight: float = 1.0, dims: Sequence[int] = (0, 1)
    ) -> Cost:
        """Be near ``position`` at that time: the squared distance. dims: as of ``keep_out``."""
        return cls(_distance(position, dims), weight, at)

    @classmethod
    def speed_limit(cls, limit: float, weight: float = 1.0, dims: Sequence[int] = (2, 3)) -> Cost:
        """Be no faster than ``limit``: speed^2 - limit^2, where that is positive. dims: the velocity's dimensions in
        the observation."""
        still = [0.0] * len(dims)
        return cls((_distance(still, dims) - real("limit", limit) ** 2).hinge(), weight)

    @classmethod
    def step_limit(cls, limit: float, weight: float = 1.0, dims: Sequence[int] = (0, 1)) -> Cost:
        """Move no further than ``limit`` from each time to the next: step^2 - limit^2, where that is positive. dims:
        the position's dimensions in the observation."""
        steps = [(cls.observation(dim).next() - cls.observation(dim)) ** 2 for dim in dims]
        return cls((sum(steps, Form()) - real("limit", limit) ** 2).hinge(), weight)


def _form(given: Form | float) -> Form:
    return given if isinstance(given, Form) else Form(constant=real("form", given))


def _distance(center: ArrayLike, dims: Sequence[int]) -> Form:
    """Squared, of the observation's dimensions from a point."""
    point = as_numbers("center", center)
    if point.shape != (len(dims),):
        raise ValueError(f"center: found {list(point.shape)} numbers, expected one for each of dims {list(dims)}")
    total = Form()
    for dim, at in zip(dims, point, strict=True):
        total = total + (Cost.observation(dim) - float(at)) ** 2
    return total

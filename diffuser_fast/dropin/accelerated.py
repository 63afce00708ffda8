"""What ``accelerate`` returns: another library's call, by a Planner that is made again when its object changes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from numpy.typing import NDArray

from ..core.noise import tape as drawn
from ..planner import Planner, Plans
from ..planner.turns import Turns
from .check import agreeing
from .subject import Reading, Settings, Subject, situations
from .watch import Watch

# Of a Planner's arguments those that change plans on purpose: a comparison is made without them.
APPROXIMATIONS = ("precision", "sampler", "n_steps", "eta", "cost")
# Those that another library's calls leave no room for, and what has them instead.
NO_PLACE = {
    "warm_start": "a call of the object knows of no plan before it; Planner.act does",
    "horizon": "the object says it itself, or its calls do",
}
REMEMBERED = 16  # comparisons


class Accelerated:
    """Called as the object it stands for; every other attribute is that object's own, to read and to assign.

    ``planner`` is ours. At each call weights, normaliser, sampling arguments and the code behind them are looked at:
    what has changed is read again, and compared if it is code. (What is written through a tensor's ``.data`` cannot be
    seen on a GPU, nor a few numbers of a large tensor anywhere: ``refresh`` reads and compares everything.) It copies
    and pickles as well as the object does, and a copy goes on with the same noise. One thread at a time: another gets
    BusyError.
    """

    _OWN = frozenset(("_subject", "_options", "_noise", "_check", "_proven", "_chosen", "_count", "_planner", "_watch",
                      "_settings", "_turns"))  # fmt: skip

    def __init__(
        self, subject: Subject, *, noise: str, check: bool | Mapping[int, Any], options: Mapping[str, Any]
    ) -> None:
        if refused := [name for name in NO_PLACE if name in options]:
            raise ValueError(f"{refused[0]}: {NO_PLACE[refused[0]]}")
        # A call's arguments stay with the subject until it is over: another thread's would take their place.
        self._turns = Turns("policy")
        self._subject, self._noise, self._check = subject, noise, check
        self._options = {"batch_size": 1, "clip_scope": "array", **options}
        self._proven: dict[Any, float] = {}  # what a comparison vouches for -> the strongest guidance compared
        self._chosen = 0  # of the readings
        self._count = (None, 0)  # seed and number of the next plan, where there is no planner
        self._planner: Planner | None = None
        self._watch: Watch | None = None
        self._settings: Settings | None = None
        self._current()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As the object it stands for is called."""
        with self._turns.taken():
            return self._subject.call(self._plan, *args, **kwargs)

    @property
    def policy(self) -> Any:
        """The object it stands for."""
        return self._subject.target

    @property
    def planner(self) -> Planner:
        """The Planner of the object as it is now."""
        with self._turns.taken():
            return self._current()

    def refresh(self) -> None:
        """Read everything again, and compare it."""
        with self._turns.taken():
            self._ready(self._subject.settings(), anew=True)

    def _method(self, name: str, *args: Any, **kwargs: Any) -> Any:
        with self._turns.taken():
            return getattr(self._subject, name, self._subject.call)(self._plan, *args, **kwargs)

    def _plan(
        self, conditions: Mapping[int, Any], batch_size: int, *, return_chain: bool = False, condition: Any = None,
        first: NDArray | None = None,
    ) -> Plans:  # fmt: skip
        planner, count = self._current(), situations(conditions, condition)
        tape, samples, number = None, batch_size * (count or 1), planner.number
        if self._noise == "torch":
            tape = self._subject.torch_tape(samples, planner.horizon, planner.loop.rows, first)
        elif first is not None:
            depth = planner.loop.transition_dim
            tape = drawn(planner.seed, number, planner.loop.rows, samples, planner.horizon, depth, batch_size)
            tape[0] = first
        if tape is not None and count is not None:
            tape = tape.reshape(len(tape), count, batch_size, *tape.shape[2:])
        plans = planner.plan(conditions, tape, return_chain, condition=condition, batch_size=batch_size)
        if tape is not None and self._noise != "torch":
            planner.reset(number=number + (count or 1))  # whose noise was drawn for it
        return plans

    def _current(self) -> Planner:
        settings = self._subject.settings()
        if self._planner is None or settings != self._settings or self._watch.changed():
            self._ready(settings)
        return self._planner

    def _ready(self, settings: Settings, anew: bool = False) -> None:
        """Read the object as it is now, compare it if nothing vouches for these settings, and make a planner."""
        watch = Watch(self._subject.modules())
        readings = self._subject.readings(settings)
        anew = anew or (self._watch is not None and watch.rebuilt(self._watch))
        proven, strength = {} if anew else self._proven, 0.0
        if not self._check or _vouched(proven, settings):
            reading = readings[self._chosen if self._chosen < len(readings) else 0]
            planner = _planner(reading, self._options)
        else:
            reading, planner, shown = self._compare(readings)
            strength = settings.strength if shown else 0.0
        seed, number = self._count if self._planner is None else (self._planner.seed, self._planner.number)
        planner.reset(seed, number=number)
        # Nothing is assigned before all of it has worked: a refusal leaves what there was.
        strongest = max(strength, proven.get(settings.proof, 0.0))
        kept = list(proven.items())[-REMEMBERED:]
        self._proven = {**dict(kept), settings.proof: strongest}
        self._planner, self._watch, self._settings = planner, watch, settings
        self._chosen = readings.index(reading)

    def _compare(self, readings: list[Reading]) -> tuple[Reading, Planner, bool]:
        """The reading that plans as the object does, its planner, and whether its guide has shown itself.
        Approximations wait until it is found."""
        doubt = self._subject.doubt()
        if doubt:
            raise ValueError(f"policy: {doubt}; check=False takes it as it is read")
        exact = {name: value for name, value in self._options.items() if name not in APPROXIMATIONS}
        planners: list[Planner] = []

        def planner_of(reading: Reading) -> Planner:
            planners.append(_planner(reading, exact))
            return planners[-1]

        conditions = self._check if isinstance(self._check, Mapping) else None
        torch_noise = self._noise == "torch"
        found, shown = agreeing(self._subject, readings, planner_of, conditions, torch_noise=torch_noise)
        same = exact.keys() == self._options.keys()
        planner = planners[found] if same else _planner(readings[found], self._options)
        return readings[found], planner, shown

    def __getattr__(self, name: str) -> Any:
        # Asked for by copy and pickle before there is anything to hand on, and never to be handed on.
        if name in Accelerated._OWN or (name.startswith("__") and name.endswith("__")):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        if name in self._subject.methods:
            return partial(self._method, name)
        return getattr(self._subject.target, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._OWN:
            object.__setattr__(self, name, value)
        elif name in ("policy", "planner"):
            raise AttributeError(f"{name}: cannot be assigned; accelerate(policy) makes another")
        else:
            setattr(self._subject.target, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._subject.target, name)

    def __getstate__(self) -> dict[str, Any]:
        """The object and what was asked for; a planner is made again from them."""
        planner = self._planner
        count = self._count if planner is None else (planner.seed, planner.number)
        own = {name: getattr(self, name) for name in ("_subject", "_options", "_noise", "_check", "_chosen")}
        return {**own, "_count": count}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)
        self._turns = Turns("policy")
        self._proven = {}  # the object may have changed since: it is compared again at its first call
        self._planner = self._watch = self._settings = None


def _planner(reading: Reading, options: Mapping[str, Any]) -> Planner:
    return Planner(reading.checkpoint, horizon=reading.horizon, guide=reading.guide, **options)


def _vouched(proven: Mapping[Any, float], settings: Settings) -> bool:
    """Whether a comparison was made under the like of these settings: guided a tenth as strongly at least."""
    strongest = proven.get(settings.proof)
    return strongest is not None and settings.strength <= 10 * strongest

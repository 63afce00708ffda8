"""A SamplingLoop -> the stages of a whole plan: of its networks, of the trajectories between them, and their order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...core.loop import SamplingLoop
from ...core.passes import View
from .compile import CompiledProgram, Weights, compiled, finished, row_floats
from .order import Part, parts
from .stages import Flag, Kind, Stage, StageList


def loop_stages(loop: SamplingLoop, *, group: int = 1, start: int = 0, gradient_scale: float = 1.0) -> StageList:
    """The stages of one plan, from denoising step ``start`` on. group: trajectories of one arena.

    gradient_scale: what the guide's gradient begins with, so that in narrow precisions small ones do not vanish; who
    runs the stages divides gx and g0 by it.
    """
    return _Builder(loop, group, gradient_scale).done(start)


class _Builder:
    """Sections of stages, and the script that names them."""

    def __init__(self, loop: SamplingLoop, group: int, gradient_scale: float) -> None:
        self.loop, self.group = loop, group
        self.weights, self.stages = Weights(), []
        guide, ld = loop.guide, row_floats(loop.transition_dim)
        state = loop.horizon * ld
        # What outlives a network lies below what the networks work in, which they share: of two that follow each other
        # the first has left nothing but its result, and that is used at once. Where g0 adds a gradient to x0 the
        # denoiser's result has to wait for it.
        self.x, self.previous = View(0, ld, 0), View(state, ld, 0) if loop.steps.d.any() else None
        dy = View(2 * state if self.previous else state, row_floats(1), 0)
        base = dy.offset + (dy.ld if guide else 0)
        placed = {"x": self.x, "dy": dy}

        def one(network, program, base: int, which: int) -> CompiledProgram:
            there = {name: at for name, at in placed.items() if name in program.inputs}
            return compiled(program, network.weights, self.weights, placed=there, base=base, network=which)

        self.denoiser = one(loop.denoiser, loop.denoiser.fused, base, 0)
        self.arena = self.denoiser.size
        self.gradient = self.value = None
        if guide is not None:
            above = self.denoiser.size if loop.steps.g0.any() else base
            self.gradient = one(guide, guide.gradient, above, 1)
            self.value = one(guide, guide.fused, base, 1)
            self.arena = max(self.arena, self.gradient.size, self.value.size)
        self.begin = self._section([self._stage(Kind.BEGIN, y=self.x, p=dy if guide else None, scalar=gradient_scale)])

    def done(self, start: int) -> StageList:
        """The sections in use, and the script."""
        script = list(self._script(start))
        return finished(self.stages, script, self.weights, self.arena, self.group)

    def _script(self, start: int) -> Iterator[tuple[int, int, int, int]]:
        """Which stages follow which, denoising step after denoising step."""
        steps, last = self.loop.steps, self.loop.rows - 1
        update = {"x": self.denoiser.outputs["y"], "y": self.x, "u": self.previous}
        sections = {
            Part.BEGIN: self.begin,
            Part.DENOISER: self._section(self.denoiser.stages),
            Part.UPDATE: self._section([self._stage(Kind.UPDATE, **update)]),
        }
        endings = [self._stage(Kind.FINISH, x=self.x)]
        if self.gradient is not None:
            dx = self.gradient.outputs["dx"]
            sections |= {
                Part.GRADIENT: self._section(self.gradient.stages),
                Part.GUIDANCE: self._section([self._stage(Kind.GUIDANCE, x=dx, y=self.x)]),
                Part.VALUE: self._section(self.value.stages),
                Part.RANK: self._section([self._kept(self.gradient if steps.guide_steps[-1] else self.value)]),
            }
            corrected = self._section([self._stage(Kind.UPDATE, **update, r=dx)])
            endings.append(self._stage(Kind.RANK))
        for k, part in parts(self.loop, start):
            flags = Flag.FIRST * (k == start) | Flag.LAST * (k == last)
            yield (*(corrected if part is Part.UPDATE and steps.g0[k] else sections[part]), k, flags)
        yield (*self._section(endings), last, Flag.LAST)

    def _section(self, stages: Sequence[Stage]) -> tuple[int, int]:
        """Adds stages; which they are."""
        self.stages += stages
        return len(self.stages) - len(stages), len(stages)

    def _stage(self, kind: Kind, **fields) -> Stage:
        """One over the trajectories."""
        depth, length = self.loop.transition_dim, self.loop.horizon
        sizes = {"ci": depth, "h_in": length, "co": depth, "h": length, "cr": depth if fields.get("r") else 0}
        return Stage(kind, **sizes, **fields, name=kind.name.lower())

    @staticmethod
    def _kept(network: CompiledProgram) -> Stage:
        return Stage(Kind.KEEP_VALUE, network=1, x=network.outputs["y"], ci=1, h_in=1, co=1, h=1, name="keep_value")

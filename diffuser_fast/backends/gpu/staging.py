"""Staging buffers: what goes into a plan and what comes out, each in one piece of 4-byte words, so each is one copy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...core.conditions import Inpainting
from ...core.loop import PlanTables, Result, SamplingLoop, TimeTables, not_finite
from ..engine import Noise, Seeded
from .refs import Ref

ALIGN = 16  # words: every field begins at a multiple of 64 bytes


@dataclass(frozen=True)
class TableForm:
    """The form of time-embedding tables: whether ``per_step`` has a row for each sample, whether there is a
    ``per_sample``."""

    each: bool = False
    per_sample: bool = False

    @classmethod
    def of(cls, tables: TimeTables) -> TableForm:
        """That of these tables."""
        return cls(tables.per_step.shape[1] > 1, tables.per_sample is not None)


@dataclass(frozen=True)
class Mode:
    """What differs between plans in more than numbers; each has its own list of launches and its own graph.

    start: the first denoising step. given: whether x is given there. tape: noise from the caller instead of a seed.
    denoiser_tables, guide_tables: the form of this plan's own time-embedding tables; None: the loop's. inpaint_each:
    inpainted values for every plan of the batch. candidates: plans are ranked within groups of so many. chain: every
    denoising step's x is wanted.
    """

    start: int = 0
    given: bool = False
    tape: bool = False
    denoiser_tables: TableForm | None = None
    guide_tables: TableForm | None = None
    inpaint_each: bool = False
    candidates: int = 1
    chain: bool = False


@dataclass(frozen=True)
class Field:
    """One array of a staging buffer: offset in words, shape, "float32" or "int32"; ld: words from row to row."""

    offset: int
    shape: tuple[int, ...]
    dtype: str
    ld: int

    @property
    def words(self) -> int:
        """Its size, padding of rows included."""
        return int(np.prod(self.shape[:-1], dtype=np.int64)) * self.ld

    def of(self, buffer: NDArray) -> NDArray:
        """The field within the buffer (one-dimensional, float32), sharing its memory."""
        words = buffer[self.offset : self.offset + self.words].reshape(*self.shape[:-1], self.ld)
        return words[..., : self.shape[-1]].view(self.dtype)


class StagingBuffer:
    """Named fields one after another."""

    def __init__(self, name: str, fields: Iterable[tuple[str, tuple[int, ...], str]]) -> None:
        self.name, self.fields, self.words = name, {}, 0
        for field, shape, dtype in fields:
            ld = row_words(shape[-1]) if field.endswith("table") else shape[-1]
            self.fields[field] = Field(self.words, shape, dtype, ld)
            self.words += -(-self.fields[field].words // ALIGN) * ALIGN

    def __contains__(self, field: str) -> bool:
        return field in self.fields

    def of(self, buffer: NDArray) -> dict[str, NDArray]:
        """All fields within a buffer, sharing its memory."""
        return {name: field.of(buffer) for name, field in self.fields.items()}

    def ref(self, field: str, offset: int = 0) -> Ref:
        """The address of a field, ``offset`` words into it."""
        return Ref(self.name, self.fields[field].offset + offset, self.fields[field].dtype)


def row_words(width: int) -> int:
    """Words from one row of time-embedding tables to the next: rows begin at multiples of 64 bytes."""
    return -(-max(1, width) // ALIGN) * ALIGN


def inputs(loop: SamplingLoop, batch: int, mode: Mode) -> StagingBuffer:
    """What a plan is made from. address: the seed's halves, the first plan's number and the candidates of
    a situation, where noise is drawn."""
    state = (batch, loop.horizon, loop.transition_dim)
    fields = [
        ("mask", state[1:], "int32"),
        ("inpaint_values", (batch if mode.inpaint_each else 1, *state[1:]), "float32"),
    ]
    if mode.tape:
        # Denoising steps before the first that is run draw nothing.
        fields.append(("tape", (loop.rows + 1 - mode.start, *state), "float32"))
    else:
        fields.append(("address", (4,), "int32"))
    if mode.given:
        fields.append(("given", state, "float32"))
    for name in ("denoiser", "guide"):
        form = getattr(mode, f"{name}_tables")
        if form is not None:
            width = getattr(loop, name).program.table_width
            fields.append((f"{name} table", (loop.rows, batch if form.each else 1, width), "float32"))
            if form.per_sample:
                fields.append((f"{name} sample table", (batch, width), "float32"))
    return StagingBuffer("inputs", fields)


def outputs(loop: SamplingLoop, batch: int, mode: Mode) -> StagingBuffer:
    """What a plan is. bad: the first denoising step whose x was not finite, or how many there are."""
    state = (batch, loop.horizon, loop.transition_dim)
    fields = [
        ("bad", (1,), "int32"),
        ("x", state, "float32"),
        ("values", (batch,), "float32"),
        ("order", (batch,), "int32"),
    ]
    if mode.chain:
        fields.append(("chain", (batch, loop.rows + 1 - mode.start, *state[1:]), "float32"))
    return StagingBuffer("outputs", fields)


def mode_of(
    inpainting: Inpainting, noise: Noise, batch: int, *, x: NDArray | None, start: int, tables: PlanTables | None,
    candidates: int | None, chain: bool,
) -> Mode:  # fmt: skip
    """The mode of a call of an engine."""
    guide = None if tables is None else tables.guide
    return Mode(
        start=start, given=x is not None, tape=not isinstance(noise, Seeded),
        denoiser_tables=None if tables is None else TableForm.of(tables.denoiser),
        guide_tables=None if guide is None else TableForm.of(guide),
        inpaint_each=len(inpainting.values) > 1, candidates=candidates or batch, chain=chain,
    )  # fmt: skip


def write(
    fields: dict[str, NDArray], mode: Mode, inpainting: Inpainting, noise: Noise, x: NDArray | None,
    tables: PlanTables | None,
) -> None:  # fmt: skip
    """A plan's numbers into the fields of ``inputs``."""
    fields["mask"][...] = inpainting.mask
    fields["inpaint_values"][...] = inpainting.values
    if isinstance(noise, Seeded):
        words = (noise.seed & 0xFFFFFFFF, noise.seed >> 32 & 0xFFFFFFFF, noise.plan & 0xFFFFFFFF, mode.candidates)
        fields["address"].view(np.uint32)[...] = words
    else:
        fields["tape"][0], fields["tape"][1:] = noise[0], noise[mode.start + 1 :]
    if x is not None:
        fields["given"][...] = x
    for name in ("denoiser", "guide"):
        given = getattr(tables, name, None)
        if given is not None:
            fields[f"{name} table"][...] = given.per_step
            if given.per_sample is not None:
                fields[f"{name} sample table"][...] = given.per_sample


def result(fields: dict[str, NDArray], loop: SamplingLoop, mode: Mode) -> Result:
    """What the fields of ``outputs`` say; FloatingPointError if a denoising step was not finite."""
    if (failed := int(fields["bad"][0])) < loop.rows:
        raise not_finite(loop.steps, failed)
    return Result(
        x=fields["x"].copy(),
        values=fields["values"].copy(),
        order=fields["order"].astype(np.int64),
        chain=fields["chain"].copy() if mode.chain else None,
    )

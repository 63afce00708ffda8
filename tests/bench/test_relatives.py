"""A row of the sheet of objects, in small."""

import torch
from oracle.relative_objects import decision_diffusion

from bench.relatives import COLUMNS, entries, row
from bench.repetitions import REHEARSAL


def test_a_row_is_of_both():
    known, returns = {0: torch.full((1, 4), 0.3)}, torch.tensor([[0.9]])
    entry = ("x", "look-alike", "a call", decision_diffusion(), lambda one: one(known, returns=returns))
    names, (own, ours, ratio, *_) = (lambda r: (r[:3], r[3:]))(row(entry, REHEARSAL, 1))
    assert names == ["x", "look-alike", "a call"] and ratio == own / ours and len(COLUMNS) == 8


def test_every_entry_is_called_as_it_is():
    """At its full size only the first is made: the others take seconds each."""
    name, whose, _, made, call = next(entries())
    assert name == type(made).__name__ and whose in ("diffusers", "look-alike") and callable(call)

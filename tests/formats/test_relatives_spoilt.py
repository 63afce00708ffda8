"""Spoilt checkpoints of the original's relatives: one clear error, or other numbers; nothing is run, nothing hangs.

DIFFUSER_FAST_FUZZ=2000 pytest tests/formats/test_relatives_spoilt.py tries so many files of each format.
"""

import os
import time

import numpy as np
import pytest
import torch
from formats import relatives, relatives_conditional
from formats.mutations import mutated

from diffuser_fast.formats import load

FILES = int(os.environ.get("DIFFUSER_FAST_FUZZ", "40"))
MAKERS = {
    "diffusers": relatives.diffusers, "cleandiffuser": relatives.cleandiffuser,
    "diffusion_policy": relatives_conditional.diffusion_policy, "lerobot": relatives_conditional.lerobot,
    "decision_diffuser": relatives.decision_diffuser, "kuka": relatives.kuka,
}  # fmt: skip


@pytest.mark.parametrize("name", MAKERS)
def test_spoilt_files(name, tmp_path):
    torch.set_grad_enabled(True)
    relative = MAKERS[name](tmp_path / "sound")
    facts = dict(relative.facts) | ({"action_dim": 2} if name == "diffusers" else {})
    facts |= {"action_dim": 2} if name == "cleandiffuser" else {}
    load(relative.folder, **facts)  # which is sound
    rng, canary, told = np.random.default_rng(11), tmp_path / "canary", 0
    for n in range(FILES):
        done = mutated(relative.folder, tmp_path / "spoilt", rng, canary)
        began = time.process_time()
        try:
            load(tmp_path / "spoilt", **facts)
        except (ValueError, FileNotFoundError) as error:
            told += 1
            assert "\n" not in str(error) and len(str(error)) < 2000, (n, done, str(error))
        except TypeError as error:  # what is left is another format, which takes none of these facts
            assert "cannot be given for" in str(error), (n, done)
        except Exception as error:
            raise AssertionError(f"{n}: {done}: {type(error).__name__}: {error}") from error
        assert time.process_time() - began < 10, (n, done)
        assert not canary.exists(), (n, done)
    assert told > FILES // 4  # the mutations are seen

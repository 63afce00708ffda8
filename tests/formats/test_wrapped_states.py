"""State dicts whose module was wrapped, compiled or cast when they were written."""

import numpy as np
import pytest
import torch
from formats.made import refuses
from formats.originals import write_state
from oracle.checkpoint import read_ema

from diffuser_fast.formats import load, load_value

WRAPPED = {
    "DataParallel": lambda key: f"module.{key}",
    "compiled": lambda key: f"_orig_mod.{key}",
    "compiled in DataParallel": lambda key: f"module._orig_mod.{key}",
    "DataParallel compiled": lambda key: f"_orig_mod.module.{key}",
    "its network compiled": lambda key: key.replace("model.", "model._orig_mod.", 1),
    "its network in DataParallel": lambda key: key.replace("model.", "model.module.", 1),
    "its network in both": lambda key: key.replace("model.", "model.module._orig_mod.", 1),
    "everything": lambda key: "module._orig_mod." + key.replace("model.", "model._orig_mod.module.", 1),
    "a block of it compiled": lambda key: key.replace(".blocks.", "._orig_mod.blocks."),
}


@pytest.mark.parametrize("way", WRAPPED)
def test_wrappers(guided, way):
    expected = load(guided)
    for folder, epoch in ((guided, 7), (guided / "values", 3)):
        write_state(folder / f"state_{epoch}.pt", {WRAPPED[way](k): v for k, v in read_ema(folder).items()})
    found = load(guided)
    for name, array in expected.unet.arrays.items():
        np.testing.assert_array_equal(found.unet.arrays[name], array)
    for name, array in expected.value.arrays.items():
        np.testing.assert_array_equal(found.value.arrays[name], array)
        np.testing.assert_array_equal(load_value(guided / "values").arrays[name], array)
    np.testing.assert_array_equal(found.schedule.betas, expected.schedule.betas)


def test_twice_the_same_tensor(folder):
    state = read_ema(folder)
    write_state(folder / "state_7.pt", {**state, **{f"module.{key}": value for key, value in state.items()}})
    refuses(folder, "state_7.pt: state dict: it holds the same tensors twice, wrapped and not wrapped")


CASTS = {
    "bfloat16": lambda v: v.bfloat16(),
    "float16": lambda v: v.half(),
    "float64": lambda v: v.double(),
    "parameters": lambda v: torch.nn.Parameter(v) if v.is_floating_point() else v,
    "half parameters": lambda v: torch.nn.Parameter(v.bfloat16()),
    "strided": lambda v: torch.stack([v, v], dim=-1)[..., 0],
}


@pytest.mark.parametrize("way", CASTS)
def test_casts(guided, way):
    """Weights in another precision, or that need gradients; the schedule's buffers stay as they were."""
    before, state = load(guided), read_ema(guided)
    cast = {k: CASTS[way](v) if k.startswith("model.") else v for k, v in state.items()}
    write_state(guided / "state_7.pt", cast)
    after = load(guided)
    for name, array in before.unet.arrays.items():
        expected = torch.tensor(array)
        expected = expected.bfloat16().float() if way in ("bfloat16", "half parameters") else expected
        expected = expected.half().float() if way == "float16" else expected
        np.testing.assert_array_equal(after.unet.arrays[name], expected.numpy())


@pytest.mark.parametrize(
    ("tensor", "sentence"),
    [
        (lambda v: v.to_sparse(), "expected dense numbers, found Tensor of dtype torch.float32"),
        (lambda v: v.to(torch.complex64), "expected numbers, found Tensor of dtype complex64"),
    ],
)
def test_tensors_of_no_use(folder, tensor, sentence):
    state = read_ema(folder)
    state["model.final_conv.1.bias"] = tensor(state["model.final_conv.1.bias"])
    torch.save({"step": 1, "ema": state}, folder / "state_7.pt")
    refuses(folder, f"state_7.pt: model.final_conv.1.bias: {sentence}")

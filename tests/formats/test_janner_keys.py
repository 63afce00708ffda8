"""State dicts of other networks than the original's: one sentence says what is wrong."""

import numpy as np
import pytest
import torch
from formats.made import refuses
from formats.originals import write_state


def change(guided, edit, name="state_7.pt"):
    state = torch.load(guided / name, weights_only=True)["ema"]
    edit(state)
    write_state(guided / name, state)


def drop(key):
    return lambda state: state.pop(key)


def put(key, *shape):
    return lambda state: state.update({key: torch.zeros(shape)})


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (drop("model.final_conv.1.bias"), "of its keys final_conv.1.bias are missing, none not expected"),
        (drop("model.time_mlp.1.weight"), "it lacks time_mlp.1.weight"),
        (drop("betas"), r"schedule: buffers \['betas'\] are missing"),
        (put("inv_model.0.weight", 3), "of its keys downs.0.2.conv.bias, .* are missing, downs.0.3"),
        (put("model.returns_mlp.0.weight", 3), "of its keys .*returns_mlp.0.bias"),
        (put("model.extra.weight", 3), "none are missing, extra.weight not expected"),
        (put("model.cond_mlp.0.weight", 3), "cond_mlp.0.weight not expected"),  # of the kuka branch
        (put("ema_decay", 1), "it has keys that the original does not write: ema_decay"),
        (put("loss_fn.other", 1), "keys that the original does not write: loss_fn.other"),
        (put("model.final_conv.1.bias", 4), r"has shape \[4\], which does not fit head.out.bias \[5\]"),
        (put("model.downs.0.0.blocks.0.block.0.weight", 8, 5), r"has shape \[8, 5\], expected 3 axes"),
        (put("model.downs.0.0.blocks.0.block.0.weight", 9, 5, 5), "its levels are .9, 16. wide, expected multiples"),
        (put("betas", 3), r"schedule: .* must be finite numbers of shape \[T\]"),
        (lambda s: s["model.final_conv.1.bias"].fill_(np.nan), "head.out.bias holds numbers that are not finite"),
        (lambda s: s.clear(), r"its keys \(none\) are not those of a TemporalUnet"),
    ],
)  # fmt: skip
def test_state_dicts_of_another_network(guided, edit, message):
    change(guided, edit)
    assert str(guided / "state_7.pt") in refuses(guided, message)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (put("model.final_block.0.weight", 16, 8 * 8 + 9), "its head takes 65 numbers, expected a multiple of 8"),
        (put("model.final_block.0.weight", 4, 2 * 8 + 8), "is said to be 8, but the head's width fits 17 to 32"),
        (drop("model.mid_down2.conv.bias"), "of its keys mid_down2.conv.bias are missing"),
        (put("model.final_block.2.weight", 12, 4), "final_block.2.weight has shape"),
    ],
)  # fmt: skip
def test_value_networks_of_another_kind(guided, edit, message):
    change(guided / "values", edit, "state_3.pt")
    assert str(guided / "values" / "state_3.pt") in refuses(guided, message)

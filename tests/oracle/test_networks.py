"""The oracle's networks against published sizes, written-out definitions and finite differences."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from oracle.attention import LinearAttention, attention_slot
from oracle.diffusion import ValueDiffusion
from oracle.draws import normal, randomize
from oracle.networks import Maze2dTemporalUnet, TemporalUnet, TemporalValue, ValueFunction
from oracle.policies import ValueGuide


def check_slope(f, x: Tensor, grad: Tensor | None = None) -> None:
    """Autograd's (or the given) gradient of scalar f at x, against central differences, three directions."""
    if grad is None:
        leaf = x.clone().requires_grad_()
        (grad,) = torch.autograd.grad(f(leaf), leaf)
    for seed in range(3):
        direction, e = normal(100 + seed, *x.shape), 1e-5
        slope = (f(x + e * direction) - f(x - e * direction)) / (2 * e)
        torch.testing.assert_close((grad * direction).sum(), slope, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("kind", "arguments", "options", "millions"),
    [
        (TemporalUnet, (32, 14, 11), {}, 3.956),
        (TemporalUnet, (32, 23, 17), {}, 3.958),
        (TemporalUnet, (4, 23, 17), {"dim_mults": (1, 4, 8), "attention": True}, 4.114),
        (Maze2dTemporalUnet, (384, 6, 4), {"dim_mults": (1, 4, 8)}, 3.682),
        (ValueFunction, (32, 14, 11), {}, 2.295),
        (ValueFunction, (4, 23, 17), {"dim_mults": (1, 4, 8)}, 2.181),
    ],
    ids=["hopper", "walker2d", "halfcheetah", "maze2d", "hopper value", "halfcheetah value"],
)
def test_has_the_originals_number_of_parameters(kind, arguments, options, millions):
    net = kind(*arguments, **options)
    assert round(sum(p.numel() for p in net.parameters()) / 1e6, 3) == millions


def test_layouts_without_attention_are_one_function():
    main = randomize(TemporalUnet(8, 6, 4, dim=16, dim_mults=(1, 2)), seed=0)
    branch = Maze2dTemporalUnet(8, 6, 4, dim=16, dim_mults=(1, 2)).double()
    renamed = {}
    for key, value in main.state_dict().items():
        part = key.split(".")
        if part[0] in ("downs", "ups") and part[2] == "3":
            part[2] = "2"
        renamed[".".join(part)] = value
    branch.load_state_dict(renamed, strict=True)
    x, t = normal(1, 3, 8, 6), torch.tensor([0, 5, 19])
    torch.testing.assert_close(main(x, {}, t), branch(x, {}, t), rtol=0, atol=0)


def test_halfcheetah_with_attention_at_horizon_four():
    """Levels of 4, 2 and 1 time steps; softmax over a single step; groups of few elements."""
    net = randomize(TemporalUnet(4, 23, 17, dim=16, dim_mults=(1, 4, 8), attention=True), seed=1)
    x, t = normal(2, 3, 4, 23), torch.tensor([0, 7, 19])
    assert net(x, {}, t).shape == x.shape
    check_slope(lambda y: net(y, {}, t).square().sum(), x)
    torch.testing.assert_close(net(x[1:2], {}, t[1:2]), net(x, {}, t)[1:2])
    for slot in (net.downs[0][2], net.downs[2][2], net.mid_attn, net.ups[1][2]):
        before = net(x, {}, t)
        slot.fn.fn.to_out.weight.mul_(2.0)
        assert (net(x, {}, t) - before).abs().max() > 1e-3  # every slot takes part


def test_linear_attention_is_its_definition():
    """Written out one number at a time, from the stored tensors' shapes."""
    heads, width, channels, length = 2, 3, 5, 4
    attention = randomize(LinearAttention(channels, heads, width), seed=2)
    x = normal(3, 1, channels, length)
    qkv = torch.einsum("oc,ch->oh", attention.to_qkv.weight[:, :, 0], x[0])
    assert attention.to_qkv.bias is None
    mixed = torch.zeros(heads * width, length, dtype=x.dtype)
    for n, e, h in product(range(heads), range(width), range(length)):
        for d, other in product(range(width), range(length)):
            q = qkv[n * width + d, h] * width**-0.5
            k = qkv[(heads + n) * width + d].softmax(dim=0)[other]
            v = qkv[(2 * heads + n) * width + e, other]
            mixed[n * width + e, h] += q * k * v
    want = torch.einsum("oc,ch->oh", attention.to_out.weight[:, :, 0], mixed) + attention.to_out.bias[:, None]
    torch.testing.assert_close(attention(x)[0], want)


def test_attention_slot_normalises_inside_its_skip():
    slot = randomize(attention_slot(16, attention=True), seed=4)
    inner, norm, x = slot.fn.fn, slot.fn.norm, normal(20, 2, 16, 5)
    normed = F.layer_norm(x.transpose(1, 2), (16,), norm.g[0, :, 0], norm.b[0, :, 0], eps=1e-5)
    torch.testing.assert_close(slot(x), x + inner(normed.transpose(1, 2)))
    assert attention_slot(16, attention=False)(x) is x


@pytest.mark.parametrize("kind", [ValueFunction, TemporalValue])
def test_value_head_sees_channels_then_time_steps_then_the_time_embedding(kind):
    """The recorded value network ends with one time step, so its trace cannot tell how it flattens."""
    horizon = 20 if kind is ValueFunction else 64  # 20 10 5 3 2
    net = randomize(kind(horizon, 6, 4, dim=16, dim_mults=(1, 2)), seed=5)
    last = net.mid_down2 if kind is ValueFunction else net.blocks[-1][2]
    seen = {}
    last.register_forward_hook(lambda module, inputs, output: seen.update(features=output))
    net.final_block.register_forward_pre_hook(lambda module, inputs: seen.update(head=inputs[0]))
    t = torch.tensor([0, 7])
    net(normal(21, 2, horizon, 6), {}, t)
    _, channels, length = seen["features"].shape
    assert length > 1
    for c, h in ((0, 1), (1, 0), (channels - 1, length - 1)):
        assert torch.equal(seen["head"][:, c * length + h], seen["features"][:, c, h])
    assert torch.equal(seen["head"][:, channels * length :], net.time_mlp(t.double()))


@pytest.mark.parametrize(
    ("kind", "horizon", "dim_mults"),
    [
        (ValueFunction, 32, (1, 2, 4, 8)),
        (ValueFunction, 20, (1, 2, 4, 8)),  # 20 10 5 3 2 1 1
        (ValueFunction, 12, (1, 2, 4, 8)),  # 12 6 3 2 1 1 1
        (ValueFunction, 4, (1, 4, 8)),  # halfcheetah
        (ValueFunction, 18, (1, 2)),
        (ValueFunction, 22, (1, 2)),
        (ValueFunction, 40, (1, 2, 4)),
        (ValueFunction, 88, (1, 2, 4, 8)),  # 88 44 22 11 6 3 2
        (TemporalValue, 16, (1, 4, 8)),
        (TemporalValue, 1, (1, 4)),
    ],
)
def test_value_gradient_is_the_slope(kind, horizon, dim_mults):
    net = randomize(kind(horizon, 6, 4, dim=16, dim_mults=dim_mults), seed=3)
    guide = ValueGuide(ValueDiffusion(net, horizon, 4, 2, n_timesteps=20, loss_type="value_l2"))
    x, t = normal(4, 3, horizon, 6), torch.tensor([0, 7, 19])
    values, grad = guide.gradients(x, {}, t)
    assert values.shape == (3,) and grad.shape == x.shape
    assert not x.requires_grad and not grad.requires_grad
    check_slope(lambda y: guide(y, {}, t).sum(), x, grad)
    # Each plan's value depends on that plan alone, so the gradient of the sum is everyone's own gradient.
    torch.testing.assert_close(guide.gradients(x[2:], {}, t[2:])[1], grad[2:])


@pytest.mark.parametrize(
    ("kind", "horizon", "dim_mults"),
    [
        (TemporalValue, 20, (1, 4, 8)),
        (TemporalValue, 12, (1, 4, 8)),
        (ValueFunction, 64, (1, 2, 4, 8)),  # sized for 2, gets 1
        (ValueFunction, 96, (1, 2, 4, 8)),
        (ValueFunction, 32, (1, 2, 4)),
        (ValueFunction, 48, (1, 2, 4)),
    ],
)
def test_refuses_a_value_horizon_that_rounds_two_ways(kind, horizon, dim_mults):
    with pytest.raises(ValueError, match=f"horizon {horizon}"):
        kind(horizon, 6, 4, dim=16, dim_mults=dim_mults)

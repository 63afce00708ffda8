"""Networks of the original's relatives, by the keys of their state dicts: diffusers, CleanDiffuser, diffusion_policy,
lerobot, Decision Diffuser. Nothing of theirs is imported; each is the same U-Net in other words.

A ``Store`` is a state dict that makes what it lacks: evaluating a network once on an empty one writes all of its keys,
with the shapes that the network needs. So one text is both the reader and the writer of a layout.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

ACTS = {"mish": F.mish, "silu": F.silu, "relu": F.relu, "gelu": F.gelu}


class Store(dict):
    """Tensors by key; random ones for keys that it lacks. ``seed`` None: a key that is missing is an error."""

    def __init__(self, tensors: dict[str, Tensor] | None = None, seed: int | None = None) -> None:
        super().__init__(tensors or {})
        self.generator = None if seed is None else torch.Generator().manual_seed(seed)

    def take(self, key: str, *shape: int, like: str = "kernel") -> Tensor:
        if key not in self:
            assert self.generator is not None, key
            numbers = torch.randn(*shape, generator=self.generator)
            fan_in = math.prod(shape[1:]) or 1
            self[key] = numbers * fan_in**-0.5 if like == "kernel" else numbers * 0.3 + (like == "scale")
        assert tuple(self[key].shape) == shape, (key, tuple(self[key].shape), shape)
        return self[key]


def linear(p: Store, key: str, x: Tensor, out: int) -> Tensor:
    return F.linear(x, p.take(f"{key}.weight", out, x.shape[-1]), p.take(f"{key}.bias", out, like="shift"))


def conv(p: Store, key: str, x: Tensor, out: int, k: int, stride: int = 1, bias: bool = True) -> Tensor:
    w = p.take(f"{key}.weight", out, x.shape[1], k)
    return F.conv1d(x, w, p.take(f"{key}.bias", out, like="shift") if bias else None, stride, k // 2)


def upsample(p: Store, key: str, x: Tensor) -> Tensor:
    c = x.shape[1]
    return F.conv_transpose1d(x, p.take(f"{key}.weight", c, c, 4), p.take(f"{key}.bias", c, like="shift"), 2, 1)


def embedding(t: Tensor, width: int, cosines_first: bool = False, shift: int = 1, whole: bool = False) -> Tensor:
    half = width // 2
    f = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float64) / (half - shift))
    angle = t.double()[:, None] * (f.long().double() if whole else f)
    parts = (angle.cos(), angle.sin()) if cosines_first else (angle.sin(), angle.cos())
    return torch.cat(parts, -1)


@dataclass(frozen=True)
class Names:
    """Of a layout's keys. block: (first conv, first norm, second conv, second norm, projection, skip) behind a block's
    own; {} is a level's number. ``up`` and ``down`` are the resampling convolutions."""

    block: tuple[str, str, str, str, str, str]
    down_level: str
    up_level: str
    down: str
    up: str
    middle: tuple[str, str]
    head: tuple[str, str, str]
    time: tuple[str, str]


DIFFUSERS = Names(
    (".conv_in.conv1d", ".conv_in.group_norm", ".conv_out.conv1d", ".conv_out.group_norm",
     ".time_emb", ".residual_conv"),
    "down_blocks.{}.resnets", "up_blocks.{}.resnets", "down_blocks.{}.downsample.conv", "up_blocks.{}.upsample.conv",
    ("mid_block.resnets.0", "mid_block.resnets.1"),
    ("out_block.final_conv1d_1", "out_block.final_conv1d_gn", "out_block.final_conv1d_2"),
    ("time_mlp.linear_1", "time_mlp.linear_2"),
)  # fmt: skip
CLEANDIFFUSER = Names(
    (".conv1.0", ".conv1.1", ".conv2.0", ".conv2.1", ".emb_mlp.1", ".residual_conv"),
    "downs.{}", "ups.{}", "downs.{}.3.conv", "ups.{}.3.conv", ("mid_block1", "mid_block2"),
    ("final_conv.0", "final_conv.1", "final_conv.3"), ("map_emb.0", "map_emb.2"),
)  # fmt: skip
_STEPS = ("diffusion_step_encoder.1", "diffusion_step_encoder.3")
DIFFUSION_POLICY = Names(
    (".blocks.0.block.0", ".blocks.0.block.1", ".blocks.1.block.0", ".blocks.1.block.1",
     ".cond_encoder.1", ".residual_conv"),
    "down_modules.{}", "up_modules.{}", "down_modules.{}.2.conv", "up_modules.{}.2.conv",
    ("mid_modules.0", "mid_modules.1"), ("final_conv.0.block.0", "final_conv.0.block.1", "final_conv.1"), _STEPS,
)  # fmt: skip
LEROBOT = Names(
    (".conv1.block.0", ".conv1.block.1", ".conv2.block.0", ".conv2.block.1",
     ".cond_encoder.1", ".residual_conv"),
    "down_modules.{}", "up_modules.{}", "down_modules.{}.2", "up_modules.{}.2", ("mid_modules.0", "mid_modules.1"),
    ("final_conv.0.block.0", "final_conv.0.block.1", "final_conv.1"), _STEPS,
)  # fmt: skip
DECISION_DIFFUSER = Names(
    (".blocks.0.block.0", ".blocks.0.block.2", ".blocks.1.block.0", ".blocks.1.block.2",
     ".time_mlp.1", ".residual_conv"),
    "downs.{}", "ups.{}", "downs.{}.2.conv", "ups.{}.2.conv", ("mid_block1", "mid_block2"),
    ("final_conv.0.block.0", "final_conv.0.block.2", "final_conv.1"), ("time_mlp.1", "time_mlp.3"),
)  # fmt: skip


@dataclass(frozen=True)
class Widths:
    """Of a network. groups: of a norm over so many channels."""

    levels: tuple[int, ...]
    kernel: int = 5
    groups: Callable[[int], int] = lambda channels: 8
    head_groups: Callable[[int], int] | None = None
    head_kernel: int | None = None
    head_act: str = "mish"
    film: bool = False
    attention: bool = False
    mixed: bool = False  # attention in every block


def conv_norm_act(
    p: Store, conv_key: str, norm_key: str, x: Tensor, c: int, k: int, groups: int, act: str = "mish"
) -> Tensor:
    y = conv(p, conv_key, x, c, k)
    gamma, beta = p.take(f"{norm_key}.weight", c, like="scale"), p.take(f"{norm_key}.bias", c, like="shift")
    return ACTS[act](F.group_norm(y, groups, gamma, beta, 1e-5))


def block(
    p: Store, key: str, x: Tensor, e: Tensor, names: Names, w: Widths, c: int, kernel: int | None = None
) -> Tensor:
    first, norm1, second, norm2, projection, skip = (key + part for part in names.block)
    k, groups = kernel or w.kernel, w.groups(c)
    y = conv_norm_act(p, first, norm1, x, c, k, groups)
    s = linear(p, projection, F.mish(e), c * (1 + w.film))[:, :, None]
    y = y * s[:, :c] + s[:, c:] if w.film else y + s
    y = conv_norm_act(p, second, norm2, y, c, k, groups)
    y = y + mixing(p, f"{key}.attn.fn", y) if w.mixed else y
    return y + (x if x.shape[1] == c else conv(p, skip, x, c, 1))


def attention(p: Store, key: str, x: Tensor) -> Tensor:
    """Linear attention whose result is added to the NORMALISED input."""
    c, n = x.shape[1], x.shape[2]
    g, b = p.take(f"{key}.norm.g", 1, c, 1, like="scale"), p.take(f"{key}.norm.b", 1, c, 1, like="shift")
    y = (x - x.mean(1, keepdim=True)) / (x.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt() * g + b
    q, k, v = (z.reshape(len(x), 4, 32, n) for z in conv(p, f"{key}.to_qkv", y, 384, 1, bias=False).chunk(3, 1))
    context = torch.einsum("bhdn,bhen->bhde", k.softmax(-1), v)
    out = torch.einsum("bhde,bhdn->bhen", context, q * 32**-0.5).reshape(len(x), 128, n)
    return conv(p, f"{key}.to_out", out, c, 1) + y


def mixing(p: Store, key: str, x: Tensor) -> Tensor:
    """Linear attention without a norm; its weights are a two-dimensional convolution's, its queries as they are."""
    c, n = x.shape[1], x.shape[2]
    w = p.take(f"{key}.to_qkv.weight", 384, c, 1, 1)[..., 0]
    q, k, v = (z.reshape(len(x), 4, 32, n) for z in F.conv1d(x, w).chunk(3, 1))
    context = torch.einsum("bhdn,bhen->bhde", k.softmax(-1), v)
    out = torch.einsum("bhde,bhdn->bhen", context, q).reshape(len(x), 128, n)
    w, bias = p.take(f"{key}.to_out.weight", c, 128, 1, 1)[..., 0], p.take(f"{key}.to_out.bias", c, like="shift")
    return F.conv1d(out, w, bias)


def unet(
    p: Store, x: Tensor, e: Tensor, names: Names, w: Widths, depth: int | None = None, local: Tensor | None = None
) -> Tensor:
    """x [B, H, D], e the whole embedding [B, E] -> [B, H, depth or D]. local: a condition along time, [B, H, L]."""
    depth, x, skips, last = depth or x.shape[2], x.transpose(1, 2), [], len(w.levels) - 1
    for i, c in enumerate(w.levels):
        level = names.down_level.format(i)
        x = block(p, f"{level}.0", x, e, names, w, c)
        if local is not None and i == 0:
            x = x + block(p, "local_cond_encoder.0", local.transpose(1, 2), e, names, w, c)
            block(p, "local_cond_encoder.1", local.transpose(1, 2), e, names, w, c)  # which nothing reads
        x = block(p, f"{level}.1", x, e, names, w, c)
        x = attention(p, f"{level}.2", x) if w.attention else x
        skips.append(x)
        x = x if i == last else conv(p, names.down.format(i), x, c, 3, 2)
    x = block(p, names.middle[0], x, e, names, w, w.levels[-1])
    x = attention(p, "mid_attn", x) if w.attention else x
    x = block(p, names.middle[1], x, e, names, w, w.levels[-1])
    for j, c in enumerate(reversed(w.levels[:-1])):
        level = names.up_level.format(j)
        x = block(p, f"{level}.0", torch.cat((x, skips.pop()), 1), e, names, w, c)
        x = block(p, f"{level}.1", x, e, names, w, c)
        x = attention(p, f"{level}.2", x) if w.attention else x
        x = upsample(p, names.up.format(j), x)
    c = w.levels[0]
    groups = (w.head_groups or w.groups)(c)
    x = conv_norm_act(p, *names.head[:2], x, c, w.head_kernel or w.kernel, groups, w.head_act)
    return conv(p, names.head[2], x, depth, 1).transpose(1, 2)


def time_mlp(p: Store, names: Names, e: Tensor, hidden: int, out: int, act: str = "mish") -> Tensor:
    return linear(p, names.time[1], ACTS[act](linear(p, names.time[0], e, hidden)), out)


def value_head(p: Store, keys: tuple[str, str], x: Tensor, e: Tensor, hidden: int) -> Tensor:
    y = F.mish(linear(p, keys[0], torch.cat((x.flatten(1), e), -1), hidden))
    return linear(p, keys[1], y, 1)[:, 0]


def diffusers_unet(p: Store, x: Tensor, t: Tensor, w: Widths, flip: bool, shift: int, act: str) -> Tensor:
    c = w.levels[0]
    return unet(p, x, time_mlp(p, DIFFUSERS, embedding(t, c, flip, shift).to(x.dtype), 4 * c, c, act), DIFFUSERS, w)


def diffusers_value(p: Store, x: Tensor, t: Tensor, w: Widths, flip: bool, shift: int, act: str) -> Tensor:
    c, n = w.levels[0], DIFFUSERS
    e = time_mlp(p, n, embedding(t, c, flip, shift).to(x.dtype), 4 * c, c, act)
    x = x.transpose(1, 2)
    for i, c in enumerate(w.levels):
        level = n.down_level.format(i)
        x = block(p, f"{level}.1", block(p, f"{level}.0", x, e, n, w, c), e, n, w, c)
        x = conv(p, n.down.format(i), x, c, 3, 2)
    for i, c in enumerate((w.levels[-1] // 2, w.levels[-1] // 4), 1):
        x = conv(p, f"mid_block.down{i}.conv", block(p, f"mid_block.res{i}", x, e, n, w, c), c, 3, 2)
    return value_head(p, ("out_block.final_block.0", "out_block.final_block.2"), x, e, w.levels[-1] // 8)


def clean_embedding(p: Store, t: Tensor, width: int, dim: int, dtype: torch.dtype) -> Tensor:
    """Cosines first, no endpoint; where t is whole, frequencies are cast to whole numbers too."""
    e = embedding(t, width, cosines_first=True, shift=0, whole=not t.is_floating_point())
    return time_mlp(p, CLEANDIFFUSER, e.to(dtype), 4 * dim, dim)


def clean_unet(p: Store, x: Tensor, t: Tensor, w: Widths, width: int) -> Tensor:
    return unet(p, x, clean_embedding(p, t, width, w.levels[0], x.dtype), CLEANDIFFUSER, w)


def clean_value(p: Store, x: Tensor, t: Tensor, w: Widths, width: int) -> Tensor:
    """The last level keeps its length; the middle's blocks have five taps, whatever the levels have."""
    n, e, x = CLEANDIFFUSER, clean_embedding(p, t, width, w.levels[0], x.dtype), x.transpose(1, 2)
    for i, c in enumerate(w.levels):
        x = block(p, f"downs.{i}.1", block(p, f"downs.{i}.0", x, e, n, w, c), e, n, w, c)
        x = x if i == len(w.levels) - 1 else conv(p, f"downs.{i}.2.conv", x, c, 3, 2)
    for i, c in enumerate((w.levels[-1] // 2, w.levels[-1] // 4), 1):
        x = conv(p, f"mid_block{i}.1.conv", block(p, f"mid_block{i}.0", x, e, n, w, c, kernel=5), c, 3, 2)
    return value_head(p, ("final_block.0", "final_block.2"), x, e, x.shape[1] * x.shape[2] // 2)


def conditional_unet(
    p: Store, x: Tensor, t: Tensor, condition: Tensor | None, names: Names, w: Widths, width: int,
    local: Tensor | None = None,
) -> Tensor:  # fmt: skip
    e = time_mlp(p, names, embedding(t, width).to(x.dtype), 4 * width, width)
    return unet(p, x, e if condition is None else torch.cat((e, condition), -1), names, w, local=local)


def kuka_unet(p: Store, x: Tensor, given: Tensor, t: Tensor, w: Widths, told: bool) -> Tensor:
    """given [B, H]: 1 where x is known; a channel of the input and, if ``told``, a condition, which comes first."""
    c = w.levels[0]
    e = time_mlp(p, DECISION_DIFFUSER, embedding(t, c).to(x.dtype), 4 * c, c)
    if told:
        e = torch.cat((linear(p, "cond_mlp.2", F.mish(linear(p, "cond_mlp.0", given, 2 * c)), c), e), -1)
    return unet(p, torch.cat((x, given[..., None]), -1), e, DECISION_DIFFUSER, w, x.shape[2])


def decision_unet(p: Store, x: Tensor, t: Tensor, returns: Tensor | None, w: Widths, told: bool = True) -> Tensor:
    """returns [B, 1], or None: the embedding of the returns is zero, not the return. told: it takes any."""
    c = w.levels[0]
    e = time_mlp(p, DECISION_DIFFUSER, embedding(t, c).to(x.dtype), 4 * c, c)
    if not told:
        return unet(p, x, e, DECISION_DIFFUSER, w)
    z = linear(p, "returns_mlp.0", e.new_zeros(len(x), 1) if returns is None else returns, c)
    z = linear(p, "returns_mlp.4", F.mish(linear(p, "returns_mlp.2", F.mish(z), 4 * c)), c)
    return unet(p, x, torch.cat((e, torch.zeros_like(z) if returns is None else z), -1), DECISION_DIFFUSER, w)

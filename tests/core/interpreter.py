"""Programs evaluated in plain numpy, from the words of core/ops.py and the textbook; no code is shared with engines."""

import math

import numpy as np


def run(program, weights, inputs, table=None):
    """inputs: ``[B, C, H]`` by name; table: ``[S]`` or ``[B, S]``. Returns the outputs by name, in float64."""
    values = {v: np.asarray(inputs[name], np.float64) for name, v in program.inputs.items()}
    weights = {name: np.asarray(array, np.float64) for name, array in weights.items()}
    for op in program.ops:
        results = _OPS[op.kind](
            op,
            program.shapes[op.outs[0]],
            [values[i] for i in op.ins],
            [weights[w] for w in op.weights],
            table,
        )
        for out, result in zip(op.outs, results if isinstance(results, tuple) else (results,)):
            assert result.shape[1:] == program.shapes[out], (op, result.shape)
            values[out] = result
    return {name: values[v] for name, v in program.outputs.items()}


def random_weights(program, seed):
    """Weights of about unit gain, with norms and biases that are neither one nor zero."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for name, shape in program.weights.items():
        if len(shape) == 1:
            arrays[name] = rng.normal(1.0 if name.endswith("norm.weight") else 0.0, 0.3, shape)
        else:
            arrays[name] = rng.normal(0, 1 / np.sqrt(np.prod(shape[1:])), shape)
    return arrays


def convolve(x, w, stride, pad, length, transposed):
    """y[o, t] = sum over i, k of w[o, i, k] x[i, t stride + k - pad], or its adjoint, tap by tap."""
    batch, _, h = x.shape
    y = np.zeros((batch, w.shape[1] if transposed else w.shape[0], length))
    for k in range(w.shape[2]):
        for t in range(h if transposed else length):
            other = t * stride + k - pad
            if transposed and 0 <= other < length:
                y[:, :, other] += x[:, :, t] @ w[:, :, k]
            elif not transposed and 0 <= other < h:
                y[:, :, t] += x[:, :, other] @ w[:, :, k].T
    return y


def sigmoid(x):
    return np.exp(-np.logaddexp(0, -x))


def mish_slope(x):
    soft = np.tanh(np.logaddexp(0, x))
    return soft + x * (1 - soft**2) * sigmoid(x)


def normal_distribution(x):
    return np.vectorize(math.erfc, otypes=[np.float64])(-x / math.sqrt(2)) / 2


ACTS = {
    "mish": lambda x: x * np.tanh(np.logaddexp(0, x)),
    "silu": lambda x: x * sigmoid(x),
    "relu": lambda x: np.where(x > 0, x, 0),
    "gelu": lambda x: x * normal_distribution(x),
    "square": lambda x: x**2,
}
SLOPES = {
    "mish": mish_slope,
    "silu": lambda x: sigmoid(x) * (1 + x * sigmoid(-x)),
    "relu": lambda x: np.where(x > 0, 1.0, 0.0),
    "gelu": lambda x: normal_distribution(x) + x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi),
    "square": lambda x: 2 * x,
}


def columns(table, at, channels):
    """``[C, 1]``, or ``[B, C, 1]`` of a table for each trajectory."""
    return np.asarray(table, np.float64)[..., at : at + channels, None]


def standardise(x, axis, eps):
    """(x - mean) / sqrt(var + eps), and that root."""
    root = np.sqrt(x.var(axis=axis, keepdims=True) + eps)
    return (x - x.mean(axis=axis, keepdims=True)) / root, root


def _conv(op, shape, ins, weights, table):
    a = op.attrs
    y = convolve(ins[0], weights[0], a["stride"], a["pad"], shape[1], a["transposed"])
    y = y + weights[1][:, None] if len(weights) > 1 else y
    return y + ins[1] if len(ins) > 1 else y


def group_norm(x, gamma, beta, groups, eps):
    batch, channels, h = x.shape
    y, _ = standardise(x.reshape(batch, groups, -1), -1, eps)
    return y.reshape(batch, channels, h) * gamma[:, None] + beta[:, None]


def group_norm_vjp(x, dy, gamma, groups, eps):
    batch, channels, h = x.shape
    y, root = standardise(x.reshape(batch, groups, -1), -1, eps)
    g = (dy * gamma[:, None]).reshape(batch, groups, -1)
    dx = (g - g.mean(-1, keepdims=True) - y * (g * y).mean(-1, keepdims=True)) / root
    return dx.reshape(batch, channels, h)


def _channel_norm(op, shape, ins, weights, table):
    y, _ = standardise(ins[0], 1, op.attrs["eps"])
    return y * weights[0][:, None] + weights[1][:, None]


def _linear_attention(op, shape, ins, weights, table):
    batch, _, h = ins[0].shape
    q, k, v = np.split(ins[0].reshape(batch, 3 * op.attrs["heads"], -1, h), 3, axis=1)
    k = np.exp(k - k.max(-1, keepdims=True))
    k /= k.sum(-1, keepdims=True)
    context = k @ v.swapaxes(-1, -2)
    return (context.swapaxes(-1, -2) @ (q * op.attrs["q_scale"])).reshape(batch, -1, h)


def _conv_block(op, shape, ins, weights, table):
    a, (w, bias, gamma, beta) = op.attrs, weights
    u = convolve(ins[0], w, a["stride"], a["pad"], shape[1], a["transposed"]) + bias[:, None]
    y = ACTS[a["act"]](group_norm(u, gamma, beta, a["groups"], a["eps"]))
    if a["table"] >= 0:
        y = y + columns(table, a["table"], shape[0])
    return y + ins[1] if len(ins) > 1 else y, u


def _norm_act_vjp(op, shape, ins, weights, table):
    (u, dy), (gamma, beta), a = ins, weights, op.attrs
    dn = dy * SLOPES[a["act"]](group_norm(u, gamma, beta, a["groups"], a["eps"]))
    return group_norm_vjp(u, dn, gamma, a["groups"], a["eps"])


_OPS = {
    "conv": _conv,
    "group_norm": lambda op, s, ins, w, t: group_norm(ins[0], *w, op.attrs["groups"], op.attrs["eps"]),
    "channel_norm": _channel_norm,
    "act": lambda op, s, ins, w, t: ACTS[op.attrs["act"]](ins[0]),
    "add": lambda op, s, ins, w, t: ins[0] + ins[1],
    "concat": lambda op, s, ins, w, t: np.concatenate(ins, axis=1),
    "slice": lambda op, s, ins, w, t: ins[0][:, op.attrs["lo"] : op.attrs["lo"] + s[0]],
    "step_bias": lambda op, s, ins, w, t: ins[0] + columns(t, op.attrs["table"], s[0]),
    "film": lambda op, s, ins, w, t: (
        ins[0] * columns(t, op.attrs["table"], s[0]) + columns(t, op.attrs["table"] + s[0], s[0])
    ),
    "linear_attention": _linear_attention,
    "group_norm_vjp": lambda op, s, ins, w, t: group_norm_vjp(*ins, w[0], op.attrs["groups"], op.attrs["eps"]),
    "act_vjp": lambda op, s, ins, w, t: ins[1] * SLOPES[op.attrs["act"]](ins[0]),
    "conv_block": _conv_block,
    "norm_act_vjp": _norm_act_vjp,
}

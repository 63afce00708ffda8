"""What ops and the sampling loop mean, in float64 numpy: slow, plain, and written apart from backends/reference.py."""

import numpy as np

from diffuser_fast.core.loop import ranking


def run(program, weights, inputs, table=None):
    """Values ``[B, C, H]`` of a program's outputs."""
    values = {v: np.asarray(x, np.float64) for v, x in zip(program.inputs, inputs, strict=True)}
    for op in program.ops:
        x = [values[v] for v in op.ins]
        w = [np.asarray(weights[name], np.float64) for name in op.weights]
        outs = OPS[op.kind](op.attrs, program.shapes[op.outs[0]], x, w, table)
        values.update(zip(op.outs, outs if isinstance(outs, tuple) else (outs,), strict=False))
    return [values[v] for v in program.outputs]


def _conv(a, shape, x, w, table):
    """Each product by itself: y[o, t] = sum w[o, i, j] x[i, s], s = t stride + j - pad, or t = s stride + j - pad."""
    x, w = (x if isinstance(x, list) else [x]), list(w)
    k, stride, pad = a["k"], a["stride"], a["pad"]
    y = np.zeros((len(x[0]), *shape))
    for j in range(k):
        for t in range(shape[1]):
            s = t * stride + j - pad
            if a["transposed"]:
                s, odd = divmod(t + pad - j, stride)
                s = -1 if odd else s
            if 0 <= s < x[0].shape[2]:
                matrix = w[0][:, :, j].T if a["transposed"] else w[0][:, :, j]
                y[:, :, t] += x[0][:, :, s] @ matrix.T
    y += w[1][:, None] if len(w) > 1 else 0
    return y + x[1] if len(x) > 1 else y


def _normalised(x, groups, eps):
    g = x.reshape(len(x), groups, -1)
    std = np.sqrt(g.var(axis=2, keepdims=True) + eps)
    return (g - g.mean(axis=2, keepdims=True)) / std, std


def _group_norm(a, shape, x, w, table):
    return _normalised(x[0], a["groups"], a["eps"])[0].reshape(x[0].shape) * w[0][:, None] + w[1][:, None]


def _channel_norm(a, shape, x, w, table):
    mean, var = x[0].mean(axis=1, keepdims=True), x[0].var(axis=1, keepdims=True)
    return (x[0] - mean) / np.sqrt(var + a["eps"]) * w[0][:, None] + w[1][:, None]


def mish(x):
    return x * np.tanh(np.logaddexp(0, x))


def mish_slope(x):
    t, sigmoid = np.tanh(np.logaddexp(0, x)), np.exp(-np.logaddexp(0, -x))
    return t + x * sigmoid * (1 - t * t)


def _step_bias(a, shape, x, w, table):
    return x[0] + np.asarray(table, np.float64)[a["table"] : a["table"] + shape[0], None]


def _attention(a, shape, x, w, table):
    q, k, v = np.moveaxis(x[0].reshape(len(x[0]), 3, a["heads"], -1, shape[1]), 1, 0)
    k = np.exp(k - k.max(axis=-1, keepdims=True))
    context = np.einsum("bhdn,bhen->bhde", k / k.sum(axis=-1, keepdims=True), v)
    return np.einsum("bhde,bhdn->bhen", context, q * a["q_scale"]).reshape(len(q), *shape)


def _group_norm_vjp(a, shape, x, w, table):
    n, std = _normalised(x[0], a["groups"], a["eps"])
    d = (x[1] * w[0][:, None]).reshape(n.shape)
    d = d - d.mean(axis=2, keepdims=True) - n * (d * n).mean(axis=2, keepdims=True)
    return (d / std).reshape(x[0].shape)


def _conv_block(a, shape, x, w, table):
    u = _conv(a, shape, x[:1], w[:2], table)
    y = mish(_group_norm(a, shape, [u], w[2:], table))
    y = y if a["table"] < 0 else _step_bias(a, shape, [y], w, table)
    return (y + x[1] if len(x) > 1 else y), u


def _norm_act_vjp(a, shape, x, w, table):
    slope = mish_slope(_group_norm(a, shape, x[:1], w, table))
    return _group_norm_vjp(a, shape, [x[0], x[1] * slope], w[:1], table)


OPS = {
    "conv": _conv,
    "group_norm": _group_norm,
    "channel_norm": _channel_norm,
    "act": lambda a, shape, x, w, table: mish(x[0]),
    "add": lambda a, shape, x, w, table: x[0] + x[1],
    "concat": lambda a, shape, x, w, table: np.concatenate(x, axis=1),
    "slice": lambda a, shape, x, w, table: x[0][:, a["lo"] : a["lo"] + shape[0]],
    "step_bias": _step_bias,
    "linear_attention": _attention,
    "group_norm_vjp": _group_norm_vjp,
    "act_vjp": lambda a, shape, x, w, table: x[1] * mish_slope(x[0]),
    "conv_block": _conv_block,
    "norm_act_vjp": _norm_act_vjp,
}


def plan(loop, inpainting, tape, *, x=None, start=0, tables=None, candidates=None):
    """x, values, order and chain of a whole plan (core/loop.py, SamplingLoop)."""
    steps, tape = loop.steps, np.asarray(tape, np.float64)
    net_tables, guide_tables = tables or (loop.denoiser.tables, loop.guide.tables if loop.guide else None)
    samples = tape.shape[1]

    def network(which, program, x, tables, *more):
        return run(program, which.weights, [x.transpose(0, 2, 1), *more], tables[k])

    def gradient(x):
        y, dx = network(loop.guide, loop.guide.gradient, x, guide_tables, np.ones((samples, 1, 1)))
        return y.reshape(-1), dx.transpose(0, 2, 1)

    x = inpainting.apply(tape[0] if x is None else np.asarray(x, np.float64))
    chain, previous_x0, values = [x], np.zeros_like(x), np.zeros(samples)
    for k in range(start, loop.rows):
        for _ in range(steps.guide_steps[k]):
            values, g = gradient(x)
            x = inpainting.apply(x + steps.gx[k] * g)
        if loop.guide and k == loop.rows - 1 and not steps.guide_steps[k]:
            values = gradient(x)[0]
        x0 = steps.p[k] * x + steps.q[k] * network(loop.denoiser, loop.denoiser.program, x, net_tables)[0].transpose(
            0, 2, 1
        )
        x0 = x0 + steps.g0[k] * gradient(x)[1] if steps.g0[k] else x0
        x0 = np.clip(x0, *loop.clip) if loop.clip else x0
        x = inpainting.apply(steps.a[k] * x0 + steps.b[k] * x + steps.d[k] * previous_x0 + steps.s[k] * tape[k + 1])
        previous_x0 = x0
        chain.append(x)
    return x, values, ranking(values, candidates or samples), np.stack(chain, axis=1)

"""What ops and the sampling loop mean, in float64 numpy: slow, plain, and written apart from backends/reference.py.

What happens to every result is an argument: nothing, or what csrc/implied.py does to learn how rounding adds up.
"""

import math

import numpy as np

from diffuser_fast.core.loop import ranking


class Exact:
    """Float64 as it is."""

    def once(self, y):
        return y

    def function(self, f, x):
        return f(x)

    def total(self, y, squares, terms):
        return y


EXACT = Exact()


def run(program, weights, inputs, table=None, r=EXACT):
    """Outputs ``[B, C, H]`` by name, inputs as well. table: ``[S]`` or ``[B, S]``. r: what happens to every result."""
    values = {v: np.asarray(inputs[name], np.float64) for name, v in program.inputs.items()}
    for op in program.ops:
        x = [values[v] for v in op.ins]
        w = [np.asarray(weights[name], np.float64) for name in op.weights]
        outs = OPS[op.kind](r, op.attrs, program.shapes[op.outs[0]], x, w, table)
        values.update(zip(op.outs, outs if isinstance(outs, tuple) else (outs,), strict=False))
    return {name: values[v] for name, v in program.outputs.items()}


def taps(a, shape, x, w):
    """Tap by tap: y[o, t] = sum w[o, i, j] x[i, s], s = t stride + j - pad; or w[i, o, j], t = s stride + j - pad."""
    y = np.zeros((len(x), *shape))
    for j in range(a["k"]):
        here = np.arange(x.shape[2] if a["transposed"] else shape[1])
        there = here * a["stride"] + j - a["pad"]
        inside = (there >= 0) & (there < (shape[1] if a["transposed"] else x.shape[2]))
        t, s = (there[inside], here[inside]) if a["transposed"] else (here[inside], there[inside])
        y[:, :, t] += np.ascontiguousarray(w[:, :, j].T if a["transposed"] else w[:, :, j]) @ x[:, :, s]
    return y


def _conv(r, a, shape, x, w, table):
    terms = x[0].shape[1] * a["k"]
    y = r.total(taps(a, shape, x[0], w[0]), lambda first: taps(a, shape, first(x[0]) ** 2, w[0] ** 2), terms)
    y = r.once(y + w[1][:, None]) if len(w) > 1 else y
    return r.once(y + x[1]) if len(x) > 1 else y


def mean(r, x, axis):
    terms = x.shape[axis]
    total = r.total(x.sum(axis=axis, keepdims=True), lambda first: (first(x) ** 2).sum(axis=axis, keepdims=True), terms)
    return r.once(total / terms)


def _normalised(r, x, groups, eps):
    g = x.reshape(len(x), groups, -1)
    g = r.once(g - mean(r, g, 2))
    root = r.once(1 / np.sqrt(r.once(mean(r, r.once(g * g), 2) + eps)))
    return r.once(g * root), root


def _group_norm(r, a, shape, x, w, table):
    n = _normalised(r, x[0], a["groups"], a["eps"])[0].reshape(x[0].shape)
    return r.once(r.once(n * w[0][:, None]) + w[1][:, None])


def _channel_norm(r, a, shape, x, w, table):
    n = _normalised(r, x[0].transpose(0, 2, 1).reshape(len(x[0]), -1), shape[1], a["eps"])[0]
    n = n.reshape(len(x[0]), shape[1], shape[0]).transpose(0, 2, 1)
    return r.once(r.once(n * w[0][:, None]) + w[1][:, None])


def mish(r, x):
    """x tanh(log(1 + e^x))."""
    return r.once(x * r.function(np.tanh, r.function(np.log1p, r.function(np.exp, x))))


def mish_slope(r, x):
    """t + x sigmoid(x) (1 - t^2), t = tanh(log(1 + e^x))."""
    t = r.function(np.tanh, r.function(lambda x: np.logaddexp(0, x), x))
    return r.once(t + r.once(r.once(x * sigmoid(r, x)) * r.once(1 - r.once(t * t))))


def sigmoid(r, x):
    return r.function(lambda x: np.exp(-np.logaddexp(0, -x)), x)


def silu_slope(r, x):
    """s + x s (1 - s)."""
    s = sigmoid(r, x)
    return r.once(s + r.once(r.once(x * s) * r.once(1 - s)))


_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def distribution(r, x):
    """Phi(x)."""
    return r.function(_erfc, r.once(x * -math.sqrt(0.5))) / 2


def gelu_slope(r, x):
    """Phi(x) + x phi(x)."""
    bell = r.function(np.exp, r.once(-0.5 * x * x)) / math.sqrt(2 * math.pi)
    return r.once(distribution(r, x) + r.once(x * bell))


ACTS = {
    "mish": mish,
    "silu": lambda r, x: r.once(x * sigmoid(r, x)),
    "relu": lambda r, x: np.maximum(x, 0),
    "gelu": lambda r, x: r.once(x * distribution(r, x)),
    "square": lambda r, x: r.once(x * x),
}
SLOPES = {
    "mish": mish_slope,
    "silu": silu_slope,
    "relu": lambda r, x: np.where(x > 0, 1.0, 0.0),
    "gelu": gelu_slope,
    "square": lambda r, x: 2 * x,
}


def _step_bias(r, a, shape, x, w, table):
    return r.once(x[0] + np.asarray(table, np.float64)[..., a["table"] : a["table"] + shape[0], None])


def _film(r, a, shape, x, w, table):
    scale, shift = np.split(
        np.asarray(table, np.float64)[..., a["table"] : a["table"] + 2 * shape[0], None], 2, axis=-2
    )
    return r.once(r.once(x[0] * scale) + shift)


def _product(r, equation, one, other, terms):
    def squares(first):
        return np.einsum(equation, first(one) ** 2, first(other) ** 2)

    return r.total(np.einsum(equation, one, other), squares, terms)


def _attention(r, a, shape, x, w, table):
    q, k, v = np.moveaxis(x[0].reshape(len(x[0]), 3, a["heads"], -1, shape[1]), 1, 0)
    k = r.function(np.exp, r.once(k - k.max(axis=-1, keepdims=True)))
    k = r.once(k / (shape[1] * mean(r, k, -1)))
    context = _product(r, "bhdn,bhen->bhde", k, v, shape[1])
    return _product(r, "bhde,bhdn->bhen", context, r.once(q * a["q_scale"]), q.shape[2]).reshape(len(q), *shape)


def _group_norm_vjp(r, a, shape, x, w, table):
    """dx = root (d - mean(d) - n mean(d n)), d = dy gamma."""
    n, root = _normalised(r, x[0], a["groups"], a["eps"])
    d = r.once(x[1] * w[0][:, None]).reshape(n.shape)
    along = r.once(n * mean(r, r.once(d * n), 2))
    return r.once(r.once(r.once(d - mean(r, d, 2)) - along) * root).reshape(x[0].shape)


def _conv_block(r, a, shape, x, w, table):
    u = _conv(r, a, shape, x[:1], w[:2], table)
    y = ACTS[a["act"]](r, _group_norm(r, a, shape, [u], w[2:], table))
    y = y if a["table"] < 0 else _step_bias(r, a, shape, [y], w, table)
    return (r.once(y + x[1]) if len(x) > 1 else y), u


def _norm_act_vjp(r, a, shape, x, w, table):
    slope = SLOPES[a["act"]](r, _group_norm(r, a, shape, x[:1], w, table))
    return _group_norm_vjp(r, a, shape, [x[0], r.once(x[1] * slope)], w[:1], table)


OPS = {
    "conv": _conv,
    "group_norm": _group_norm,
    "channel_norm": _channel_norm,
    "act": lambda r, a, shape, x, w, table: ACTS[a["act"]](r, x[0]),
    "add": lambda r, a, shape, x, w, table: r.once(x[0] + x[1]),
    "concat": lambda r, a, shape, x, w, table: np.concatenate(x, axis=1),
    "slice": lambda r, a, shape, x, w, table: x[0][:, a["lo"] : a["lo"] + shape[0]],
    "step_bias": _step_bias,
    "film": _film,
    "linear_attention": _attention,
    "group_norm_vjp": _group_norm_vjp,
    "act_vjp": lambda r, a, shape, x, w, table: r.once(x[1] * SLOPES[a["act"]](r, x[0])),
    "conv_block": _conv_block,
    "norm_act_vjp": _norm_act_vjp,
}


def seen(tables, k):
    """What samples see in denoising step k, ``[1 or N, S]``; engines add in float32, before anything else."""
    row = tables.per_step[k]
    return row if tables.per_sample is None else (row + tables.per_sample).astype(np.float32)


def plan(loop, inpainting, tape, *, x=None, start=0, tables=None, candidates=None, r=EXACT):
    """x, values, order and chain of a whole plan (core/loop.py, SamplingLoop)."""
    steps, tape = loop.steps, np.asarray(tape, np.float64)
    net_tables, guide_tables = loop.plan_tables(tables, tape.shape[1])
    samples = tape.shape[1]

    def network(which, program, x, tables, **more):
        found = run(program, which.weights, {"x": x.transpose(0, 2, 1), **more}, seen(tables, k), r)
        return {name: y.transpose(0, 2, 1) for name, y in found.items()}

    def gradient(x):
        found = network(loop.guide, loop.guide.gradient, x, guide_tables, dy=np.ones((samples, 1, 1)))
        return found["y"].reshape(-1), found["dx"]

    def sum_of(first, *others):
        for other in others:
            first = r.once(first + other)
        return first

    x = inpainting.apply(tape[0] if x is None else np.asarray(x, np.float64))
    chain, before, values = [x], None, np.zeros(samples)
    for k in range(start, loop.rows):
        for _ in range(steps.guide_steps[k]):
            values, g = gradient(x)
            x = inpainting.apply(sum_of(x, r.once(steps.gx[k] * g)))
        if loop.guide and k == loop.rows - 1 and not steps.guide_steps[k]:
            values = gradient(x)[0]
        x0 = r.once(steps.p[k] * x)
        if steps.q[k]:
            net = network(loop.denoiser, loop.denoiser.program, x, net_tables)["y"]
            x0 = sum_of(x0, r.once(steps.q[k] * net))
        x0 = sum_of(x0, r.once(steps.g0[k] * gradient(x)[1])) if steps.g0[k] else x0
        unclipped = x0
        x0 = np.clip(x0, *loop.clip) if loop.clip else x0
        before = x0 if before is None else before
        terms = ((steps.a, x0), (steps.b, x), (steps.d, before), (steps.u, unclipped), (steps.s, tape[k + 1]))
        x = inpainting.apply(sum_of(*(r.once(column[k] * array) for column, array in terms)))
        before = x0
        chain.append(x)
    return x, values, ranking(values, candidates or samples), np.stack(chain, axis=1)

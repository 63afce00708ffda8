// Ops that no convolution carries: norms, what is done number by number, and copies in and out.
#pragma once

#include "norm.cuh"
#include "view.cuh"

namespace df {
namespace cuda {

// GroupNorm of x, or a gradient at x given r, of channels first .. first + columns.
template <bool exact>
DF_DEVICE void norm(const Context& c, const Stage& s, const Tiling& tiling, int first) {
  const View x = c.view(s.x, s.x_ld, s.h), dy = c.view(s.r, s.r_ld, s.h), y = c.view(s.y, s.y_ld, s.h);
  const int width = s.co / s.groups, end = min_of(first + tiling.columns, s.co);
  const Groups groups = {c.samples, s.h, (end - first) / width, width, first};
  normalised<exact>(groups, s.tail, s.act, s.eps, c.vector(s.gamma), c.vector(s.beta), {c.room, tiling.team},
                    x, x, dy, [&](int n, int t, int channel, float v) { y.tell(n, t, channel, v); });
}

// LayerNorm over the channels of each time (Ba et al. 2016), a warp for each.
DF_DEVICE void channel_norm(const Context& c, const Stage& s) {
  const View x = c.view(s.x, s.x_ld, s.h), y = c.view(s.y, s.y_ld, s.h);
  const float *gamma = c.vector(s.gamma), *beta = c.vector(s.beta), whole = static_cast<float>(s.co);
  Team alone = {nullptr, 1};
  for (int row = warp(); row < c.samples * s.h; row += kWarps) {
    const int n = row / s.h, t = row % s.h;
    float mean = 0.0f, square = 0.0f, none = 0.0f;
    for (int i = lane(); i < s.co; i += 32) mean += x(n, t, i);
    alone.sum(&mean, &none);
    mean /= whole;
    for (int i = lane(); i < s.co; i += 32) square += (x(n, t, i) - mean) * (x(n, t, i) - mean);
    alone.sum(&square, &none);
    const float r = 1.0f / sqrtf(square / whole + s.eps);
    for (int i = lane(); i < s.co; i += 32) y(n, t, i) = (x(n, t, i) - mean) * r * gamma[i] + beta[i];
  }
}

// Number by number: copy, sum, activation or its gradient, step bias, FiLM.
template <bool exact>
DF_DEVICE void pointwise(const Context& c, const Stage& s, const Tiling& tiling, int first) {
  const View x = c.view(s.x, s.x_ld, s.h), r = c.view(s.r, s.r_ld, s.h), y = c.view(s.y, s.y_ld, s.h);
  each(c.samples, s.h, first, min_of(first + tiling.columns, s.co), [&](int n, int t, int channel) {
    float v = x(n, t, channel);
    if (s.tail == kTailAdd) v += r(n, t, channel);
    if (s.tail == kTailAct) v = activation<exact>(s.act, v);
    if (s.tail == kTailActVjp) v = r(n, t, channel) * slope<exact>(s.act, v);
    if (s.tail == kTailFilm) v *= c.table(s.network, n, s.table + channel);
    if (s.tail == kTailFilm) v += c.table(s.network, n, s.table + s.co + channel);
    if (s.tail == kTailBias) v += c.table(s.network, n, s.table + channel);
    y.tell(n, t, channel, v);
  });
}

DF_DEVICE void load(const Context& c, const Stage& s) {
  const View y = c.view(s.y, s.y_ld, s.h);
  const float* from = c.a.io[s.io] + c.first * s.h * s.co;
  each(c.samples, s.h, 0, s.co,
       [&](int n, int t, int channel) { y(n, t, channel) = from[(n * s.h + t) * s.co + channel]; });
}

DF_DEVICE void store(const Context& c, const Stage& s) {
  if (!c.speaks()) return;
  const View x = c.view(s.x, s.x_ld, s.h_in);
  float* to = c.a.io[s.io] + c.first * s.h_in * s.ci;
  each(c.samples, s.h_in, 0, s.ci,
       [&](int n, int t, int channel) { to[(n * s.h_in + t) * s.ci + channel] = x(n, t, channel); });
}

}  // namespace cuda
}  // namespace df

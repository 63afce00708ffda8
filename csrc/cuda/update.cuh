// What happens to the trajectories between the networks (core/loop.py): first noise, guidance, update, inpainting; what
// comes out, and the order of the plans.
#pragma once

#include "noise.cuh"
#include "view.cuh"

namespace df {
namespace cuda {

struct Trajectories {
  const Context& c;
  int size;  // numbers of one

  DF_DEVICE explicit Trajectories(const Context& c) : c(c), size(c.a.horizon * c.a.depth) {}

  // Where a number lies in arrays [batch, horizon, depth].
  DF_DEVICE int dense(int n, int t, int d) const { return (c.first + n) * size + t * c.a.depth + d; }

  DF_DEVICE float inpainted(int n, int t, int d, float v) const {
    const int e = t * c.a.depth + d;
    if (!c.a.mask[e]) return v;
    return c.a.inpaint[(c.first + n) * c.a.inpaint_ld + e];
  }

  // Entry 0 is the first noise, k + 1 that of denoising step k.
  DF_DEVICE float noise(int n, int t, int d, int entry) const {
    if (!c.a.tape) return normal(t * c.a.depth + d, c.first + n, entry, c.a.address);
    return c.a.tape[(entry ? entry - c.a.start : 0) * c.a.batch * size + dense(n, t, d)];
  }

  DF_DEVICE void remember(int n, int t, int d, int entry, float v) const {
    const int states = c.a.rows + 1 - c.a.start;
    if (c.a.chain && c.speaks())
      c.a.chain[((c.first + n) * states + entry - c.a.start) * size + t * c.a.depth + d] = v;
  }
};

DF_DEVICE void begin(const Context& c, const Stage& s) {
  const Trajectories of(c);
  const View y = c.view(s.y, s.y_ld, s.h), dy = c.view(s.p, s.p_ld, 1);
  each(c.samples, s.h, 0, s.co, [&](int n, int t, int d) {
    const float v = of.inpainted(n, t, d, c.a.given ? c.a.given[of.dense(n, t, d)] : of.noise(n, t, d, 0));
    y(n, t, d) = v;
    of.remember(n, t, d, c.a.start, v);
  });
  if (dy)
    for (int n = thread(); n < c.samples; n += kThreads) dy(n, 0, 0) = s.scalar;
}

DF_DEVICE void guidance(const Context& c, const Stage& s) {
  const Trajectories of(c);
  const View g = c.view(s.x, s.x_ld, s.h), y = c.view(s.y, s.y_ld, s.h);
  const float gx = c.a.columns[c.k * kColumns + kColumnGx];
  each(c.samples, s.h, 0, s.co,
       [&](int n, int t, int d) { y(n, t, d) = of.inpainted(n, t, d, fmaf(g(n, t, d), gx, y(n, t, d))); });
}

DF_DEVICE void update(const Context& c, const Stage& s) {
  const Trajectories of(c);
  const View net = c.view(s.x, s.x_ld, s.h), y = c.view(s.y, s.y_ld, s.h), g = c.view(s.r, s.r_ld, s.h);
  const View previous = c.view(s.u, s.u_ld, s.h);
  const float* row = c.a.columns + c.k * kColumns;
  each(c.samples, s.h, 0, s.co, [&](int n, int t, int d) {
    const float old = y(n, t, d);
    float x0 =
        row[kColumnQ] != 0.0f ? fmaf(old, row[kColumnP], net(n, t, d) * row[kColumnQ]) : old * row[kColumnP];
    if (g) x0 = fmaf(g(n, t, d), row[kColumnG0], x0);
    const float unclipped = x0;
    // Written so that a number that is not finite stays one, to be seen below.
    if (c.a.clip_low)
      x0 = x0 < c.a.clip_low[d] ? c.a.clip_low[d] : x0 > c.a.clip_high[d] ? c.a.clip_high[d] : x0;
    float v = fmaf(x0, row[kColumnA], old * row[kColumnB]);
    if (previous) {
      v = fmaf(c.flags & kFlagFirst ? x0 : previous(n, t, d), row[kColumnD], v);
      previous(n, t, d) = x0;
    }
    if (row[kColumnU] != 0.0f) v = fmaf(unclipped, row[kColumnU], v);
    if (row[kColumnS] != 0.0f) v = fmaf(of.noise(n, t, d, c.k + 1), row[kColumnS], v);
    v = of.inpainted(n, t, d, v);
    y(n, t, d) = v;
    of.remember(n, t, d, c.k + 1, v);
    if (!(fabsf(v) < INFINITY) && c.speaks()) atomic_min(c.a.bad, c.k);
  });
}

DF_DEVICE void keep_value(const Context& c, const Stage& s) {
  if (!c.speaks()) return;
  const View x = c.view(s.x, s.x_ld, 1);
  for (int n = thread(); n < c.samples; n += kThreads) c.a.values[c.first + n] = x(n, 0, 0);
}

DF_DEVICE void finish(const Context& c, const Stage& s) {
  if (!c.speaks()) return;
  const Trajectories of(c);
  const View x = c.view(s.x, s.x_ld, s.h);
  each(c.samples, s.h, 0, s.co, [&](int n, int t, int d) { c.a.x[of.dense(n, t, d)] = x(n, t, d); });
}

// The order of the candidates of one situation: a plan's place is the number of plans that go before it, those of
// higher value and of equal value with a lower number. What is not a number goes last.
DF_DEVICE void rank(const Arguments& a, int situation) {
  const float* values = a.values + situation * a.candidates;
  int* order = a.order + situation * a.candidates;
  for (int i = thread(); i < a.candidates; i += kThreads) {
    const float mine = values[i];
    int place = 0;
    for (int j = 0; j < a.candidates; ++j) {
      const float other = values[j];
      const bool higher = other > mine || (mine != mine && other == other);
      const bool equal = other == mine || (other != other && mine != mine);
      place += higher || (equal && j < i);
    }
    order[place] = i;
  }
}

}  // namespace cuda
}  // namespace df

// A convolution and all that its result passes through before it is stored:
//
//   acc = conv(x) + bias [+ early residual] [+ step bias]   -> p, if it is kept
//   y   = tail(acc) [+ step bias] [+ late residual]         -> y
#pragma once

#include "gemm.cuh"
#include "norm.cuh"
#include "view.cuh"

namespace df {
namespace cuda {

// Floats of shared memory that `conv` needs for a tile of so many columns.
DF_HOST_DEVICE int conv_floats(const Stage& s, const Tiling& tiling, int group) {
  const int columns = (min_of(tiling.columns, s.co) + 7) / 8 * 8;
  const int slices = tiling.split + (s.residual == kResidualLateConv ? 1 : 0);
  return 4 * kWarps + slices * ((group * s.h + 15) / 16 * 16) * sums_ld(columns);
}

template <class Precision>
DF_DEVICE const void* weights(const Arguments& a, int number) {
  return reinterpret_cast<const typename Precision::Packed*>(a.packed) + 4 * a.places[number];
}

// Of channels first .. first + columns of the result.
template <class Precision>
DF_DEVICE Product product_of(const Context& c, const Stage& s, const Tiling& tiling, int first) {
  const int end = min_of(first + tiling.columns, s.co);
  Product p;
  p.main = input(c.arena + s.x, s.x_ld, s.ci, s.h_in, weights<Precision>(c.a, s.w), s.co);
  p.main.taps = s.k, p.main.stride = s.stride, p.main.pad = s.pad, p.main.transposed = s.transposed;
  p.early = s.residual == kResidualEarlyConv, p.late = s.residual == kResidualLateConv;
  const int skip = s.skip_w < 0 ? s.w : s.skip_w;
  p.skip = input(c.arena + s.r, s.r_ld, s.cr, s.h, weights<Precision>(c.a, skip), s.co);
  p.rows = c.samples * s.h, p.length = s.h, p.first = first, p.columns = (end - first + 7) / 8 * 8;
  p.split = tiling.split;
  return p;
}

// The tile of channels from `first` on, whose first weights are on their way. after: called when the products are made,
// to send for the next one's.
template <class Precision, class After>
DF_DEVICE void conv(const Context& c, const Stage& s, const Tiling& tiling, int first,
                    Ahead<Precision>& ahead, After after) {
  const Product product = product_of<Precision>(c, s, tiling, first);
  const int end = min_of(first + tiling.columns, s.co), ld = sums_ld(product.columns);
  const int slice = product.row_tiles() * 16 * ld;
  float* sums = c.room + 4 * kWarps;
  const View r = c.view(s.r, s.r_ld, s.h), u = c.view(s.u, s.u_ld, s.h), p = c.view(s.p, s.p_ld, s.h);
  const View y = c.view(s.y, s.y_ld, s.h);
  products<Precision>(product, ahead, sums);
  after();
  sync_block();

  const float *bias = c.vector(s.bias), *skip_bias = c.vector(s.skip_bias);
  // acc of one number, put where its first partial sum was.
  auto finished = [&](int n, int t, int channel) {
    float* at = sums + (n * s.h + t) * ld + channel - first;
    float acc = *at;
    for (int i = 1; i < tiling.split; ++i) acc += at[i * slice];
    if (bias) acc += bias[channel];
    if (s.residual == kResidualEarlyConv && skip_bias) acc += skip_bias[channel];
    if (s.residual == kResidualEarlySame) acc += r(n, t, channel);
    if (s.bias_at == kBiasBefore) acc += c.table(s.network, n, s.table + channel);
    if (p) p.tell(n, t, channel, acc);
    return *at = acc;
  };
  auto there = [&](int n, int t, int channel) { return sums[(n * s.h + t) * ld + channel - first]; };
  auto out = [&](int n, int t, int channel, float v) {
    if (s.bias_at == kBiasAfter) v += c.table(s.network, n, s.table + channel);
    if (s.residual == kResidualLateSame) v += r(n, t, channel);
    if (s.residual == kResidualLateConv) {
      v += sums[tiling.split * slice + (n * s.h + t) * ld + channel - first];
      if (skip_bias) v += skip_bias[channel];
    }
    y.tell(n, t, channel, v);
  };

  constexpr bool exact = Precision::exact;
  if (s.tail == kTailNormAct || s.tail == kTailNormActVjp) {
    const int width = s.co / s.groups;
    const Groups groups = {c.samples, s.h, (end - first) / width, width, first};
    const float *gamma = c.vector(s.gamma), *beta = c.vector(s.beta);
    if (s.tail == kTailNormAct) {
      normalised<exact>(groups, s.tail, s.act, s.eps, gamma, beta, {c.room, tiling.team}, finished, there,
                        there, out);
    } else {
      normalised<exact>(
          groups, s.tail, s.act, s.eps, gamma, beta, {c.room, tiling.team},
          [&](int n, int t, int channel) {
            finished(n, t, channel);
            return u(n, t, channel);
          },
          u, there, out);
    }
    return;
  }
  each(c.samples, s.h, first, end, [&](int n, int t, int channel) {
    const float acc = finished(n, t, channel);
    out(n, t, channel,
        s.tail == kTailAct      ? activation<exact>(s.act, acc)
        : s.tail == kTailActVjp ? acc * slope<exact>(s.act, u(n, t, channel))
                                : acc);
  });
}

}  // namespace cuda
}  // namespace df

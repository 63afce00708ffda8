// One tile of one stage, whatever it is.
#pragma once

#include "alone.cuh"
#include "attention.cuh"
#include "conv.cuh"
#include "update.cuh"

namespace df {
namespace cuda {

// Whether a stage can be cut into tiles; of what cannot, the blocks of a cluster compute all, each for itself.
DF_HOST_DEVICE bool is_cut(const Stage& s) {
  return s.kind == kKindConv || s.kind == kKindNorm || s.kind == kKindPointwise || s.kind == kKindAttention;
}

// Into how many tiles a stage is cut for one group of trajectories.
DF_HOST_DEVICE int tiles_of(const Stage& s, const Tiling& tiling) {
  return is_cut(s) ? (s.co + tiling.columns - 1) / tiling.columns : 1;
}

// Bytes that a tile tells each block of a cluster: of y, and of what is kept of a convolution before its tail.
DF_DEVICE int told_bytes(const Context& c, const Stage& s, const Tiling& tiling, int tile) {
  const int first = tile * tiling.columns, columns = min_of(first + tiling.columns, s.co) - first;
  return 4 * c.samples * s.h * columns * (s.kind == kKindConv && s.p_ld ? 2 : 1);
}

// Bytes of shared memory that a tile needs.
DF_HOST_DEVICE int shared_bytes_of(const Stage& s, const Tiling& tiling, int group) {
  const int floats = s.kind == kKindConv        ? conv_floats(s, tiling, group)
                     : s.kind == kKindAttention ? attention_floats(s)
                                                : 4 * kWarps;
  return 4 * floats;
}

// Sends for the first weights of a tile, if it needs any.
template <class Precision>
DF_DEVICE void begin_tile(const Context& c, const Stage& s, const Tiling& tiling, int tile,
                          Ahead<Precision>& ahead) {
  if (s.kind == kKindConv) begin(ahead, product_of<Precision>(c, s, tiling, tile * tiling.columns));
}

// after: see conv.cuh; called once whatever the stage is.
template <class Precision, class After>
DF_DEVICE void run_tile(const Context& c, const Stage& s, const Tiling& tiling, int tile,
                        Ahead<Precision>& ahead, After after) {
  const int first = tile * tiling.columns;
  if (s.kind == kKindConv) return conv(c, s, tiling, first, ahead, after);
  after();
  switch (s.kind) {
    case kKindNorm:
      return norm<Precision::exact>(c, s, tiling, first);
    case kKindChannelNorm:
      return channel_norm(c, s);
    case kKindPointwise:
      return pointwise<Precision::exact>(c, s, tiling, first);
    case kKindAttention:
      return attention<Precision::exact>(c, s, tiling, first);
    case kKindLoad:
      return load(c, s);
    case kKindStore:
      return store(c, s);
    case kKindBegin:
      return begin(c, s);
    case kKindGuidance:
      return guidance(c, s);
    case kKindUpdate:
      return update(c, s);
    case kKindKeepValue:
      return keep_value(c, s);
    case kKindFinish:
      return finish(c, s);
  }
}

}  // namespace cuda
}  // namespace df

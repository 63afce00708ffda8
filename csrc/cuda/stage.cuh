// One tile of one stage, whatever it is.
#pragma once

#include "alone.cuh"
#include "attention.cuh"
#include "conv.cuh"
#include "update.cuh"

namespace df {
namespace cuda {

// Into how many tiles a stage is cut for one group of trajectories.
DF_HOST_DEVICE int tiles_of(const Stage& s, const Tiling& tiling) {
  const bool cut =
      s.kind == kKindConv || s.kind == kKindNorm || s.kind == kKindPointwise || s.kind == kKindAttention;
  return cut ? (s.co + tiling.columns - 1) / tiling.columns : 1;
}

// Bytes of shared memory that a tile needs.
DF_HOST_DEVICE int shared_bytes_of(const Stage& s, const Tiling& tiling, int group) {
  const int floats = s.kind == kKindConv        ? conv_floats(s, tiling, group)
                     : s.kind == kKindAttention ? attention_floats(s)
                                                : 4 * kWarps;
  return 4 * floats;
}

template <class Precision>
DF_DEVICE void run_tile(const Context& c, const Stage& s, const Tiling& tiling, int tile) {
  const int first = tile * tiling.columns;
  switch (s.kind) {
    case kKindConv:
      return conv<Precision>(c, s, tiling, first);
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

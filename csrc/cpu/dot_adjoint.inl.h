// The adjoint of a convolution by dot products with the weights of the convolution itself, so that a network and its
// gradient read one copy: where plans are few, time goes into fetching weights, and all that is fetched should stay in the cache.
// The packed vectors run along what is summed up here: a tile is 4 rows x 4 channels of sums over lanes.
namespace df {
namespace DF_TARGET {

template <int First, int Last, class Lanes>
inline __attribute__((always_inline)) void add_dot_products(Vec (&sums)[kDotChannels][kSegment],
                                                            const float* x, ptrdiff_t stride, const float* w,
                                                            Lanes lanes) {
  Vec weights[kDotChannels];
#pragma GCC unroll 4
  for (int c = 0; c < kDotChannels; ++c) weights[c] = keep(load(w + c * kBlock));
#pragma GCC unroll 4
  for (int r = First; r < Last; ++r) {
    const Vec input = get(x + (r - First) * stride, lanes);
#pragma GCC unroll 4
    for (int c = 0; c < kDotChannels; ++c) sums[c][r] = fma(input, weights[c], sums[c][r]);
  }
}

// The products of one tap, over all input channels.
template <int First, int Last>
inline __attribute__((always_inline)) void accumulate_dot_products(Vec (&sums)[kDotChannels][kSegment],
                                                                   const float* x, ptrdiff_t stride,
                                                                   const float* w, ptrdiff_t block,
                                                                   ptrdiff_t ahead, int channels) {
  int i = 0;
  for (; i + kBlock <= channels; i += kBlock, w += block) {
#pragma GCC unroll 4
    for (int c = 0; c < kDotChannels; ++c) __builtin_prefetch(w + ahead + c * kBlock, 0, 2);
#pragma GCC unroll 2
    for (int v = 0; v < kBlock; v += kLanes)
      add_dot_products<First, Last>(sums, x + i + v, stride, w + v, Whole{});
  }
  each_vector(i, channels, [&](int c, auto lanes) __attribute__((always_inline)) {
    add_dot_products<First, Last>(sums, x + c, stride, w + (c - i), lanes);
  });
}

template <int First = 0, int Last = kSegment, int Left = 10>
inline __attribute__((always_inline)) void accumulate_dot_products_rows(Vec (&sums)[kDotChannels][kSegment],
                                                                        const Tap& tap, const float* x,
                                                                        ptrdiff_t stride, const float* w,
                                                                        ptrdiff_t block, ptrdiff_t ahead,
                                                                        int channels) {
  if (tap.first == First && tap.last == Last) {
    accumulate_dot_products<First, Last>(sums, x, stride, w, block, ahead, channels);
  } else if constexpr (Left > 1) {
    using Next = NextRange<First, Last>;
    accumulate_dot_products_rows<Next::first, Next::last, Left - 1>(sums, tap, x, stride, w, block, ahead,
                                                                    channels);
  }
}

inline void dot_adjoint(const CompiledOp& op, const Partition& part, const Work& work) {
  const ptrdiff_t block = static_cast<ptrdiff_t>(op.k) * pitch(op.out.channels) * kBlock;
  for (int c = part.c0; c < part.c1; c += kDotChannels) {
    const float* const w = op.w[0] + static_cast<ptrdiff_t>(c) * kBlock;
    ptrdiff_t ahead = kDotChannels * kBlock;  // the first tile fetches the weights of the next channels
    for (int i = part.run; i < part.end_run; ++i) {
      const Run& run = op.runs[i];
      for (int j = 0; j < run.n_tiles; ++j) {
        const Tile& tile = op.tiles[run.tile + j];
        Vec sums[kDotChannels][kSegment];
        for (auto& row : sums) {
          for (Vec& sum : row) sum = zero();
        }
        for (int k = 0; k < run.n_taps; ++k) {
          const Tap& tap = op.taps[run.tap + k];
          const float* const x = work.arena + (tile.input[0] + tap.input);
          accumulate_dot_products_rows(sums, tap, x, run.input_stride, w + tap.weight, block, ahead,
                                       op.x.channels);
        }
        ahead = 0;
        float products[kSegment * kDotChannels];
        for (int d = 0; d < kSegment * kDotChannels; d += 4) {
          const auto at = [&](int n) { return sums[(d + n) % kDotChannels][(d + n) / kDotChannels]; };
          sum4(at(0), at(1), at(2), at(3), products + d);
        }
        for (int r = 0; r < run.rows; ++r) {
          float* const out = work.arena + (tile.out[0] + static_cast<ptrdiff_t>(r) * run.out_stride) + c;
          const float* const add =
              work.arena + (tile.add[0] + static_cast<ptrdiff_t>(r) * run.add_stride) + c;
          for (int d = 0; d < kDotChannels; ++d) {
            out[d] = op.y.at >= 0 ? products[r * kDotChannels + d] + add[d] : products[r * kDotChannels + d];
          }
        }
      }
    }
  }
}

}  // namespace DF_TARGET
}  // namespace df

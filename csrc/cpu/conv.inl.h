// Convolution: a tile of outputs (segments x rows x vectors of channels) stays in registers while its taps and input
// channels pass by. Every output adds up its products in one order, tap by tap and channel by channel, whatever the
// tile it is in: results do not depend on the batch or on the number of threads.
namespace df {
namespace DF_TARGET {

constexpr int kPerBlock = kBlock / kLanes;  // vectors in a block of weights

// The products of one tap: rows First .. Last - 1 of each segment. x: what row First reads, one pointer per segment.
template <int Vectors, int Segments, int First, int Last>
inline __attribute__((always_inline)) void accumulate(Vec (&sums)[Vectors][Segments * kSegment],
                                                      const float* const* x, ptrdiff_t step, const float* w,
                                                      ptrdiff_t block, int channels) {
  for (int c = 0; c < channels; ++c) {
    Vec weights[Vectors];
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) weights[v] = load(w + v / kPerBlock * block + v % kPerBlock * kLanes);
#pragma GCC unroll 4
    for (int s = 0; s < Segments; ++s) {
#pragma GCC unroll 4
      for (int r = First; r < Last; ++r) {
        const Vec input = set(x[s][(r - First) * step + c]);
#pragma GCC unroll 8
        for (int v = 0; v < Vectors; ++v) {
          sums[v][s * kSegment + r] = fma(input, weights[v], sums[v][s * kSegment + r]);
        }
      }
    }
    w += kBlock;
  }
}

struct ConvArgs {
  const float *w, *bias;  // of the tile's first channel
  ptrdiff_t block;
  int in_channels, out_channels;  // out_channels: from the tile's first to the last there is
  float* arena;
  int64_t out, add;  // offset of the first channel from the tile's; add < 0: nothing to add
};

// All tiles of a run, for `Vectors` vectors of output channels.
template <int Vectors, int Segments>
void convolve(const Step& step, const Run& run, const ConvArgs& a) {
  const Tap* const taps = step.taps.data() + run.tap;
  const Tile* const tiles = step.tiles.data() + run.tile;
  const int rest = a.out_channels - (Vectors - 1) * kLanes;
  for (int i = 0; i < run.n_tiles; ++i) {
    Vec sums[Vectors][Segments * kSegment];
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) {
      const Vec start = a.bias ? load(a.bias + v * kLanes) : zero();
#pragma GCC unroll 12
      for (int r = 0; r < Segments * kSegment; ++r) sums[v][r] = start;
    }
    for (int j = 0; j < run.n_taps; ++j) {
      const Tap& tap = taps[j];
      const float* x[Segments];
      for (int s = 0; s < Segments; ++s) x[s] = a.arena + (tiles[i].input[s] + tap.input);
      const float* const w = a.w + tap.weight;
#define DF_ROWS(First, Last)                                                                              \
  case First * 8 + Last:                                                                                  \
    accumulate<Vectors, Segments, First, Last>(sums, x, run.input_step, w, a.block, a.in_channels);       \
    break;
      switch (tap.first * 8 + tap.last) {
        DF_ROWS(0, 4)
        DF_ROWS(0, 3) DF_ROWS(1, 4)
        DF_ROWS(0, 2) DF_ROWS(1, 3) DF_ROWS(2, 4)
        DF_ROWS(0, 1) DF_ROWS(1, 2) DF_ROWS(2, 3) DF_ROWS(3, 4)
      }
#undef DF_ROWS
    }
#pragma GCC unroll 4
    for (int s = 0; s < Segments; ++s) {
#pragma GCC unroll 4
      for (int r = 0; r < kSegment; ++r) {
        if (Segments == 1 && r >= run.rows) break;
        float* const out = a.arena + (a.out + tiles[i].out[s] + static_cast<ptrdiff_t>(r) * run.out_step);
        const float* const add_from =
            a.add < 0 ? nullptr : a.arena + (a.add + tiles[i].add[s] + static_cast<ptrdiff_t>(r) * run.add_step);
#pragma GCC unroll 8
        for (int v = 0; v < Vectors; ++v) {
          Vec y = sums[v][s * kSegment + r];
          if (v < Vectors - 1 || rest >= kLanes) {
            if (add_from) y = add(y, load(add_from + v * kLanes));
            store(out + v * kLanes, y);
          } else {
            if (add_from) y = add(y, load(add_from + v * kLanes, rest));
            store(out + v * kLanes, y, rest);
          }
        }
      }
    }
  }
}

using Convolve = void (*)(const Step&, const Run&, const ConvArgs&);

template <int Vectors, int Segments>
constexpr Convolve kernel() {
  if constexpr (Segments <= kSegments && Vectors <= max_vectors(Segments, Segments > 1 ? kSegment : 1)) {
    return convolve<Vectors, Segments>;
  } else {
    return nullptr;
  }
}

constexpr Convolve kConvolve[3][6] = {
    {kernel<1, 1>(), kernel<2, 1>(), kernel<3, 1>(), kernel<4, 1>(), kernel<5, 1>(), kernel<6, 1>()},
    {kernel<1, 2>(), kernel<2, 2>(), kernel<3, 2>(), kernel<4, 2>(), kernel<5, 2>(), kernel<6, 2>()},
    {kernel<1, 3>(), kernel<2, 3>(), kernel<3, 3>(), kernel<4, 3>(), kernel<5, 3>(), kernel<6, 3>()},
};

// Vectors per tile: as many as the fullest run allows, spread evenly over `vectors`.
inline int tile_vectors(const Step& step, const Part& part, int vectors) {
  int most = max_vectors(1, 1);
  for (int i = part.run; i < part.end_run; ++i) {
    const int fits = max_vectors(step.runs[i].segments, step.runs[i].rows);
    if (fits < most) most = fits;
  }
  int even = ceil_div(vectors, ceil_div(vectors, most));
  if (kLanes < kBlock) {  // tiles must not straddle blocks of weights
    while (even & (even - 1)) ++even;
  }
  return even;
}

inline void conv(const Step& step, const Part& part, const Work& work) {
  const int vectors = ceil_div(part.c1 - part.c0, kLanes);
  if (vectors <= 0 || part.run == part.end_run) return;
  const int width = tile_vectors(step, part, vectors);
  const ptrdiff_t block = static_cast<ptrdiff_t>(step.k) * step.x.channels * kBlock;
  ConvArgs a{};
  a.block = block;
  a.in_channels = step.x.channels;
  a.arena = work.arena;
  // Channels outermost: a tile's weights are read from memory once and serve every run.
  for (int v = 0; v < vectors; v += width) {
    const int c = part.c0 + v * kLanes, n = v + width <= vectors ? width : vectors - v;
    a.w = step.w[0] + c / kBlock * block + c % kBlock;
    a.bias = step.w[1] ? step.w[1] + c : nullptr;
    a.out_channels = part.c1 - c;
    a.out = c;
    a.add = step.op == kConv && step.y.at >= 0 ? c : -1;
    for (int i = part.run; i < part.end_run; ++i) {
      kConvolve[step.runs[i].segments - 1][n - 1](step, step.runs[i], a);
    }
  }
}

}  // namespace DF_TARGET
}  // namespace df

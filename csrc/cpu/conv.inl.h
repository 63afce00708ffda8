// Convolution: a tile of outputs (segments x rows x vectors of channels) stays in registers while its taps and input
// channels pass by. Every output adds up its products in one order, tap by tap and channel by channel, whatever the
// tile it is in: results do not depend on the batch or on the number of threads.
namespace df {
namespace DF_TARGET {

constexpr int kPerBlock = kBlock / kLanes;  // vectors in a block of weights

// An input, and with kFloats of two the one after it: broadcast from memory,
struct Broadcast {
  const float* x;

  template <int N>
  inline __attribute__((always_inline)) Vec at() const {
    return set(x[N]);
  }
};
// or lanes of a vector that was loaded for several channels.
template <int First>
struct Lanes {
  Vec x;

  template <int N>
  inline __attribute__((always_inline)) auto at() const {
    return lane<First + N>(x);
  }
};

struct ConvArgs {
  const float *w, *bias;  // of the tile's first channel
  const float* scales;    // of kInt8: likewise
  const float* grids;     // of kInt8: of the first trajectory
  int first;              // place of the tile's first vector in its block
  ptrdiff_t block;
  ptrdiff_t ahead;   // floats from these weights to those that come next
  int tiles;         // so many tiles may still fetch of those; one takes a block
  int out_channels;  // from the tile's first to the last there is
  const float* input;
  float* arena;
  int64_t out, add;  // offset of the first channel from the tile's; add < 0: nothing to add
};

// What becomes of a tile's sums: the bias is added. Sums of at least kChunk products are put aside and start anew: a
// long sum of floats is the more exact for being made of shorter ones.
template <int Vectors>
struct FloatResult {
  static constexpr bool kChunks = true;

  FloatResult(const CompiledOp&, const Run&, const ConvArgs& a) {
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) bias[v] = a.bias ? load(a.bias + v * kLanes) : zero();
  }

  // r: the row in its segment, of the trajectory b.
  inline __attribute__((always_inline)) Vec operator()(int v, int, int, Vec sum) const {
    return add(bias[v], sum);
  }

  Vec bias[Vectors];
};

// The operands of a convolution: float32, a channel at a time. packed_bf16.inl.h and int8.inl.h have others.
struct Float32 {
  static constexpr int kFloats = 1;  // of x to the next channel
  static constexpr int kAhead = 0;   // floats: weights are fetched so early, all vectors of a tile; 0: not
  template <int Vectors>
  using Result = FloatResult<Vectors>;
  static constexpr int vectors(int segments, int rows) {
    return max_vectors(segments, rows);
  }  // that fit registers

  // sums of one row += x w for V vectors of weights.
  template <class Input, int V, int R>
  static inline __attribute__((always_inline)) void multiply(Vec (&sums)[V][R], int row, Input x,
                                                             const Vec (&w)[V]) {
    const auto input = x.template at<0>();
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) sums[v][row] = fma(input, w[v], sums[v][row]);
  }
};

// Floats from the first vector of weights of a tile to the others. `first`: its place in its block, which a tile of
// an odd number of vectors may begin in the middle of.
template <int Vectors>
struct Offsets {
  Offsets(int first, ptrdiff_t block) {
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) {
      at[v] = (first + v) / kPerBlock * block + ((first + v) % kPerBlock - first) * kLanes;
    }
  }
  ptrdiff_t at[Vectors];
};

template <int Ahead, int Vectors>
inline __attribute__((always_inline)) void load_weights(const float* w, const Offsets<Vectors>& offsets,
                                                        Vec (&weights)[Vectors]) {
#pragma GCC unroll 8
  for (int v = 0; v < Vectors; ++v) {
    weights[v] = keep(load(w + offsets.at[v]));
    if (Ahead && v % kPerBlock == 0) __builtin_prefetch(w + offsets.at[v] + Ahead);
  }
}

// Of as many units as a vector of each row's inputs holds, those from `Unit` on.
template <class Operands, int Vectors, int Segments, int First, int Last, int Unit>
inline __attribute__((always_inline)) void accumulate_lanes(Vec (&sums)[Vectors][Segments * kSegment],
                                                            const Vec (&inputs)[Segments * kSegment],
                                                            const float* w, const Offsets<Vectors>& offsets,
                                                            ptrdiff_t ahead) {
  if constexpr (Unit * Operands::kFloats < kInputLanes) {
    __builtin_prefetch(w + ahead, 0, 2);
    Vec weights[Vectors];
    load_weights<Operands::kAhead>(w, offsets, weights);
#pragma GCC unroll 4
    for (int s = 0; s < Segments; ++s) {
#pragma GCC unroll 4
      for (int r = First; r < Last; ++r) {
        const int row = s * kSegment + r;
        Operands::multiply(sums, row, Lanes<Unit * Operands::kFloats>{inputs[row]}, weights);
      }
    }
    accumulate_lanes<Operands, Vectors, Segments, First, Last, Unit + 1>(sums, inputs, w + kBlock, offsets,
                                                                         ahead);
  }
}

// The products of one tap: rows First .. Last - 1 of each segment. x: what row First reads, one pointer per segment.
template <class Operands, int Vectors, int Segments, int First, int Last>
inline __attribute__((always_inline)) void accumulate(Vec (&sums)[Vectors][Segments * kSegment],
                                                      const float* const* x, ptrdiff_t stride, const float* w,
                                                      const Offsets<Vectors>& offsets, ptrdiff_t ahead,
                                                      int units) {
  int c = 0;
  if constexpr (kInputLanes > 1) {
    constexpr int kUnits = kInputLanes / Operands::kFloats;
    for (; c + kUnits <= units; c += kUnits) {
      Vec inputs[Segments * kSegment];
#pragma GCC unroll 4
      for (int s = 0; s < Segments; ++s) {
#pragma GCC unroll 4
        for (int r = First; r < Last; ++r)
          inputs[s * kSegment + r] = load(x[s] + (r - First) * stride + c * Operands::kFloats);
      }
      accumulate_lanes<Operands, Vectors, Segments, First, Last, 0>(sums, inputs, w, offsets, ahead);
      w += kUnits * kBlock;
    }
  }
  for (; c < units; ++c) {
    __builtin_prefetch(w + ahead, 0, 2);
    Vec weights[Vectors];
    load_weights<Operands::kAhead>(w, offsets, weights);
#pragma GCC unroll 4
    for (int s = 0; s < Segments; ++s) {
#pragma GCC unroll 4
      for (int r = First; r < Last; ++r) {
        const Broadcast input{x[s] + (r - First) * stride + c * Operands::kFloats};
        Operands::multiply(sums, s * kSegment + r, input, weights);
      }
    }
    w += kBlock;
  }
}

// The ten ranges of rows, in order: all four, then the threes, twos and ones.
template <int First, int Last>
struct NextRange {
  static constexpr int first = Last == kSegment ? 0 : First + 1;
  static constexpr int last = Last == kSegment ? Last - First - 1 : Last + 1;
};

// The products of one tap, for whichever rows it has.
template <class Operands, int Vectors, int Segments, int First = 0, int Last = kSegment, int Left = 10>
inline __attribute__((always_inline)) void accumulate_rows(Vec (&sums)[Vectors][Segments * kSegment],
                                                           const Tap& tap, const float* const* x,
                                                           ptrdiff_t stride, const float* w,
                                                           const Offsets<Vectors>& offsets, ptrdiff_t ahead) {
  if (tap.first == First && tap.last == Last) {
    accumulate<Operands, Vectors, Segments, First, Last>(sums, x, stride, w, offsets, ahead, tap.channels);
  } else if constexpr (Left > 1) {
    using Next = NextRange<First, Last>;
    accumulate_rows<Operands, Vectors, Segments, Next::first, Next::last, Left - 1>(sums, tap, x, stride, w,
                                                                                    offsets, ahead);
  }
}

// All tiles of a run, for `Vectors` vectors of output channels.
template <class Operands, int Vectors, int Segments>
void convolve(const CompiledOp& op, const Run& run, ConvArgs& a) {
  constexpr int kRows = Segments * kSegment;
  const Tap* const taps = op.taps.data() + run.tap;
  const Tile* const tiles = op.tiles.data() + run.tile;
  const int rest = a.out_channels - (Vectors - 1) * kLanes;
  const Offsets<Vectors> offsets(a.first, a.block);
  using Result = typename Operands::template Result<Vectors>;
  const Result result(op, run, a);
  for (int i = 0; i < run.n_tiles; ++i) {
    Vec sums[Vectors][kRows];
    Vec totals[Vectors][kRows];  // of what is put aside; many convolutions never do
    bool put_aside = false;
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) {
#pragma GCC unroll 12
      for (int r = 0; r < kRows; ++r) sums[v][r] = zero();
    }
    const ptrdiff_t ahead = a.tiles > 0 ? a.ahead : 0;
    a.ahead += a.block;
    --a.tiles;
    for (int j = 0; j < run.n_taps; ++j) {
      const Tap& tap = taps[j];
      if (Result::kChunks && j > 0 && tap.chunk != taps[j - 1].chunk) {
#pragma GCC unroll 8
        for (int v = 0; v < Vectors; ++v) {
#pragma GCC unroll 12
          for (int r = 0; r < kRows; ++r) {
            totals[v][r] = put_aside ? add(totals[v][r], sums[v][r]) : result(v, r, 0, sums[v][r]);
            sums[v][r] = zero();
          }
        }
        put_aside = true;
      }
      const float* x[Segments];
      for (int s = 0; s < Segments; ++s) x[s] = a.input + (tiles[i].input[s] + tap.input);
      accumulate_rows<Operands, Vectors, Segments>(sums, tap, x, run.input_stride, a.w + tap.weight, offsets,
                                                   ahead);
    }
#pragma GCC unroll 4
    for (int s = 0; s < Segments; ++s) {
#pragma GCC unroll 4
      for (int r = 0; r < kSegment; ++r) {
        if (Segments == 1 && r >= run.rows) break;
        const int b = tiles[i].trajectory[s] + r * run.trajectory_stride;
        float* const out = a.arena + (a.out + tiles[i].out[s] + static_cast<ptrdiff_t>(r) * run.out_stride);
        const float* const add_from =
            a.add < 0 ? nullptr
                      : a.arena + (a.add + tiles[i].add[s] + static_cast<ptrdiff_t>(r) * run.add_stride);
#pragma GCC unroll 8
        for (int v = 0; v < Vectors; ++v) {
          const bool whole = v < Vectors - 1 || rest >= kLanes;
          const Vec sum = sums[v][s * kSegment + r];
          Vec y = put_aside ? add(totals[v][s * kSegment + r], sum) : result(v, r, b, sum);
          if (add_from) y = add(y, whole ? load(add_from + v * kLanes) : load(add_from + v * kLanes, rest));
          if (whole) {
            store(out + v * kLanes, y);
          } else {
            store(out + v * kLanes, y, rest);
          }
        }
      }
    }
  }
}

using Convolve = void (*)(const CompiledOp&, const Run&, ConvArgs&);

template <class Operands, int Vectors, int Segments>
constexpr Convolve kernel() {
  if constexpr (Segments <= kSegments &&
                Vectors <= Operands::vectors(Segments, Segments > 1 ? kSegment : 1)) {
    return convolve<Operands, Vectors, Segments>;
  } else {
    return nullptr;
  }
}

template <class O>
constexpr Convolve kConvolve[3][6] = {
    {kernel<O, 1, 1>(), kernel<O, 2, 1>(), kernel<O, 3, 1>(), kernel<O, 4, 1>(), kernel<O, 5, 1>(),
     kernel<O, 6, 1>()},
    {kernel<O, 1, 2>(), kernel<O, 2, 2>(), kernel<O, 3, 2>(), kernel<O, 4, 2>(), kernel<O, 5, 2>(),
     kernel<O, 6, 2>()},
    {kernel<O, 1, 3>(), kernel<O, 2, 3>(), kernel<O, 3, 3>(), kernel<O, 4, 3>(), kernel<O, 5, 3>(),
     kernel<O, 6, 3>()},
};

// Vectors per tile: at most so many, spread evenly over `vectors`.
inline int even_vectors(int vectors, int most) { return ceil_div(vectors, ceil_div(vectors, most)); }

// Vectors that a tile of the fullest run takes, and that the widest tile of any run does: where the fullest has several
// tiles, for else it is the weights that take time to come, and they are wanted in one order.
template <class Operands>
inline void tile_vectors(const CompiledOp& op, const Partition& part, int vectors, int* fullest,
                         int* widest) {
  int least = Operands::vectors(1, 1), most = 1;
  for (int i = part.run; i < part.end_run; ++i) {
    const int fits = Operands::vectors(op.runs[i].segments, op.runs[i].rows);
    least = fits < least ? fits : least;
    most = fits > most ? fits : most;
  }
  *fullest = even_vectors(vectors, least);
  if (op.runs[part.run].n_tiles < 2) most = *fullest;
  *widest = *fullest * even_vectors(ceil_div(vectors, *fullest), most / *fullest > 1 ? most / *fullest : 1);
}

// `input`: where the offsets of the tiles' inputs count from.
template <class Operands>
inline void conv(const CompiledOp& op, const Partition& part, const Work& work, const float* input) {
  const int vectors = ceil_div(part.c1 - part.c0, kLanes);
  if (vectors <= 0 || part.run == part.end_run) return;
  int width, widest;
  tile_vectors<Operands>(op, part, vectors, &width, &widest);
  const ptrdiff_t block = static_cast<ptrdiff_t>(op.k) * pitch(op.units()) * kBlock;
  ConvArgs a{};
  a.block = block;
  a.input = input;
  a.grids = input + op.grids();
  a.arena = work.arena;
  int tiles = 0;
  for (int i = part.run; i < part.end_run; ++i) tiles += op.runs[i].n_tiles;
  const bool many =
      tiles >= 2 * ceil_div(width, kPerBlock);  // with few, weights come as fast as they can anyway
  // Channels outermost: a tile's weights are read from memory once and serve every run. A run of few rows takes more of
  // them at once than the first, which is the fullest: else too few sums would be under way to hide what each takes.
  for (int outer = 0; outer < vectors; outer += widest) {
    const int end = outer + widest < vectors ? outer + widest : vectors;
    for (int i = part.run; i < part.end_run; ++i) {
      const Run& run = op.runs[i];
      const int fits = even_vectors(end - outer, Operands::vectors(run.segments, run.rows));
      for (int v = outer; v < end; v += fits) {
        const int c = part.c0 + v * kLanes, n = v + fits <= end ? fits : end - v;
        a.w = op.w[0] + c / kBlock * block + c % kBlock;
        a.first = c % kBlock / kLanes;
        a.scales = op.w[0] + padded(op.out.channels) / kBlock * block + c / kBlock * (op.k + 1) * kBlock +
                   c % kBlock;
        a.bias = op.w[1] ? op.w[1] + c : nullptr;
        a.out_channels = part.c1 - c;
        a.out = c;
        a.add = op.opcode == kConv && op.y.at >= 0 ? c : -1;
        const bool last = v + n == vectors;
        a.ahead = !last     ? ceil_div(n, kPerBlock) * block
                  : op.next ? op.next + part.c0 / kBlock * op.next_block - a.w
                            : 0;
        a.tiles = i > part.run || (last && !op.next) || !many ? 0 : ceil_div(width, kPerBlock);
        kConvolve<Operands>[run.segments - 1][n - 1](op, run, a);
      }
    }
  }
}

}  // namespace DF_TARGET
}  // namespace df

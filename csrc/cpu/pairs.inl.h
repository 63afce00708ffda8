// Convolutions with weights in bfloat16: half the bytes to fetch. A word of weights holds two input channels of one
// output, so that a vector of words serves 16 (or 8) outputs.
namespace df {
namespace DF_TARGET {

#if defined(DF_BF16)
constexpr bool kBf16 = true;

// Two channels at a time, both sides in bfloat16: each product is exact, sums are float32.
struct Pairs {
  static constexpr int kFloats = 1;  // a word
  static constexpr int vectors(int segments, int rows) { return max_vectors(segments, rows); }

  template <int V, int R>
  static inline __attribute__((always_inline)) void multiply(Vec (&sums)[V][R], int row, const float* x,
                                                             const Vec (&w)[V]) {
    const Vec input = set(*x);
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) sums[v][row] = dot(sums[v][row], input, w[v]);
  }
};

// Rows of x that a part reads -> pairs of bfloat16 in the thread's scratch.
inline void to_pairs(const Step& s, const Part& part, const Work& work) {
  for (int block = part.block; block < part.end_block;) {
    const int b = block / s.row_blocks, end = (b + 1) * s.row_blocks;
    const int last = end < part.end_block ? end : part.end_block;
    int t0 = block % s.row_blocks * kRowBlock, t1 = (last - b * s.row_blocks) * kRowBlock;  // outputs
    t1 = t1 < s.out.length ? t1 : s.out.length;
    if (s.transposed) {
      t0 = (t0 + s.pad - s.k + 1) / s.stride;
      t1 = (t1 - 1 + s.pad) / s.stride + 1;
    } else {
      t0 = t0 * s.stride - s.pad;
      t1 = (t1 - 1) * s.stride - s.pad + s.k;
    }
    for (int t = t0 > 0 ? t0 : 0; t < t1 && t < s.x.length; ++t) {
      const float* const x = work.arena + s.x.row(b, t);
      float* const out = work.own + s.pairs.row(b, t);
      for (int c = 0; c < s.x.channels; c += 2 * kLanes) {
        const int left = s.x.channels - c;
        const Vec low = left < kLanes ? load(x + c, left) : load(x + c);
        const Vec high = left >= 2 * kLanes ? load(x + c + kLanes)
                                            : load(x + c + kLanes, left > kLanes ? left - kLanes : 0);
        store_bf16(out + c / 2, low, high);
      }
    }
    block = last;
  }
}

inline void conv_in_bf16(const Step& s, const Part& part, const Work& work) {
  if (part.c0 >= part.c1) return;
  to_pairs(s, part, work);
  conv<Pairs>(s, part, work, work.own);
}
#else
constexpr bool kBf16 = false;

// Two channels at a time; weights become float32 on the way, inputs are float32.
struct Pairs {
  static constexpr int kFloats = 2;
  // Each vector of words takes the registers of two of weights as well.
  static constexpr int vectors(int segments, int rows) {
    const int most = kLanes == kBlock && segments == 1 ? 3 : 2;
    return most < max_vectors(segments, rows) ? most : max_vectors(segments, rows);
  }

  template <int V, int R>
  static inline __attribute__((always_inline)) void multiply(Vec (&sums)[V][R], int row, const float* x,
                                                             const Vec (&w)[V]) {
    const Vec first = set(x[0]), second = set(x[1]);
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
      sums[v][row] = fma(first, low_halves(w[v]), sums[v][row]);
      sums[v][row] = fma(second, high_halves(w[v]), sums[v][row]);
    }
  }
};

inline void conv_in_bf16(const Step& s, const Part& part, const Work& work) {
  conv<Pairs>(s, part, work, work.arena);
}
#endif

}  // namespace DF_TARGET
}  // namespace df

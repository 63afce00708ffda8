// Convolutions with weights in packed bfloat16: half the bytes to fetch. A word of weights holds two input channels of
// one output, so that a vector of words serves 16 (or 8) outputs.
namespace df {
namespace DF_TARGET {

#if defined(DF_BF16)
constexpr bool kBf16 = true;

// Two channels at a time, both sides in bfloat16: each product is exact, sums are float32.
struct PackedBf16 {
  static constexpr int kFloats = 1;  // a word
  static constexpr int kAhead = 0;
  template <int Vectors>
  using Result = FloatResult<Vectors>;
  static constexpr int vectors(int segments, int rows) { return max_vectors(segments, rows); }

  template <class Input, int V, int R>
  static inline __attribute__((always_inline)) void multiply(Vec (&sums)[V][R], int row, Input x,
                                                             const Vec (&w)[V]) {
    const auto input = x.template at<0>();
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) sums[v][row] = dot(sums[v][row], input, w[v]);
  }
};

// Rows of x that a thread's share reads -> words of two bfloat16 in its scratch.
inline void pack_input(const CompiledOp& op, const Partition& part, const Work& work) {
  each_input(op, part, [&](int b, int t0, int t1) {
    for (int t = t0; t < t1; ++t) {
      const float* const x = work.arena + op.x.row(b, t);
      float* const out = work.own + op.packed_x.row(b, t);
      for (int c = 0; c < op.x.channels; c += 2 * kLanes) {
        const int left = op.x.channels - c;
        const Vec low = left < kLanes ? load(x + c, left) : load(x + c);
        const Vec high = left >= 2 * kLanes ? load(x + c + kLanes)
                                            : load(x + c + kLanes, left > kLanes ? left - kLanes : 0);
        store_bf16(out + c / 2, low, high);
      }
    }
  });
}

inline void conv_packed_bf16(const CompiledOp& op, const Partition& part, const Work& work) {
  if (part.c0 >= part.c1) return;
  pack_input(op, part, work);
  conv<PackedBf16>(op, part, work, work.own);
}
#else
constexpr bool kBf16 = false;

// Two channels at a time; weights become float32 on the way, inputs are float32.
struct PackedBf16 {
  static constexpr int kFloats = 2;
  static constexpr int kAhead = 0;
  template <int Vectors>
  using Result = FloatResult<Vectors>;
  // Each vector of words takes the registers of two of weights as well.
  static constexpr int vectors(int segments, int rows) {
    const int most = kLanes == kBlock && segments == 1 ? 3 : 2;
    return most < max_vectors(segments, rows) ? most : max_vectors(segments, rows);
  }

  template <class Input, int V, int R>
  static inline __attribute__((always_inline)) void multiply(Vec (&sums)[V][R], int row, Input x,
                                                             const Vec (&w)[V]) {
    const auto first = x.template at<0>();
    const auto second = x.template at<1>();
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
      sums[v][row] = fma(first, low_halves(w[v]), sums[v][row]);
      sums[v][row] = fma(second, high_halves(w[v]), sums[v][row]);
    }
  }
};

inline void conv_packed_bf16(const CompiledOp& op, const Partition& part, const Work& work) {
  conv<PackedBf16>(op, part, work, work.arena);
}
#endif

}  // namespace DF_TARGET
}  // namespace df

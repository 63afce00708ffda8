// Convolutions of 8-bit integers. A trajectory's input becomes u = x / step + zero on a grid of its own, from its least
// to its greatest number, with kLevels steps from kLeast on (127 where products of pairs of unsigned bytes are added up
// in 16 bits); a weight becomes q = w / scale in -127 .. 127, with a scale for each output channel (backends/pack.py).
// Sums are whole numbers and exact,
//
//   y = step scale (sum u q - zero sum q) + bias,
//
// so that the order of products, and with it the instruction set, does not show in them.
namespace df {
namespace DF_TARGET {

// Sums -> results.
template <int Vectors>
struct Int8Result {
  static constexpr bool kChunks = false;

  Int8Result(const CompiledOp& op, const Run& run, const ConvArgs& a) : grids(a.grids) {
    const Offsets<Vectors> offsets(a.first, static_cast<ptrdiff_t>(op.k + 1) * kBlock);
    const int tap_floats = pitch(op.units()) * kBlock;
    for (int v = 0; v < Vectors; ++v) {
      bias[v] = a.bias ? load(a.bias + v * kLanes) : zero();
      scale[v] = load(a.scales + offsets.at[v]);
      for (int r = 0; r < kSegment; ++r) {
        weights[v][r] = zero();
        for (int j = 0; j < run.n_taps; ++j) {
          const Tap& tap = op.taps[run.tap + j];
          if (r < tap.first || r >= tap.last) continue;
          const float* const sums = a.scales + (1 + tap.weight / tap_floats) * kBlock;
          weights[v][r] = add(weights[v][r], load(sums + offsets.at[v]));
        }
      }
    }
  }

  inline __attribute__((always_inline)) Vec operator()(int v, int r, int b, Vec sum) const {
    const Vec step = set(grids[2 * b]), zero_point = set(grids[2 * b + 1]);
    const Vec centred = fnma(zero_point, weights[v][r], to_float(bits(sum)));
    return fma(centred, mul(step, scale[v]), bias[v]);
  }

  const float* grids;
  Vec bias[Vectors], scale[Vectors];
  Vec weights[Vectors][kSegment];  // sum q, of the taps that a row has
};

// Four channels at a time: a word of each.
struct Int8 {
  static constexpr int kFloats = 1;  // a word
  static constexpr int kAhead = 0;
  template <int Vectors>
  using Result = Int8Result<Vectors>;
  static constexpr int vectors(int segments, int rows) { return int8_vectors(segments, rows); }

  template <class Input, int V, int R>
  static inline __attribute__((always_inline)) void multiply(Vec (&sums)[V][R], int row, Input x,
                                                             const Vec (&w)[V]) {
    const auto input = x.template at<0>();
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) sums[v][row] = from_bits(dot4(bits(sums[v][row]), input, bits(w[v])));
  }
};

struct Grid {
  float step, zero, per_step;
};

// Of some rows of a trajectory, zero among them. wrong: zero, or no number where one of them is not finite.
struct Range {
  float least, most, wrong;
};

inline Range range_of(const CompiledOp& op, const Work& work, int b, int t0, int t1) {
  constexpr int kChains = 4;
  Vec low[kChains], high[kChains], wrong[kChains];
  for (int i = 0; i < kChains; ++i) low[i] = high[i] = wrong[i] = zero();
  const float* const x = work.arena + op.x.row(b, 0);
  const auto take = [&](int i, Vec v) {
    low[i] = min(low[i], v);
    high[i] = max(high[i], v);
    wrong[i] = fma(v, zero(), wrong[i]);
  };
  each_vector(0, op.x.channels, [&](int c, auto lanes) {
    int t = t0;
    for (; t + kChains <= t1; t += kChains) {
#pragma GCC unroll 4
      for (int i = 0; i < kChains; ++i)
        take(i, get(x + (t + i) * static_cast<ptrdiff_t>(op.x.ld) + c, lanes));
    }
    for (; t < t1; ++t) take(0, get(x + t * static_cast<ptrdiff_t>(op.x.ld) + c, lanes));
  });
  float lows[kLanes], highs[kLanes];
  Range range{0, 0, sum(add(add(wrong[0], wrong[1]), add(wrong[2], wrong[3])))};
  store(lows, min(min(low[0], low[1]), min(low[2], low[3])));
  store(highs, max(max(high[0], high[1]), max(high[2], high[3])));
  for (int i = 0; i < kLanes; ++i) {
    range.least = lows[i] < range.least ? lows[i] : range.least;
    range.most = highs[i] > range.most ? highs[i] : range.most;
  }
  return range;
}

// From the least to the greatest number, and zero lies on it. If one is not finite, neither is the step.
inline Grid grid_of(const Range& range) {
  const float width = range.most - range.least;
  if (width > 3e38f) return {3e38f * width, 0, 0};     // no number
  if (width < 1e-30f) return {1 + range.wrong, 0, 0};  // all zeros
  const float per_step = kLevels / width;
  return {width / kLevels + range.wrong, static_cast<float>(static_cast<int>(0.5f - range.least * per_step)),
          per_step};
}

// Of all of a trajectory, by what each thread has found in its part of the rows of all trajectories.
struct SharedRanges {
  float* at;  // [threads][trajectories][kRange]
  int threads, trajectories;

  float* of(int64_t thread, int b) const { return at + (thread * trajectories + b) * kRange; }

  // False: the threads have dissolved.
  bool look(const CompiledOp& op, const Partition& part, const Work& work) const {
    const int64_t rows = int64_t{trajectories} * op.x.length, thread = &part - op.partitions.data();
    const int64_t first = rows * thread / threads, last = rows * (thread + 1) / threads;
    for (int b = 0; b < trajectories; ++b) {
      const int64_t from = first - int64_t{b} * op.x.length, to = last - int64_t{b} * op.x.length;
      const int t0 = static_cast<int>(from > 0 ? from : 0);
      const int t1 = static_cast<int>(to < op.x.length ? to : op.x.length);
      const Range range = t0 < t1 ? range_of(op, work, b, t0, t1) : Range{0, 0, 0};
      float* const kept = of(thread, b);
      kept[0] = range.least;
      kept[1] = range.most;
      kept[2] = range.wrong;
    }
    return wait_for_all(work.barrier, threads);
  }

  Range operator()(int b) const {
    Range range{0, 0, 0};
    for (int thread = 0; thread < threads; ++thread) {
      const float* const its = of(thread, b);
      range.least = its[0] < range.least ? its[0] : range.least;
      range.most = its[1] > range.most ? its[1] : range.most;
      range.wrong += its[2];
    }
    return range;
  }
};

// Rows of x that a thread's share reads -> words of four in its scratch. False: the threads have dissolved.
inline bool quantize_input(const CompiledOp& op, const Partition& part, const Work& work) {
  const SharedRanges shared{work.shared + op.range_at, work.threads, op.trajectories};
  if (op.shares_range && !shared.look(op, part, work)) return false;
  each_input(op, part, [&](int b, int t0, int t1) {
    const Grid grid = grid_of(op.shares_range ? shared(b) : range_of(op, work, b, 0, op.x.length));
    float* const kept = work.own + op.grids() + 2 * b;
    kept[0] = grid.step;
    kept[1] = grid.zero + kLeast;
    const Vec per_step = set(grid.per_step), least = set(-grid.zero), most = set(kLevels - grid.zero);
    const Int zero_point = to_int(set(grid.zero + kLeast));
    for (int t = t0; t < t1; ++t) {
      const float* const x = work.arena + op.x.row(b, t);
      uint8_t* const out = reinterpret_cast<uint8_t*>(work.own + op.packed_x.row(b, t));
      each_vector(0, op.x.channels, [&](int c, auto lanes) {
        // The second operand where one of the two is not a number: what is in range then is a number.
        const Vec steps = min(max(mul(get(x + c, lanes), per_step), least), most);
        put_bytes(out + c, add(to_int(steps), zero_point), lanes);
      });
    }
  });
  return true;
}

inline void conv_int8(const CompiledOp& op, const Partition& part, const Work& work) {
  if (part.c0 >= part.c1) return;
  if (quantize_input(op, part, work)) conv<Int8>(op, part, work, work.own);
}

}  // namespace DF_TARGET
}  // namespace df

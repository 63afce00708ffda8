// GroupNorm, alone and with what surrounds it in a conv_block, and its gradient.
// Statistics take one pass: of each channel of a row block its sum, and the squares of what differs from its mean. What
// differs from the group's mean is put together of those (Chan, Golub, LeVeque 1979), all of it sums of squares, so that
// nothing cancels. Sums run down the rows of a row block, then over row blocks, then over the channels of a group: an
// order fixed by C and H alone, so that neither the batch nor the number of threads shows in the result.
namespace df {
namespace DF_TARGET {

// Sums of a trajectory's row blocks: [row_blocks][width] each.
struct Sums {
  float *x, *squares, *d, *products;
};

// A trajectory's numbers per channel.
struct Channels {
  float *mean, *scale, *d_mean, *product_mean;
};

inline Sums sums_at(float* memory, int64_t size) {
  return {memory, memory + size, memory + 2 * size, memory + 3 * size};
}

// All lanes of each run of N lanes get the sum of the run.
template <int N>
inline Vec sum_runs(Vec x) {
  if constexpr (N >= 2 && kLanes >= 2) x = add(x, swap<1>(x));
  if constexpr (N >= 4 && kLanes >= 4) x = add(x, swap<2>(x));
  if constexpr (N >= 8 && kLanes >= 8) x = add(x, swap<4>(x));
  if constexpr (N >= 16 && kLanes >= 16) x = add(x, swap<8>(x));
  return x;
}

// The totals of groups of `per_group` channels, over vectors that hold whole groups; in place, divided by `count`.
template <int N>
inline void means_within(float* totals, int c0, int c1, float count) {
  const Vec divisor = set(count);
  each_vector(c0, c1, [&](int c, auto lanes) {
    put(totals + c, div(sum_runs<N>(get(totals + c, lanes)), divisor), lanes);
  });
}

// Groups that are whole vectors.
inline void means_across(float* totals, int c0, int c1, int per_group, float count) {
  for (int g = c0; g < c1; g += per_group) {
    Vec total = load(totals + g);
    for (int c = g + kLanes; c < g + per_group; c += kLanes) total = add(total, load(totals + c));
    const Vec mean = div(sum_runs<kLanes>(total), set(count));
    for (int c = g; c < g + per_group; c += kLanes) store(totals + c, mean);
  }
}

// out[c] = total over the group of c, divided by `count`; in place.
inline void group_means(int c0, int c1, int per_group, float count, float* out) {
  if (kLanes > 1 && per_group % kLanes == 0) return means_across(out, c0, c1, per_group, count);
  if (kLanes >= 4 && per_group == 4) return means_within<4>(out, c0, c1, count);
  if (kLanes >= 8 && per_group == 8) return means_within<8>(out, c0, c1, count);
  for (int g = c0; g < c1; g += per_group) {
    float total = 0;
    for (int c = g; c < g + per_group; ++c) total += out[c];
    const float mean = total / count;
    for (int c = g; c < g + per_group; ++c) out[c] = mean;
  }
}

// A row block of one trajectory, and what is added up of it.
struct RowBlock {
  const float* x;
  const float* dy;
  int ld, dy_ld, n;
};

// The sum of each channel, and the squares of what differs from its mean.
inline void add_moments(const RowBlock& rows, int c0, int c1, float* sums, float* squares) {
  const Vec part = set(1.0f / static_cast<float>(rows.n));
  each_vector(c0, c1, [&](int c, auto lanes) {
    const float* const x = rows.x + c;
    Vec total = zero(), square = zero();
    for (int r = 0; r < rows.n; ++r) total = add(total, get(x + r * rows.ld, lanes));
    const Vec mean = mul(total, part);
    for (int r = 0; r < rows.n; ++r) {
      const Vec d = sub(get(x + r * rows.ld, lanes), mean);
      square = fma(d, d, square);
    }
    put(sums + c, total, lanes);
    put(squares + c, square, lanes);
  });
}

// d = dy gamma [act'(gamma n + beta)], n the normalised x: kept in `d`, and the sums of d and of d n.
template <class Activation>
inline void add_products(const RowBlock& rows, int c0, int c1, const float* mean, const float* scale,
                         const float* gamma, const float* beta, float* d, int d_ld, float* d_sums,
                         float* products) {
  each_vector(c0, c1, [&](int c, auto lanes) {
    const Vec m = get(mean + c, lanes), s = get(scale + c, lanes), g = get(gamma + c, lanes);
    const Vec b = Activation::kAny ? get(beta + c, lanes) : zero();
    Vec d_total = zero(), product_total = zero();
    for (int r = 0; r < rows.n; ++r) {
      const Vec n = mul(sub(get(rows.x + r * rows.ld + c, lanes), m), s);
      Vec v = mul(get(rows.dy + r * rows.dy_ld + c, lanes), g);
      if constexpr (Activation::kAny) v = mul(v, Activation::slope(fma(n, g, b)));
      put(d + r * d_ld + c, v, lanes);
      d_total = add(d_total, v);
      product_total = fma(v, n, product_total);
    }
    put(d_sums + c, d_total, lanes);
    put(products + c, product_total, lanes);
  });
}

// The stages of one op over a thread's share of its rows, and the waits between them where threads share rows.
class GroupNorm {
 public:
  GroupNorm(const CompiledOp& op, const Partition& part, const Work& work)
      : op_(op), part_(part), work_(work), u_(op.opcode == kConvBlock ? op.conv_out() : op.x) {
    width_ = padded(op_.out.channels);
    per_group_ = op_.out.channels / op_.groups;
    count_ = static_cast<float>(per_group_) * static_cast<float>(op_.out.length);
    channels_ = {work.own, work.own + width_, work.own + 2 * width_, work.own + 3 * width_};
    gamma_ = op_.w[op_.opcode == kConvBlock ? 2 : 0];
    beta_ = op_.opcode == kGroupNormVjp ? nullptr : op_.w[op_.opcode == kConvBlock ? 3 : 1];
  }

  template <class Last>
  void run(bool gradient, Last&& last) const {
    const int stages = gradient ? 2 : 1;
    if (op_.by_rows) {
      for (int k = 0; k < stages; ++k) {
        each_block(k, [&](int b, int i) { add_up(k, b, i); });
        if (!wait_for_all(work_.barrier, work_.threads)) return;
      }
      return each_block(stages, last);
    }
    for (int b = 0; b < op_.trajectories; ++b) {
      for (int k = 0; k < stages; ++k) {
        prepare(b, k);
        for (int i = 0; i < op_.row_blocks; ++i) add_up(k, b, i);
      }
      prepare(b, stages);
      for (int i = 0; i < op_.row_blocks; ++i) last(b, i);
    }
  }

  // y = act(gamma (x - mean) / std + beta) + step bias + residual
  template <class Activation>
  void apply(int b, int i) const {
    const RowBlock rows = rows_of(b, i);
    float* const out = work_.arena + op_.out.row(b, i * kRowBlock);
    const bool adds = op_.opcode == kConvBlock && op_.y.at >= 0;
    const float* const residual = adds ? work_.arena + op_.y.row(b, i * kRowBlock) : nullptr;
    const float* const step_bias =
        op_.opcode == kConvBlock && op_.table >= 0 ? work_.table_of(b) + op_.table : nullptr;
    each_vector(part_.c0, part_.c1, [&](int c, auto lanes) {
      const Vec m = get(channels_.mean + c, lanes), beta = get(beta_ + c, lanes);
      const Vec scale = mul(get(channels_.scale + c, lanes), get(gamma_ + c, lanes));
      const Vec bias = step_bias ? get(step_bias + c, lanes) : zero();
      for (int r = 0; r < rows.n; ++r) {
        Vec y = fma(sub(get(rows.x + r * rows.ld + c, lanes), m), scale, beta);
        if constexpr (Activation::kAny) y = Activation::value(y);
        if (step_bias) y = add(y, bias);
        if (adds) y = add(y, get(residual + r * op_.y.ld + c, lanes));
        put(out + r * op_.out.ld + c, y, lanes);
      }
    });
  }

  // dx = (d - mean(d) - n mean(d n)) / std, with d in the place of dx.
  void apply_gradient(int b, int i) const {
    const RowBlock rows = rows_of(b, i);
    float* const out = work_.arena + op_.out.row(b, i * kRowBlock);
    each_vector(part_.c0, part_.c1, [&](int c, auto lanes) {
      const Vec m = get(channels_.mean + c, lanes), scale = get(channels_.scale + c, lanes);
      const Vec d_mean = get(channels_.d_mean + c, lanes), product = get(channels_.product_mean + c, lanes);
      for (int r = 0; r < rows.n; ++r) {
        const Vec n = mul(sub(get(rows.x + r * rows.ld + c, lanes), m), scale);
        float* const p = out + r * op_.out.ld + c;
        put(p, mul(scale, fnma(n, product, sub(get(p, lanes), d_mean))), lanes);
      }
    });
  }

 private:
  // f for the blocks of a thread's share, with what stage k needs of the stages before it.
  template <class F>
  void each_block(int k, F&& f) const {
    int prepared = -1;
    for (int block = part_.block; block < part_.end_block; ++block) {
      const int b = block / op_.row_blocks;
      if (b != prepared) {
        for (int stage = 1; stage <= k; ++stage) prepare(b, stage);
      }
      prepared = b;
      f(b, block % op_.row_blocks);
    }
  }

  Sums sums_of(int b) const {
    const int64_t size = static_cast<int64_t>(op_.row_blocks) * width_;
    return op_.by_rows ? sums_at(work_.shared + b * 4 * size, size) : sums_at(work_.own + 4 * width_, size);
  }

  int rows_in(int i) const {
    const int left = op_.out.length - i * kRowBlock;
    return left < kRowBlock ? left : kRowBlock;
  }

  RowBlock rows_of(int b, int i) const {
    const float* const dy =
        op_.opcode == kConvBlock || op_.y.at < 0 ? nullptr : work_.arena + op_.y.row(b, i * kRowBlock);
    return {work_.arena + u_.row(b, i * kRowBlock), dy, u_.ld, op_.y.ld, rows_in(i)};
  }

  // What stage k needs of the sums of the stage before it, per channel.
  void prepare(int b, int k) const {
    const Sums sums = sums_of(b);
    if (k == 1) {
      means(sums.x, channels_.mean);
      scales(sums);
    }
    if (k == 2) {
      means(sums.d, channels_.d_mean);
      means(sums.products, channels_.product_mean);
    }
  }

  // The means over groups of what was added up in row blocks.
  void means(const float* sums, float* out) const {
    each_vector(part_.c0, part_.c1, [&](int c, auto lanes) {
      Vec total = get(sums + c, lanes);
      for (int i = 1; i < op_.row_blocks; ++i) total = add(total, get(sums + i * width_ + c, lanes));
      put(out + c, total, lanes);
    });
    group_means(part_.c0, part_.c1, per_group_, count_, out);
  }

  // 1 / std of each group: squares about a block's mean, and the block's mean about the group's.
  void scales(const Sums& sums) const {
    float* const out = channels_.scale;
    each_vector(part_.c0, part_.c1, [&](int c, auto lanes) {
      const Vec m = get(channels_.mean + c, lanes);
      Vec total = zero();
      for (int i = 0; i < op_.row_blocks; ++i) {
        const float n = static_cast<float>(rows_in(i));
        const Vec d = sub(mul(get(sums.x + i * width_ + c, lanes), set(1.0f / n)), m);
        total = add(total, fma(mul(set(n), d), d, get(sums.squares + i * width_ + c, lanes)));
      }
      put(out + c, total, lanes);
    });
    group_means(part_.c0, part_.c1, per_group_, count_, out);
    const Vec eps = set(op_.eps), one = set(1.0f);
    each_vector(part_.c0, part_.c1, [&](int c, auto lanes) {
      put(out + c, div(one, sqrt(add(get(out + c, lanes), eps))), lanes);
    });
  }

  void add_up(int k, int b, int i) const {
    const RowBlock rows = rows_of(b, i);
    const Sums sums = sums_of(b);
    const int64_t at = static_cast<int64_t>(i) * width_;
    const int c0 = part_.c0, c1 = part_.c1;
    if (k == 0) return add_moments(rows, c0, c1, sums.x + at, sums.squares + at);
    float* const d = work_.arena + op_.out.row(b, i * kRowBlock);
    const auto add_up = [&](auto activation) {
      add_products<decltype(activation)>(rows, c0, c1, channels_.mean, channels_.scale, gamma_, beta_, d,
                                         op_.out.ld, sums.d + at, sums.products + at);
    };
    if (op_.opcode == kNormActVjp) return with_act(op_.act, add_up);
    add_up(Identity{});
  }

  const CompiledOp& op_;
  const Partition& part_;
  const Work& work_;
  const View& u_;
  int width_, per_group_;
  float count_;
  Channels channels_;
  const float *gamma_, *beta_;
};

// LayerNorm over the channels of each row.
inline void channel_norm(const CompiledOp& op, const Partition& part, const Work& work) {
  const float count = static_cast<float>(op.out.channels);
  if (part.c0 == part.c1) return;
  for (int block = part.block; block < part.end_block; ++block) {
    const int b = block / op.row_blocks, from = block % op.row_blocks * kRowBlock;
    for (int t = from; t < from + kRowBlock && t < op.out.length; ++t) {
      const float* const x = work.arena + op.x.row(b, t);
      float* const out = work.arena + op.out.row(b, t);
      // Sums of at most 16 channels, and then of those: a long sum of floats is the more exact for it.
      float total = 0;
      for (int c0 = 0; c0 < op.out.channels; c0 += 16) {
        Vec part_sum = zero();
        each_vector(c0, c0 + 16 < op.out.channels ? c0 + 16 : op.out.channels,
                    [&](int c, auto lanes) { part_sum = add(part_sum, get(x + c, lanes)); });
        total += sum(part_sum);
      }
      const Vec mean = set(total / count);
      total = 0;
      for (int c0 = 0; c0 < op.out.channels; c0 += 16) {
        Vec part_sum = zero();
        each_vector(c0, c0 + 16 < op.out.channels ? c0 + 16 : op.out.channels, [&](int c, auto lanes) {
          put(out + c, sub(get(x + c, lanes), mean), lanes);
          const Vec d = get(out + c, lanes);
          part_sum = fma(d, d, part_sum);
        });
        total += sum(part_sum);
      }
      const Vec scale = div(set(1.0f), sqrt(set(total / count + op.eps)));
      each_vector(0, op.out.channels, [&](int c, auto lanes) {
        put(out + c, fma(mul(get(out + c, lanes), scale), get(op.w[0] + c, lanes), get(op.w[1] + c, lanes)),
            lanes);
      });
    }
  }
}

}  // namespace DF_TARGET
}  // namespace df

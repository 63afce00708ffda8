// Linear attention (Shen et al. 2021, as Diffuser uses it): keys k are a softmax over time, then
// context[d, e] = sum_n k[d, n] v[e, n] and out[e, n] = q_scale sum_d context[d, e] q[d, n].
namespace df {
namespace DF_TARGET {

// keys[n][d] = exp(k[d, n] - max over n); total[d]: their sums.
inline void exponentials(const float* k, int ld, int length, int head, int width, float* keys, float* total) {
  each_vector(0, head, [&](int d, auto lanes) {
    Vec top = get(k + d, lanes);
    for (int n = 1; n < length; ++n) top = max(get(k + n * ld + d, lanes), top);
    Vec sums = zero();
    for (int n = 0; n < length; ++n) {
      const Vec e = exp(sub(get(k + n * ld + d, lanes), top));
      sums = add(sums, e);
      put(keys + n * width + d, e, lanes);
    }
    put(total + d, sums, lanes);
  });
}

inline void linear_attention(const CompiledOp& op, const Partition& part, const Work& work) {
  const int channels = op.out.channels, head = channels / op.heads, width = padded(head);
  const int length = op.out.length, ld = op.x.ld;
  float* const total = work.own;
  float* const context = total + width;
  float* const keys = context + static_cast<int64_t>(head) * width;
  for (int b = 0; b < op.trajectories; ++b) {
    for (int c = part.c0; c < part.c1; c += head) {
      const float* const q = work.arena + op.x.row(b, 0) + c;
      const float *const k = q + channels, *const v = k + channels;
      exponentials(k, ld, length, head, width, keys, total);
      each_vector(0, head, [&](int e, auto lanes) {
        constexpr int kRows = 8;
        for (int d = 0; d < head; d += kRows) {
          Vec sums[kRows];
          const int rows = head - d < kRows ? head - d : kRows;
          for (Vec& sum : sums) sum = zero();
          for (int n = 0; n < length; ++n) {
            const Vec value = get(v + n * ld + e, lanes);
            for (int i = 0; i < rows; ++i) sums[i] = fma(set(keys[n * width + d + i]), value, sums[i]);
          }
          for (int i = 0; i < rows; ++i) {
            put(context + (d + i) * width + e, mul(sums[i], set(op.q_scale / total[d + i])), lanes);
          }
        }
        for (int n = 0; n < length; ++n) {
          Vec sum = zero();
          for (int d = 0; d < head; ++d)
            sum = fma(set(q[n * ld + d]), get(context + d * width + e, lanes), sum);
          put(work.arena + op.out.row(b, n) + c + e, sum, lanes);
        }
      });
    }
  }
}

}  // namespace DF_TARGET
}  // namespace df

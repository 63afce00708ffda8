// What happens to a trajectory between the networks (core/loop.py, SamplingLoop).
namespace df {
namespace DF_TARGET {

// x += gx g, then what is known is put back.
inline void guide(const Slice& s, float gx, float* x) {
  const Vec factor = set(gx);
  for (int t = s.t0; t < s.t1; ++t) {
    const float* const g = s.gradient + static_cast<int64_t>(t) * s.gradient_ld;
    const int64_t at = static_cast<int64_t>(t) * s.depth;
    each_vector(0, s.depth, [&](int d, auto lanes) {
      const Vec moved = fma(factor, get(g + d, lanes), get(x + at + d, lanes));
      put(x + at + d, blend(get(s.mask + at + d, lanes), get(s.known + at + d, lanes), moved), lanes);
    });
  }
}

// x0 = p x + q net + g0 g, clipped; x = a x0 + b x + d before + s noise; before = x0; what is known is put back.
inline bool update(const Slice& s, const Coefficients& k, const float* low, const float* high,
                   const float* noise, float* before, float* x) {
  Vec check = zero();  // stays zero while x is finite
  for (int t = s.t0; t < s.t1; ++t) {
    const float* const net = s.net + static_cast<int64_t>(t) * s.ld;
    const float* const g = s.gradient ? s.gradient + static_cast<int64_t>(t) * s.gradient_ld : nullptr;
    const int64_t at = static_cast<int64_t>(t) * s.depth;
    const float* const drawn = noise + (at - static_cast<int64_t>(s.t0) * s.depth);
    each_vector(0, s.depth, [&](int d, auto lanes) {
      const Vec old = get(x + at + d, lanes);
      Vec x0 = fma(set(k.p), old, mul(set(k.q), get(net + d, lanes)));
      if (g) x0 = fma(set(k.g0), get(g + d, lanes), x0);
      if (low) x0 = min(get(high + d, lanes), max(get(low + d, lanes), x0));
      Vec y = fma(set(k.a), x0, mul(set(k.b), old));
      y = fma(set(k.d), get(before + at + d, lanes), y);
      y = fma(set(k.s), get(drawn + d, lanes), y);
      put(before + at + d, x0, lanes);
      y = blend(get(s.mask + at + d, lanes), get(s.known + at + d, lanes), y);
      put(x + at + d, y, lanes);
      check = fma(y, zero(), check);
    });
  }
  return sum(check) == 0;
}

}  // namespace DF_TARGET
}  // namespace df

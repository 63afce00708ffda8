// What happens to a trajectory between the networks (core/loop.py, SamplingLoop).
namespace df {
namespace DF_TARGET {

// x += gx g, then inpainting.
inline void guidance_update(const Slice& s, float gx, float* x) {
  const Vec factor = set(gx);
  for (int t = s.t0; t < s.t1; ++t) {
    const float* const g = s.gradient + static_cast<int64_t>(t) * s.gradient_ld;
    const int64_t at = static_cast<int64_t>(t) * s.depth;
    each_vector(0, s.depth, [&](int d, auto lanes) {
      const Vec moved = fma(factor, get(g + d, lanes), get(x + at + d, lanes));
      put(x + at + d, blend(get(s.mask + at + d, lanes), get(s.inpaint_values + at + d, lanes), moved),
          lanes);
    });
  }
}

// x0 = p x + q net + g0 g, clipped; x = a x0 + u unclipped x0 + b x + d previous_x0 + s noise; previous_x0 = x0; then
// inpainting.
inline bool update(const Slice& s, const Coefficients& k, const float* low, const float* high,
                   const float* noise, float* previous_x0, float* x) {
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
      const Vec unclipped = x0;
      if (low) x0 = min(get(high + d, lanes), max(get(low + d, lanes), x0));
      Vec y = fma(set(k.a), x0, mul(set(k.b), old));
      y = fma(set(k.d), get(previous_x0 + at + d, lanes), y);
      if (k.u != 0) y = fma(set(k.u), unclipped, y);
      y = fma(set(k.s), get(drawn + d, lanes), y);
      put(previous_x0 + at + d, x0, lanes);
      y = blend(get(s.mask + at + d, lanes), get(s.inpaint_values + at + d, lanes), y);
      put(x + at + d, y, lanes);
      check = fma(y, zero(), check);
    });
  }
  return sum(check) == 0;
}

}  // namespace DF_TARGET
}  // namespace df

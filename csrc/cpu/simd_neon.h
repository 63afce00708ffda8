// Vectors of 4 floats, of AArch64. Included inside a target pragma; no include guard, no includes.
namespace df {
namespace DF_TARGET {

using Vec = float32x4_t;
using Int = int32x4_t;
constexpr int kLanes = 4;

// Tiles of the convolution: 8 rows x 2 vectors, 4 x 4, or fewer rows x 6. With a vector of inputs for each row, which
// serves four channels by its lanes, and the weights of one channel they fit 32 registers.
constexpr int kInputLanes = 4;
constexpr int kSegments = 2;
constexpr int kDotChannels = 4;  // channels of a tile of an adjoint
constexpr int max_vectors(int segments, int rows) { return segments > 1 ? 2 : rows > 2 ? 4 : 6; }

inline Vec zero() { return vdupq_n_f32(0); }
inline Vec set(float x) { return vdupq_n_f32(x); }
inline Vec load(const float* p) { return vld1q_f32(p); }
inline Vec load(const float* p, int n) {
  if (n >= 4) return load(p);
  Vec x = zero();
  if (n >= 2) x = vcombine_f32(vld1_f32(p), vget_low_f32(x));
  if (n == 1) return vld1q_lane_f32(p, x, 0);
  return n == 3 ? vld1q_lane_f32(p + 2, x, 2) : x;
}
inline void store(float* p, Vec x) { vst1q_f32(p, x); }
inline void store(float* p, Vec x, int n) {
  if (n >= 4) return store(p, x);
  if (n >= 2) vst1_f32(p, vget_low_f32(x));
  if (n == 1) vst1q_lane_f32(p, x, 0);
  if (n == 3) vst1q_lane_f32(p + 2, x, 2);
}

inline Vec keep(Vec x) { return x; }  // products take no operand from memory

// A lane of a vector, which products take from where it is.
template <int K>
struct LaneOf {
  Vec x;
};
template <int K>
inline LaneOf<K> lane(Vec x) {
  return {x};
}
inline Vec add(Vec a, Vec b) { return vaddq_f32(a, b); }
inline Vec sub(Vec a, Vec b) { return vsubq_f32(a, b); }
inline Vec mul(Vec a, Vec b) { return vmulq_f32(a, b); }
inline Vec div(Vec a, Vec b) { return vdivq_f32(a, b); }
inline Vec fma(Vec a, Vec b, Vec c) { return vfmaq_f32(c, a, b); }
template <int K>
inline Vec fma(LaneOf<K> a, Vec b, Vec c) {
  return vfmaq_laneq_f32(c, b, a.x, K);
}
inline Vec fnma(Vec a, Vec b, Vec c) { return vfmsq_f32(c, a, b); }                       // c - a b
inline Vec product_rest(Vec a, Vec b, Vec ab) { return vfmaq_f32(vnegq_f32(ab), a, b); }  // a b - ab, exact
// The second operand where one of the two is not a number. (FMIN and FMAX give what is not.)
inline Vec min(Vec a, Vec b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
inline Vec max(Vec a, Vec b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
inline Vec sqrt(Vec x) { return vsqrtq_f32(x); }
inline Vec round(Vec x) { return vrndnq_f32(x); }
inline Vec times_power(Vec x, Vec n) {  // x 2^n, n whole
  const Int exponent = vshlq_n_s32(vcvtnq_s32_f32(n), 23);
  return vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(x), exponent));
}
// Lanes whose numbers differ in the bit K.
template <int K>
inline Vec swap(Vec x) {
  static_assert(K <= 2);
  if constexpr (K == 1) return vrev64q_f32(x);
  return vextq_f32(x, x, 2);
}
inline Vec blend(Vec mask, Vec a, Vec b) { return vbslq_f32(vreinterpretq_u32_f32(mask), a, b); }

inline Int bits(Vec x) { return vreinterpretq_s32_f32(x); }
inline Vec from_bits(Int x) { return vreinterpretq_f32_s32(x); }
inline Int set_int(int x) { return vdupq_n_s32(x); }
inline Int load_int(const void* p) { return vreinterpretq_s32_u8(vld1q_u8(static_cast<const uint8_t*>(p))); }
inline Int add(Int a, Int b) { return vaddq_s32(a, b); }
inline Int sub(Int a, Int b) { return vsubq_s32(a, b); }
inline Int to_exponent(Int x) { return vshlq_n_s32(x, 23); }
inline Int from_exponent(Int x) { return vshrq_n_s32(x, 23); }
inline Int sign_fill(Int x) { return vshrq_n_s32(x, 31); }  // all bits the sign
inline Int shift_right_8(Int x) { return vreinterpretq_s32_u32(vshrq_n_u32(vreinterpretq_u32_s32(x), 8)); }
inline Int to_int(Vec x) { return vcvtnq_s32_f32(x); }
inline Vec to_float(Int x) { return vcvtq_f32_s32(x); }
inline Vec low_halves(Vec words) { return from_bits(vshlq_n_s32(bits(words), 16)); }
inline Vec high_halves(Vec words) { return from_bits(vandq_s32(bits(words), set_int(0xFFFF0000))); }
#if defined(DF_BF16)
// x y of each lane's pair of bfloat16, added to the sum.
inline Vec dot(Vec sum, Vec x, Vec y) {
  return vbfdotq_f32(sum, vreinterpretq_bf16_f32(x), vreinterpretq_bf16_f32(y));
}
template <int K>
inline Vec dot(Vec sum, LaneOf<K> x, Vec y) {
  return vbfdotq_laneq_f32(sum, vreinterpretq_bf16_f32(y), vreinterpretq_bf16_f32(x.x), K);
}
// Float32 0 .. 7 to the nearest bfloat16, in their order.
inline void store_bf16(float* p, Vec x, Vec y) {
  store(p, vreinterpretq_f32_bf16(vcvtq_high_bf16_f32(vcvtq_low_bf16_f32(x), y)));
}
#endif
// The products of four signed bytes of x and four of w, added to each lane's sum.
constexpr int kLevels = 255, kLeast = -128;
#if defined(DF_DOT)
inline Int dot4(Int sum, Vec x, Int w) {
  return vdotq_s32(sum, vreinterpretq_s8_s32(w), vreinterpretq_s8_f32(x));
}
template <int K>
inline Int dot4(Int sum, LaneOf<K> x, Int w) {
  return vdotq_laneq_s32(sum, vreinterpretq_s8_s32(w), vreinterpretq_s8_f32(x.x), K);
}
constexpr int int8_vectors(int segments, int rows) { return max_vectors(segments, rows); }
#else
inline Int dot4(Int sum, Vec x, Int w) {  // pairs in 16 bits: 2 x 128 x 127 at most, for no weight is -128
  const int8x16_t a = vreinterpretq_s8_f32(x), b = vreinterpretq_s8_s32(w);
  const int16x8_t low = vmull_s8(vget_low_s8(a), vget_low_s8(b)), high = vmull_high_s8(a, b);
  return vpadalq_s16(sum, vpaddq_s16(low, high));
}
template <int K>
inline Int dot4(Int sum, LaneOf<K> x, Int w) {
  return dot4(sum, vdupq_laneq_f32(x.x, K), w);
}
constexpr int int8_vectors(int segments, int rows) { return segments > 1 ? 1 : rows > 2 ? 3 : 4; }
#endif
// Numbers kLeast .. kLeast + kLevels as bytes: four of them.
inline void store_bytes(uint8_t* p, Int x, int) {
  const int16x4_t halves = vqmovn_s32(x);
  const int8x8_t bytes = vqmovn_s16(vcombine_s16(halves, halves));
  vst1_lane_s32(reinterpret_cast<int32_t*>(p), vreinterpret_s32_s8(bytes), 0);
}
// The sums over lanes of four vectors.
inline void sum4(Vec a, Vec b, Vec c, Vec d, float* out) {
  store(out, vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d)));
}

}  // namespace DF_TARGET
}  // namespace df

// Vectors of 16 floats. Included inside a target pragma; no include guard, no includes.
namespace df {
namespace DF_TARGET {

using Vec = __m512;
using Int = __m512i;
constexpr int kLanes = 16;

// Tiles of the convolution: segments x 4 rows x vectors = 24 accumulators.
constexpr int kInputLanes = 1;  // of a convolution: an input is broadcast
constexpr int kSegments = 3;
constexpr int kDotChannels = 4;  // channels of a tile of an adjoint
constexpr int max_vectors(int segments, int rows) {
  return segments * rows > 8 ? 2 : segments * rows > 4 ? 3 : 6;
}

inline __mmask16 first(int n) { return static_cast<__mmask16>((1u << n) - 1); }
inline Vec zero() { return _mm512_setzero_ps(); }
inline Vec set(float x) { return _mm512_set1_ps(x); }
inline Vec load(const float* p) { return _mm512_loadu_ps(p); }
inline Vec load(const float* p, int n) { return _mm512_maskz_loadu_ps(first(n), p); }
inline void store(float* p, Vec x) { _mm512_storeu_ps(p, x); }
inline void store(float* p, Vec x, int n) { _mm512_mask_storeu_ps(p, first(n), x); }

// Keeps a loaded vector in its register: compilers would rather load it again at every use.
inline Vec keep(Vec x) {
  asm("" : "+v"(x));
  return x;
}

template <int>
inline Vec lane(Vec x) {  // of kInputLanes
  return x;
}
inline Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
inline Vec sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
inline Vec mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
inline Vec div(Vec a, Vec b) { return _mm512_div_ps(a, b); }
inline Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
inline Vec fnma(Vec a, Vec b, Vec c) { return _mm512_fnmadd_ps(a, b, c); }           // c - a b
inline Vec product_rest(Vec a, Vec b, Vec ab) { return _mm512_fmsub_ps(a, b, ab); }  // a b - ab, exact
// The second operand where one of the two is not a number.
inline Vec min(Vec a, Vec b) { return _mm512_min_ps(a, b); }
inline Vec max(Vec a, Vec b) { return _mm512_max_ps(a, b); }
inline Vec sqrt(Vec x) { return _mm512_sqrt_ps(x); }
inline Vec round(Vec x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline Vec times_power(Vec x, Vec n) { return _mm512_scalef_ps(x, n); }  // x 2^n, n whole
// Lanes whose numbers differ in the bit K.
template <int K>
inline Vec swap(Vec x) {
  if constexpr (K <= 2) return _mm512_permute_ps(x, K == 1 ? 0xB1 : 0x4E);
  return _mm512_shuffle_f32x4(x, x, K == 4 ? 0xB1 : 0x4E);
}
inline Vec blend(Vec mask, Vec a, Vec b) {  // a where the mask's bits are ones, b where they are zeros
  return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(_mm512_castps_si512(mask), _mm512_castps_si512(a),
                                                       _mm512_castps_si512(b), 0xCA));
}

inline Int bits(Vec x) { return _mm512_castps_si512(x); }
inline Vec from_bits(Int x) { return _mm512_castsi512_ps(x); }
inline Int set_int(int x) { return _mm512_set1_epi32(x); }
inline Int load_int(const void* p) { return _mm512_loadu_si512(p); }
inline Int add(Int a, Int b) { return _mm512_add_epi32(a, b); }
inline Int sub(Int a, Int b) { return _mm512_sub_epi32(a, b); }
inline Int to_exponent(Int x) { return _mm512_slli_epi32(x, 23); }
inline Int from_exponent(Int x) { return _mm512_srai_epi32(x, 23); }
inline Int sign_fill(Int x) { return _mm512_srai_epi32(x, 31); }  // all bits the sign
inline Int shift_right_8(Int x) { return _mm512_srli_epi32(x, 8); }
inline Int to_int(Vec x) { return _mm512_cvtps_epi32(x); }
inline Vec to_float(Int x) { return _mm512_cvtepi32_ps(x); }
inline Vec low_halves(Vec words) { return from_bits(_mm512_slli_epi32(bits(words), 16)); }
inline Vec high_halves(Vec words) { return from_bits(_mm512_and_si512(bits(words), set_int(0xFFFF0000))); }
#if defined(DF_BF16)
// x y of each lane's pair of bfloat16, added to the sum.
inline Vec dot(Vec sum, Vec x, Vec y) { return _mm512_dpbf16_ps(sum, (__m512bh)x, (__m512bh)y); }
// Float32 0 .. 31 to the nearest bfloat16, in their order.
inline void store_bf16(float* p, Vec x, Vec y) { store(p, (Vec)_mm512_cvtne2ps_pbh(y, x)); }
#endif
// The products of four unsigned bytes of x and four signed ones of w, added to each lane's sum.
#if defined(DF_VNNI)
constexpr int kLevels = 255, kLeast = 0;
inline Int dot4(Int sum, Vec x, Int w) { return _mm512_dpbusd_epi32(sum, bits(x), w); }
#else
constexpr int kLevels = 127, kLeast = 0;  // of x: pairs of products are added up in 16 bits
inline Int dot4(Int sum, Vec x, Int w) {
  const Int pairs = _mm512_maddubs_epi16(bits(x), w);
  return _mm512_add_epi32(sum, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
}
#endif
constexpr int int8_vectors(int segments, int rows) { return max_vectors(segments, rows); }
// Numbers 0 .. kLevels as bytes, n of them.
inline void store_bytes(uint8_t* p, Int x, int n) {
  const __m128i bytes = _mm512_cvtepi32_epi8(x);
  if (n == kLanes) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), bytes);
  } else {
    _mm_mask_storeu_epi8(p, first(n), bytes);
  }
}
// The sums over lanes of four vectors.
inline void sum4(Vec a, Vec b, Vec c, Vec d, float* out) {
  const Vec ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
  const Vec cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
  const Vec abcd = _mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xEE));
  const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(abcd), _mm512_extractf32x8_ps(abcd, 1));
  _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1)));
}

}  // namespace DF_TARGET
}  // namespace df

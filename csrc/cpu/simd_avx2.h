// Vectors of 8 floats. Included inside a target pragma; no include guard, no includes.
namespace df {
namespace DF_TARGET {

using Vec = __m256;
using Int = __m256i;
constexpr int kLanes = 8;

// Tiles of the convolution: 4 rows x 3 vectors, or fewer rows x 4: with operands they fill 16 registers.
constexpr int kInputLanes = 1;  // of a convolution: an input is broadcast
constexpr int kSegments = 1;
constexpr int kDotChannels = 2;  // channels of a tile of an adjoint
constexpr int max_vectors(int segments, int rows) { return segments * rows > 3 ? 3 : 4; }

inline __m256i first(int n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
inline Vec zero() { return _mm256_setzero_ps(); }
inline Vec set(float x) { return _mm256_set1_ps(x); }
inline Vec load(const float* p) { return _mm256_loadu_ps(p); }
inline Vec load(const float* p, int n) { return _mm256_maskload_ps(p, first(n)); }
inline void store(float* p, Vec x) { _mm256_storeu_ps(p, x); }
inline void store(float* p, Vec x, int n) {  // masked stores are slow on some CPUs
  float t[8];
  _mm256_storeu_ps(t, x);
  for (int i = 0; i < n; ++i) p[i] = t[i];
}

// Keeps a loaded vector in its register: compilers would rather load it again at every use.
inline Vec keep(Vec x) {
  asm("" : "+x"(x));
  return x;
}

template <int>
inline Vec lane(Vec x) {  // of kInputLanes
  return x;
}
inline Vec add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
inline Vec sub(Vec a, Vec b) { return _mm256_sub_ps(a, b); }
inline Vec mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
inline Vec div(Vec a, Vec b) { return _mm256_div_ps(a, b); }
inline Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
inline Vec fnma(Vec a, Vec b, Vec c) { return _mm256_fnmadd_ps(a, b, c); }           // c - a b
inline Vec product_rest(Vec a, Vec b, Vec ab) { return _mm256_fmsub_ps(a, b, ab); }  // a b - ab, exact
// The second operand where one of the two is not a number.
inline Vec min(Vec a, Vec b) { return _mm256_min_ps(a, b); }
inline Vec max(Vec a, Vec b) { return _mm256_max_ps(a, b); }
inline Vec sqrt(Vec x) { return _mm256_sqrt_ps(x); }
inline Vec round(Vec x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline Vec times_power(Vec x, Vec n) {  // x 2^n, n whole
  const __m256i exponent = _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23);
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x), exponent));
}
// Lanes whose numbers differ in the bit K.
template <int K>
inline Vec swap(Vec x) {
  if constexpr (K <= 2) return _mm256_permute_ps(x, K == 1 ? 0xB1 : 0x4E);
  return _mm256_permute2f128_ps(x, x, 1);
}
inline Vec blend(Vec mask, Vec a, Vec b) { return _mm256_blendv_ps(b, a, mask); }

inline Int bits(Vec x) { return _mm256_castps_si256(x); }
inline Vec from_bits(Int x) { return _mm256_castsi256_ps(x); }
inline Int set_int(int x) { return _mm256_set1_epi32(x); }
inline Int load_int(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline Int add(Int a, Int b) { return _mm256_add_epi32(a, b); }
inline Int sub(Int a, Int b) { return _mm256_sub_epi32(a, b); }
inline Int to_exponent(Int x) { return _mm256_slli_epi32(x, 23); }
inline Int from_exponent(Int x) { return _mm256_srai_epi32(x, 23); }
inline Int sign_fill(Int x) { return _mm256_srai_epi32(x, 31); }  // all bits the sign
inline Int shift_right_8(Int x) { return _mm256_srli_epi32(x, 8); }
inline Int to_int(Vec x) { return _mm256_cvtps_epi32(x); }
inline Vec to_float(Int x) { return _mm256_cvtepi32_ps(x); }
inline Vec low_halves(Vec words) { return from_bits(_mm256_slli_epi32(bits(words), 16)); }
inline Vec high_halves(Vec words) { return from_bits(_mm256_and_si256(bits(words), set_int(0xFFFF0000))); }
// The products of four unsigned bytes of x and four signed ones of w, added to each lane's sum.
#if defined(DF_VNNI)
constexpr int kLevels = 255, kLeast = 0;
inline Int dot4(Int sum, Vec x, Int w) { return _mm256_dpbusd_avx_epi32(sum, bits(x), w); }
constexpr int int8_vectors(int segments, int rows) { return max_vectors(segments, rows); }
#else
constexpr int kLevels = 127, kLeast = 0;  // of x: pairs of products are added up in 16 bits
inline Int dot4(Int sum, Vec x, Int w) {
  const Int pairs = _mm256_maddubs_epi16(bits(x), w);
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
constexpr int int8_vectors(int segments, int rows) { return segments * rows > 3 ? 2 : 3; }
#endif
// Numbers 0 .. kLevels as bytes, n of them: a multiple of 4.
inline void store_bytes(uint8_t* p, Int x, int n) {
  const __m128i halves = _mm_packus_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
  const int64_t bytes = _mm_cvtsi128_si64(_mm_packus_epi16(halves, halves));
  __builtin_memcpy(p, &bytes, n == kLanes ? 8 : 4);
}
// The sums over lanes of four vectors.
inline void sum4(Vec a, Vec b, Vec c, Vec d, float* out) {
  const Vec abcd = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
  _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(abcd), _mm256_extractf128_ps(abcd, 1)));
}

}  // namespace DF_TARGET
}  // namespace df

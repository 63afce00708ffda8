// One float at a time, for any CPU; the compiler's own vectors are welcome. Multiply and add round separately here.
namespace df {
namespace DF_TARGET {

using Vec = float;
using Int = int32_t;
constexpr int kLanes = 1;

constexpr int kInputLanes = 1;  // of a convolution: an input is broadcast
constexpr int kSegments = 1;
constexpr int kDotChannels = 4;  // channels of a tile of an adjoint
constexpr int max_vectors(int, int) { return 4; }

inline Vec zero() { return 0; }
inline Vec set(float x) { return x; }
inline Vec load(const float* p) { return *p; }
inline Vec load(const float* p, int n) { return n > 0 ? *p : 0; }
inline void store(float* p, Vec x) { *p = x; }
inline void store(float* p, Vec x, int n) {
  if (n > 0) *p = x;
}

inline Vec keep(Vec x) { return x; }

template <int>
inline Vec lane(Vec x) {  // of kInputLanes
  return x;
}
inline Vec add(Vec a, Vec b) { return a + b; }
inline Vec sub(Vec a, Vec b) { return a - b; }
inline Vec mul(Vec a, Vec b) { return a * b; }
inline Vec div(Vec a, Vec b) { return a / b; }
inline Vec fma(Vec a, Vec b, Vec c) { return a * b + c; }
inline Vec fnma(Vec a, Vec b, Vec c) { return c - a * b; }
inline Vec product_rest(Vec a, Vec b, Vec ab) { return __builtin_fmaf(a, b, -ab); }  // a b - ab, exact
// The second operand where one of the two is not a number.
inline Vec min(Vec a, Vec b) { return a < b ? a : b; }
inline Vec max(Vec a, Vec b) { return a > b ? a : b; }
inline Vec sqrt(Vec x) { return __builtin_sqrtf(x); }
// To the nearest whole number, ties to even, for |x| < 2^22.
inline Vec round(Vec x) { return (x + 12582912.0f) - 12582912.0f; }

inline Int bits(Vec x) {
  Int i;
  __builtin_memcpy(&i, &x, sizeof i);
  return i;
}
inline Vec from_bits(Int i) {
  Vec x;
  __builtin_memcpy(&x, &i, sizeof x);
  return x;
}
inline Vec blend(Vec mask, Vec a, Vec b) { return bits(mask) ? a : b; }
inline Int set_int(int x) { return x; }
inline Int load_int(const void* p) {
  Int i;
  __builtin_memcpy(&i, p, sizeof i);
  return i;
}
inline Int add(Int a, Int b) { return static_cast<Int>(static_cast<uint32_t>(a) + static_cast<uint32_t>(b)); }
inline Int sub(Int a, Int b) { return static_cast<Int>(static_cast<uint32_t>(a) - static_cast<uint32_t>(b)); }
inline Int to_exponent(Int x) { return static_cast<Int>(static_cast<uint32_t>(x) << 23); }
inline Int from_exponent(Int x) { return x >> 23; }
inline Int sign_fill(Int x) { return x >> 31; }  // all bits the sign
inline Int shift_right_8(Int x) { return static_cast<Int>(static_cast<uint32_t>(x) >> 8); }
inline Int to_int(Vec x) { return static_cast<Int>(round(x)); }
inline Vec to_float(Int x) { return static_cast<Vec>(x); }
inline Vec low_halves(Vec words) {
  return from_bits(static_cast<Int>(static_cast<uint32_t>(bits(words)) << 16));
}
inline Vec high_halves(Vec words) {
  return from_bits(static_cast<Int>(static_cast<uint32_t>(bits(words)) & 0xFFFF0000u));
}
inline Vec times_power(Vec x, Vec n) {
  return from_bits(add(bits(x), to_exponent(to_int(n))));
}  // x 2^n, n whole
template <int K>
inline Vec swap(Vec x) {
  return x;
}
// The products of four unsigned bytes of x and four signed ones of w, added to the sum.
constexpr int kLevels = 255, kLeast = 0;
inline Int dot4(Int sum, Vec x, Int w) {
  for (int shift = 0; shift < 32; shift += 8) {
    sum += static_cast<Int>(static_cast<uint32_t>(bits(x)) >> shift & 0xFF) *
           static_cast<int8_t>(static_cast<uint32_t>(w) >> shift & 0xFF);
  }
  return sum;
}
constexpr int int8_vectors(int segments, int rows) { return max_vectors(segments, rows); }
inline void store_bytes(uint8_t* p, Int x, int) { *p = static_cast<uint8_t>(x); }
inline void sum4(Vec a, Vec b, Vec c, Vec d, float* out) {
  out[0] = a;
  out[1] = b;
  out[2] = c;
  out[3] = d;
}

}  // namespace DF_TARGET
}  // namespace df

// Noise by address, as core/noise.py defines it: Philox4x32-10 (Salmon et al. 2011) and Box and Muller (1958).
namespace df {
namespace DF_TARGET {

constexpr int kCounters = 16;  // counters taken together

// Ten rounds over [4][kCounters] words, in place.
inline void philox_rounds(uint64_t seed, uint32_t (&c)[4][kCounters]) {
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    for (int i = 0; i < kCounters; ++i) {
      const uint64_t m0 = static_cast<uint64_t>(c[0][i]) * 0xD2511F53u;
      const uint64_t m1 = static_cast<uint64_t>(c[2][i]) * 0xCD9E8D57u;
      c[0][i] = static_cast<uint32_t>(m1 >> 32) ^ c[1][i] ^ k0;
      c[1][i] = static_cast<uint32_t>(m1);
      c[2][i] = static_cast<uint32_t>(m0 >> 32) ^ c[3][i] ^ k1;
      c[3][i] = static_cast<uint32_t>(m0);
    }
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
}

// log(u) for 2^-24 <= u <= 1.
inline Vec log(Vec u) {
  // u = 2^e m with m in [sqrt(1/2), sqrt(2)), f = m - 1; log(m) = f - f^2/2 + f^3 p(f)
  const Int e = from_exponent(sub(bits(u), set_int(0x3f3504f3)));
  const Vec f = sub(from_bits(sub(bits(u), to_exponent(e))), set(1.0f));
  Vec p = fma(set(6.746640331e-2f), f, set(-1.167565177e-1f));
  p = fma(p, f, set(1.188816232e-1f));
  p = fma(p, f, set(-1.240558893e-1f));
  p = fma(p, f, set(1.421955235e-1f));
  p = fma(p, f, set(-1.666799585e-1f));
  p = fma(p, f, set(2.000211866e-1f));
  p = fma(p, f, set(-2.500000960e-1f));
  p = fma(p, f, set(3.333331260e-1f));
  const Vec n = to_float(e), square = mul(f, f);
  // ln 2 in two parts; the first has so few bits that n times it is exact.
  const Vec small = fma(n, set(-2.12194440e-4f), fma(mul(square, f), p, mul(set(-0.5f), square)));
  return fma(n, set(0.693359375f), add(small, f));
}

// sin(2 pi w) for |w| <= 1, w a multiple of 2^-24.
inline Vec sin_turns(Vec w) {
  // w = k/2 + h with |h| <= 1/4, exactly; sin(2 pi w) = (-1)^k sin(2 pi h)
  const Vec k = round(add(w, w));
  const Vec h = fnma(set(0.5f), k, w);
  const Vec odd = fnma(set(2.0f), round(mul(set(0.5f), k)), k);  // -1, 0 or 1
  const Vec sign = fnma(add(odd, odd), odd, set(1.0f));
  const Vec z = mul(h, h);
  Vec p = fma(set(-1.439370999e1f), z, set(4.200994433e1f));
  p = fma(p, z, set(-7.670430658e1f));
  p = fma(p, z, set(8.160522748e1f));
  p = fma(p, z, set(-4.134170214e1f));
  p = fma(p, z, set(-1.74845560e-7f));  // 2 pi = 6.28318548 - 1.7e-7
  return mul(sign, fma(h, set(6.28318548f), mul(h, p)));
}

// Two words of each counter -> radius cos(angle) and radius sin(angle).
inline void box_muller(const uint32_t* first, const uint32_t* second, float* cosines, float* sines) {
  const Vec tiny = set(5.9604644775390625e-8f);  // 2^-24
  const Vec u = mul(to_float(add(shift_right_8(load_int(first)), set_int(1))), tiny);
  const Vec turn = mul(to_float(shift_right_8(load_int(second))), tiny);
  const Vec radius = sqrt(mul(set(-2.0f), log(u)));
  put(cosines, mul(radius, sin_turns(sub(turn, set(0.75f)))), Whole{});
  put(sines, mul(radius, sin_turns(turn)), Whole{});
}

inline void normals_of(const uint32_t (&words)[4][kCounters], float (&out)[4][kCounters]) {
  for (int pair = 0; pair < 4; pair += 2) {
    for (int i = 0; i < kCounters; i += kLanes) {
      box_muller(words[pair] + i, words[pair + 1] + i, out[pair] + i, out[pair + 1] + i);
    }
  }
}

inline void noise(uint64_t seed, uint32_t plan, uint32_t entry, uint32_t sample, int first, int last,
                  float* out) {
  for (int block = first / 4; block * 4 < last; block += kCounters) {
    uint32_t words[4][kCounters];
    float numbers[4][kCounters];
    for (int i = 0; i < kCounters; ++i) {
      words[0][i] = static_cast<uint32_t>(block + i);
      words[1][i] = sample;
      words[2][i] = entry;
      words[3][i] = plan;
    }
    philox_rounds(seed, words);
    normals_of(words, numbers);
    for (int i = 0; i < 4 * kCounters && block * 4 + i < last; ++i) {
      out[block * 4 + i - first] = numbers[i % 4][i / 4];
    }
  }
}

// For tests: one function on many numbers.
inline void philox_of(uint64_t seed, const uint32_t* counter, uint32_t* out, int64_t n) {
  for (int64_t at = 0; at < n; ++at) {
    uint32_t words[4][kCounters] = {};
    for (int k = 0; k < 4; ++k) words[k][0] = counter[at * 4 + k];
    philox_rounds(seed, words);
    for (int k = 0; k < 4; ++k) out[at * 4 + k] = words[k][0];
  }
}

inline void normals_many(const uint32_t* words, float* out, int64_t n) {
  for (int64_t at = 0; at < n; at += kCounters) {
    uint32_t some[4][kCounters] = {};
    float numbers[4][kCounters];
    const int count = n - at < kCounters ? static_cast<int>(n - at) : kCounters;
    for (int i = 0; i < 4 * count; ++i) some[i % 4][i / 4] = words[at * 4 + i];
    normals_of(some, numbers);
    for (int i = 0; i < 4 * count; ++i) out[at * 4 + i] = numbers[i % 4][i / 4];
  }
}

}  // namespace DF_TARGET
}  // namespace df

// Noise by address, as core/noise.py defines it: Philox4x32-10 (Salmon et al. 2011) and Box and Muller (1958). The
// logarithm and the sine are the polynomials of csrc/cpu/noise.inl.h.
#pragma once

#include "dev.h"

namespace df {
namespace cuda {

// Ten rounds over a counter, in place.
DF_DEVICE void philox(uint32_t (&c)[4], uint32_t key0, uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    const uint32_t high0 = multiply_high(c[0], 0xD2511F53u), low0 = c[0] * 0xD2511F53u;
    const uint32_t high1 = multiply_high(c[2], 0xCD9E8D57u), low1 = c[2] * 0xCD9E8D57u;
    c[0] = high1 ^ c[1] ^ key0;
    c[1] = low1;
    c[2] = high0 ^ c[3] ^ key1;
    c[3] = low0;
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
}

// log(u) for 2^-24 <= u <= 1.
DF_DEVICE float logarithm(float u) {
  // u = 2^e m with m in [sqrt(1/2), sqrt(2)), f = m - 1; log(m) = f - f^2/2 + f^3 p(f)
  const int bits = static_cast<int>(float_to_bits(u));
  const int e = (bits - 0x3f3504f3) >> 23;
  const float f = bits_to_float(static_cast<uint32_t>(bits) - (static_cast<uint32_t>(e) << 23)) - 1.0f;
  float p = fmaf(f, 6.746640331e-2f, -1.167565177e-1f);
  p = fmaf(p, f, 1.188816232e-1f);
  p = fmaf(p, f, -1.240558893e-1f);
  p = fmaf(p, f, 1.421955235e-1f);
  p = fmaf(p, f, -1.666799585e-1f);
  p = fmaf(p, f, 2.000211866e-1f);
  p = fmaf(p, f, -2.500000960e-1f);
  p = fmaf(p, f, 3.333331260e-1f);
  // ln 2 in two parts; the first has so few bits that n times it is exact.
  const float n = static_cast<float>(e);
  const float small = fmaf(n, -2.12194440e-4f, fmaf(f * f * f, p, -0.5f * (f * f)));
  return fmaf(n, 0.693359375f, small + f);
}

// sin(2 pi w) for |w| <= 1, w a multiple of 2^-24.
DF_DEVICE float sine_of_turns(float w) {
  // w = k/2 + h with |h| <= 1/4, exactly; sin(2 pi w) = (-1)^k sin(2 pi h). Rounding by pushing the fraction out.
  const float k = (w + w + 12582912.0f) - 12582912.0f;
  const float h = w - 0.5f * k;
  const float odd = k - 2.0f * ((0.5f * k + 12582912.0f) - 12582912.0f);  // -1, 0 or 1
  const float z = h * h;
  float p = fmaf(z, -1.439370999e1f, 4.200994433e1f);
  p = fmaf(p, z, -7.670430658e1f);
  p = fmaf(p, z, 8.160522748e1f);
  p = fmaf(p, z, -4.134170214e1f);
  p = fmaf(p, z, -1.74845560e-7f);  // 2 pi = 6.28318548 - 1.7e-7
  return (1.0f - 2.0f * odd * odd) * fmaf(h, 6.28318548f, h * p);
}

// The normal of one element (of [H, D], in order) of a sample in an entry: 0 is the first noise, k + 1 that of denoising
// step k. address: low and high half of the seed, the number of the first situation's plan, candidates of a situation.
DF_DEVICE float normal(int element, int sample, int entry, const uint32_t* address) {
  const uint32_t candidates = address[3], n = static_cast<uint32_t>(sample);
  uint32_t c[4] = {static_cast<uint32_t>(element) / 4, n % candidates, static_cast<uint32_t>(entry),
                   address[2] + n / candidates};
  philox(c, address[0], address[1]);
  const bool second = element % 4 >= 2;
  const uint32_t radius = second ? c[2] : c[0], angle = second ? c[3] : c[1];
  const float u = static_cast<float>((radius >> 8) + 1) * 5.9604644775390625e-8f;  // 2^-24
  const float turn = static_cast<float>(angle >> 8) * 5.9604644775390625e-8f;
  // Cosine of even elements, sine of odd ones.
  return sqrtf(-2.0f * logarithm(u)) * sine_of_turns(element % 2 == 0 ? turn - 0.75f : turn);
}

}  // namespace cuda
}  // namespace df

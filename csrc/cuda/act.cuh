// Activations and their derivatives, in float32. With `exact` the exponential is a polynomial of one unit in the last
// place; without it the device's own. The formulas are those of kernels/act.py and csrc/cpu/act.inl.h.
#pragma once

#include "../ops.gen.h"
#include "dev.h"

namespace df {
namespace cuda {

constexpr float kHeld = 13.1f;  // e^(-x^2 / 2) is taken to be what it is there where |x| is larger: 1e-37

DF_DEVICE float clamped(float x, float low, float high) { return fminf(fmaxf(x, low), high); }

// e^x for -87.3 <= x <= 88.
template <bool exact>
DF_DEVICE float exponential(float x) {
  if (!exact) return approximate_exp(x);
  // n = x / ln 2 rounded: adding 1.5 * 2^23 pushes the fraction out. r = x - n ln 2, ln 2 in two parts of which the
  // first has few enough bits that n times it is exact. e^r = 1 + r (1 + r p(r)).
  const float n = fmaf(x, 1.44269504f, 12582912.0f) - 12582912.0f;
  const float r = fmaf(n, 2.12194440e-4f, fmaf(n, -0.693359375f, x));
  float p = fmaf(1.381453999e-3f, r, 8.368745116e-3f);
  p = fmaf(p, r, 4.166839079e-2f);
  p = fmaf(p, r, 1.666652040e-1f);
  p = fmaf(p, r, 4.999999343e-1f);
  p = fmaf(p, r, 1.0f);
  const float power = bits_to_float(static_cast<uint32_t>(static_cast<int>(n) + 127) << 23);
  return fmaf(p, r, 1.0f) * power;
}

// Phi(x), the distribution of a normal, and e^(-x^2 / 2) in `bell`.
template <bool exact>
DF_DEVICE float distribution(float x, float* bell) {
  const float a = fabsf(x);
  // Phi(-a) e^(a^2 / 2) = t p(t), to 3.2e-7 of itself as far as a = 13.
  const float t = 1.0f / fmaf(a, 0.34f, 1.0f);
  float p = fmaf(t, -0.004280091263353825f, -0.004463222809135914f);
  p = fmaf(p, t, 0.09235890209674835f);
  p = fmaf(p, t, -0.21535491943359375f);
  p = fmaf(p, t, 0.1583588421344757f);
  p = fmaf(p, t, -0.023443199694156647f);
  p = fmaf(p, t, 0.10876451432704926f);
  p = fmaf(p, t, 0.11645367741584778f);
  p = fmaf(p, t, 0.13597899675369263f);
  p = fmaf(p, t, 0.13562649488449097f);
  // a^2 / 2 = g^2 / 2 + d (g + d / 2) with g the nearest eighth, whose square is exact: the last digits of a square
  // count where it is large. Beyond the range of exp a is held.
  const float held = fminf(a, kHeld);
  const float g = (held + 1572864.0f) - 1572864.0f;
  const float d = held - g;
  *bell = exponential<exact>(-0.5f * (g * g)) * exponential<exact>(-d * fmaf(d, 0.5f, g));
  const float tail = (t * p) * *bell;
  return x > 0.0f ? 1.0f - tail : tail;
}

// act: of ops.gen.h.
template <bool exact>
DF_DEVICE float activation(int act, float x) {
  if (act == kActMish) {  // x n / (n + 2) with n = e^x (e^x + 2); above 20 it is x in float32
    const float e = exponential<exact>(clamped(x, -87.3f, 20.0f));
    const float n = e * (e + 2.0f);
    return x * (n / (n + 2.0f));
  }
  if (act == kActSilu) return x / (1.0f + exponential<exact>(clamped(-x, -87.3f, 88.0f)));
  if (act == kActRelu) return x < 0.0f ? 0.0f : x;  // what is not a number stays
  if (act == kActSquare) return x * x;
  float bell;
  return x * distribution<exact>(x, &bell);
}

template <bool exact>
DF_DEVICE float slope(int act, float x) {
  if (act ==
      kActMish) {  // n / (n + 2) + 4 x e (e + 1) / (n + 2)^2; beyond the ends of the range it is 0 and 1
    const float low = clamped(x, -87.3f, 20.0f);
    const float e = exponential<exact>(low);
    const float n = e * (e + 2.0f);
    const float r = 1.0f / (n + 2.0f);
    return fmaf(n, r, (low * (4.0f * r)) * ((e * (e + 1.0f)) * r));
  }
  if (act == kActSilu) {  // s + x s (1 - s), and 1 - s = e^-x s
    const float near = clamped(x, -88.0f, 87.3f);
    const float e = exponential<exact>(-near);
    const float s = 1.0f / (1.0f + e);
    return fmaf(near * s, e * s, s);
  }
  if (act == kActRelu) return x > 0.0f ? 1.0f : 0.0f;  // none at zero
  if (act == kActSquare) return x + x;
  float bell;
  const float phi = distribution<exact>(x, &bell);
  return fmaf(clamped(x, -kHeld, kHeld) * bell, 0.398942280f, phi);  // Phi(x) + x e^(-x^2 / 2) / sqrt(2 pi)
}

}  // namespace cuda
}  // namespace df

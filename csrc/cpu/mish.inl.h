// exp, Mish and its derivative. Polynomials are least-maximum fits of our own; the bounds are tested
// (tests/csrc/test_functions.py).
namespace df {
namespace DF_TARGET {

// e^x to 2 ULP for -87.3 <= x <= 88; held at the ends of this range outside it.
inline Vec exp(Vec x) {
  x = min(set(88.0f), max(set(-87.3f), x));
  const Vec n = round(mul(x, set(1.44269504f)));
  // r = x - n ln 2, with ln 2 in two parts: the first has few enough bits that n times it is exact.
  const Vec r = fnma(n, set(-2.12194440e-4f), fnma(n, set(0.693359375f), x));
  // e^r = 1 + r + r^2 p(r)
  Vec p = fma(set(1.39447036e-3f), r, set(8.33349734e-3f));
  p = fma(set(1.97902983e-4f), mul(r, r), p);
  p = fma(p, r, set(4.16662944e-2f));
  p = fma(p, r, set(1.66666659e-1f));
  p = fma(p, r, set(0.5f));
  p = add(fma(mul(r, r), p, r), set(1.0f));
  return from_bits(add(bits(p), to_exponent(to_int(n))));
}

// Mish(x) = x tanh(log(1 + e^x)) (Misra 2019) = x n / (n + 2) with n = e^x (e^x + 2); above 20 it is x.
inline Vec mish(Vec x) {
  const Vec e = exp(min(set(20.0f), x));
  const Vec n = mul(e, add(e, set(2.0f)));
  return mul(x, mul(n, reciprocal(add(n, set(2.0f)))));
}

// Its derivative: n / (n + 2) + 4 x e (e + 1) / (n + 2)^2.
inline Vec mish_slope(Vec x) {
  const Vec low = min(set(20.0f), x);
  const Vec e = exp(low);
  const Vec n = mul(e, add(e, set(2.0f)));
  const Vec r = reciprocal(add(n, set(2.0f)));
  const Vec bend = mul(mul(low, mul(set(4.0f), r)), mul(mul(e, add(e, set(1.0f))), r));
  return fma(n, r, bend);
}

}  // namespace DF_TARGET
}  // namespace df

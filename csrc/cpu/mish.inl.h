// exp, Mish and its derivative. Polynomials are least-maximum fits of our own; the bounds are tested
// (tests/csrc/test_functions.py).
namespace df {
namespace DF_TARGET {

// e^x to 1 ULP for -87.3 <= x <= 88, what is not a number excepted.
inline Vec exp_within(Vec x) {
  // n = x / ln 2 rounded: adding 1.5 * 2^23 pushes the fraction out.
  const Vec big = set(12582912.0f);
  const Vec n = sub(fma(x, set(1.44269504f), big), big);
  // r = x - n ln 2, with ln 2 in two parts: the first has few enough bits that n times it is exact.
  const Vec r = fnma(n, set(-2.12194440e-4f), fnma(n, set(0.693359375f), x));
  // e^r = 1 + r (1 + r p(r))
  Vec p = fma(set(1.381453999e-3f), r, set(8.368745116e-3f));
  p = fma(p, r, set(4.166839079e-2f));
  p = fma(p, r, set(1.666652040e-1f));
  p = fma(p, r, set(4.999999343e-1f));
  p = fma(p, r, set(1.0f));
  return times_power(fma(p, r, set(1.0f)), n);
}

// The same for all x, held at the ends of that range.
inline Vec exp(Vec x) { return exp_within(min(set(88.0f), max(set(-87.3f), x))); }

// Mish(x) = x tanh(log(1 + e^x)) (Misra 2019) = x n / (n + 2) with n = e^x (e^x + 2); above 20 it is x.
inline Vec mish(Vec x) {
  const Vec e = exp_within(min(set(20.0f), max(set(-87.3f), x)));
  const Vec n = mul(e, add(e, set(2.0f)));
  return mul(mul(x, n), reciprocal(add(n, set(2.0f))));
}

// Its derivative: n / (n + 2) + 4 x e (e + 1) / (n + 2)^2.
inline Vec mish_slope(Vec x) {
  const Vec low = min(set(20.0f), max(set(-87.3f), x));
  const Vec e = exp_within(low);
  const Vec n = mul(e, add(e, set(2.0f)));
  const Vec r = reciprocal(add(n, set(2.0f)));
  const Vec bend = mul(mul(low, mul(set(4.0f), r)), mul(mul(e, add(e, set(1.0f))), r));
  return fma(n, r, bend);
}

}  // namespace DF_TARGET
}  // namespace df

// exp, and the activations with their derivatives. Polynomials are least-maximum fits of our own; the bounds are tested
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
struct Mish {
  static constexpr bool kAny = true;

  static Vec value(Vec x) {
    const Vec e = exp_within(min(set(20.0f), max(set(-87.3f), x)));
    const Vec n = mul(e, add(e, set(2.0f)));
    return mul(x, div(n, add(n, set(2.0f))));
  }

  // n / (n + 2) + 4 x e (e + 1) / (n + 2)^2
  static Vec slope(Vec x) {
    const Vec low = min(set(20.0f), max(set(-87.3f), x));
    const Vec e = exp_within(low);
    const Vec n = mul(e, add(e, set(2.0f)));
    const Vec r = div(set(1.0f), add(n, set(2.0f)));
    const Vec bend = mul(mul(low, mul(set(4.0f), r)), mul(mul(e, add(e, set(1.0f))), r));
    return fma(n, r, bend);
  }
};

// SiLU(x) = x s with s = 1 / (1 + e^-x) (Elfwing et al. 2018).
struct Silu {
  static constexpr bool kAny = true;

  static Vec value(Vec x) { return div(max(set(-88.0f), x), add(set(1.0f), exp(sub(zero(), x)))); }

  // s + x s (1 - s), and 1 - s = e^-x s
  static Vec slope(Vec x) {
    const Vec e = exp(sub(zero(), x)), s = div(set(1.0f), add(set(1.0f), e));
    return fma(mul(max(set(-87.3f), x), s), mul(e, s), s);
  }
};

struct Relu {
  static constexpr bool kAny = true;

  static Vec value(Vec x) { return max(zero(), x); }  // what is not a number stays

  // One above zero. (0 - bits is negative for positive x; adding zero makes -0 a 0.)
  static Vec slope(Vec x) {
    const Int negative = sub(set_int(0), bits(add(x, zero())));
    const Vec nan = mul(x, zero());  // of finite x: zero
    return add(blend(from_bits(sign_fill(negative)), set(1.0f), zero()), nan);
  }
};

// GELU(x) = x Phi(x) (Hendrycks and Gimpel 2016), the exact one.
struct Gelu {
  static constexpr bool kAny = true;

  static Vec value(Vec x) { return mul(x, phi(x).distribution); }

  // Phi(x) + x phi(x), phi(x) = e^(-x^2/2) / sqrt(2 pi)
  static Vec slope(Vec x) {
    const Normal n = phi(x);
    return fma(mul(x, n.bell), set(0.398942280f), n.distribution);
  }

 private:
  struct Normal {
    Vec distribution, bell;  // Phi(x), e^(-x^2/2)
  };

  // Phi(-a) e^(a^2/2) = t p(t) with t = 1 / (1 + 0.34 a), a >= 0, to 3.2e-7 of itself as far as a = 13.
  static Normal phi(Vec x) {
    const Vec a = max(x, sub(zero(), x));
    const Vec t = div(set(1.0f), fma(a, set(0.34f), set(1.0f)));
    Vec p = fma(set(-0.004280091263353825f), t, set(-0.004463222809135914f));
    p = fma(p, t, set(0.09235890209674835f));
    p = fma(p, t, set(-0.21535491943359375f));
    p = fma(p, t, set(0.1583588421344757f));
    p = fma(p, t, set(-0.023443199694156647f));
    p = fma(p, t, set(0.10876451432704926f));
    p = fma(p, t, set(0.11645367741584778f));
    p = fma(p, t, set(0.13597899675369263f));
    p = fma(p, t, set(0.13562649488449097f));
    // a^2 / 2 in two parts, for its last digits count where it is large; beyond the range of exp it is held.
    const Vec held = min(set(13.2f), a), half = mul(held, set(0.5f));
    const Vec square = mul(half, held), rest = product_rest(half, held, square);
    const Vec e = exp_within(sub(zero(), square)), bell = fnma(e, rest, e);
    const Vec tail = mul(mul(t, p), bell);
    const Vec positive = from_bits(sign_fill(sub(set_int(0), bits(add(x, zero())))));
    return {blend(positive, sub(set(1.0f), tail), tail), bell};
  }
};

// x^2, for costs.
struct Square {
  static constexpr bool kAny = true;

  static Vec value(Vec x) { return mul(x, x); }

  static Vec slope(Vec x) { return add(x, x); }
};

// No activation.
struct Identity {
  static constexpr bool kAny = false;
};

// f(Mish{}) or what else it is.
template <class F>
inline void with_act(Act act, F&& f) {
  switch (act) {
    case kActMish:
      return f(Mish{});
    case kActSilu:
      return f(Silu{});
    case kActRelu:
      return f(Relu{});
    case kActGelu:
      return f(Gelu{});
    case kActSquare:
      return f(Square{});
    default:
      __builtin_trap();  // verify() lets no other activation in
  }
}

}  // namespace DF_TARGET
}  // namespace df

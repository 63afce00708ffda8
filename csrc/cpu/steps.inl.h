// The table of a target: every op kind to the function that runs it.
namespace df {
namespace DF_TARGET {

inline void convolution(const Step& s, const Part& part, const Work& work) {
  switch (s.way) {
    case Way::kDirect:
      return conv<Numbers>(s, part, work, work.arena);
    case Way::kDots:
      return conv_adjoint(s, part, work);
    case Way::kWinograd:
      return Winograd(s, part, work).run();
    case Way::kPairs:
      return conv_in_bf16(s, part, work);
  }
}

inline void run_step(const Step& s, const Part& part, const Work& work) {
  switch (s.op) {
    case kConv:
      return convolution(s, part, work);
    case kConvBlock: {
      convolution(s, part, work);
      const GroupNorm norm(s, part, work);
      return norm.run(false, [&](int b, int i) { norm.apply<true>(b, i); });
    }
    case kGroupNorm: {
      const GroupNorm norm(s, part, work);
      return norm.run(false, [&](int b, int i) { norm.apply<false>(b, i); });
    }
    case kGroupNormVjp:
    case kNormActVjp: {
      const GroupNorm norm(s, part, work);
      return norm.run(true, [&](int b, int i) { norm.apply_gradient(b, i); });
    }
    case kChannelNorm:
      return channel_norm(s, part, work);
    case kLinearAttention:
      return linear_attention(s, part, work);
    default:
      return run_pointwise(s, part, work);
  }
}

inline void function(int which, const float* x, float* y, int64_t n) {
  for (int64_t i = 0; i < n; i += kLanes) {
    const int count = n - i < kLanes ? static_cast<int>(n - i) : kLanes;
    const Vec v = load(x + i, count);
    store(y + i, which == 0 ? exp(v) : which == 1 ? mish(v) : mish_slope(v), count);
  }
}

extern const Table table = {DF_NAME, kSegments, kBf16,    run_step,  guide,
                            update,  noise,     function, philox_of, normals_many};

}  // namespace DF_TARGET
}  // namespace df

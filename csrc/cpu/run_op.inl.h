// One op, by its opcode and algorithm, and with it the kernel table of a target.
namespace df {
namespace DF_TARGET {

inline void convolution(const CompiledOp& op, const Partition& part, const Work& work) {
  switch (op.algorithm) {
    case Algorithm::kDirect:
      return conv<Float32>(op, part, work, work.arena);
    case Algorithm::kDotAdjoint:
      return dot_adjoint(op, part, work);
    case Algorithm::kWinograd:
      return Winograd(op, part, work).run();
    case Algorithm::kPackedBf16:
      return conv_packed_bf16(op, part, work);
    case Algorithm::kInt8:
      return conv_int8(op, part, work);
  }
  __builtin_trap();  // verify() lets no other algorithm in
}

inline void run_op(const CompiledOp& op, const Partition& part, const Work& work) {
  switch (op.opcode) {
    case kConv:
      return convolution(op, part, work);
    case kConvBlock: {
      convolution(op, part, work);
      const GroupNorm norm(op, part, work);
      return with_act(
          op.act, [&](auto act) { norm.run(false, [&](int b, int i) { norm.apply<decltype(act)>(b, i); }); });
    }
    case kGroupNorm: {
      const GroupNorm norm(op, part, work);
      return norm.run(false, [&](int b, int i) { norm.apply<Identity>(b, i); });
    }
    case kGroupNormVjp:
    case kNormActVjp: {
      const GroupNorm norm(op, part, work);
      return norm.run(true, [&](int b, int i) { norm.apply_gradient(b, i); });
    }
    case kChannelNorm:
      return channel_norm(op, part, work);
    case kLinearAttention:
      return linear_attention(op, part, work);
    default:
      return run_pointwise(op, part, work);
  }
}

inline void function(int which, const float* x, float* y, int64_t n) {
  for (int64_t i = 0; i < n; i += kLanes) {
    const int count = n - i < kLanes ? static_cast<int>(n - i) : kLanes;
    const Vec v = load(x + i, count);
    if (which == 0) {
      store(y + i, exp(v), count);
      continue;
    }
    with_act(static_cast<Act>((which - 1) / 2),
             [&](auto act) { store(y + i, which % 2 == 1 ? act.value(v) : act.slope(v), count); });
  }
}

extern const KernelTable kernel_table = {DF_NAME, kSegments, kBf16,    run_op,    guidance_update,
                                         update,  noise,     function, philox_of, normals_many};

}  // namespace DF_TARGET
}  // namespace df

// Flat records of a Program -> Steps.
#include <algorithm>
#include <cstring>

#include "program.h"

namespace df {
namespace {

float as_float(int32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

View view_of(const df_program& p, int value, int n) {
  View v;
  if (value < 0) return v;
  const int32_t* row = p.values + static_cast<int64_t>(value) * kValueFields;
  if (row[kValueOffset] < 0) return v;
  v.channels = row[kValueChannels];
  v.length = row[kValueLength];
  v.ld = row[kValueLd];
  v.pitch = static_cast<int64_t>(v.length + 2 * p.halo) * v.ld;
  v.origin = static_cast<int64_t>(row[kValueOffset]) * n + static_cast<int64_t>(p.halo) * v.ld;
  v.at = v.origin + row[kValueChannel];
  return v;
}

Step step_of(const df_program& p, const int32_t* row, int n) {
  Step s;
  s.op = static_cast<Opcode>(row[kOpOpcode]);
  s.x = view_of(p, row[kOpIn], n);
  s.y = view_of(p, row[kOpIn2], n);
  s.out = view_of(p, row[kOpOut], n);
  s.out2 = view_of(p, row[kOpOut2], n);
  const int weights[] = {row[kOpW], row[kOpW2], row[kOpW3], row[kOpW4]};
  for (int i = 0; i < 4; ++i) s.w[i] = weights[i] < 0 ? nullptr : p.weights[weights[i]];
  const int layout = s.is_conv() ? p.layouts[row[kOpW]] : DF_VECTOR;
  if (layout == DF_WINOGRAD) s.way = Way::kWinograd;
  if (layout == DF_BF16) s.way = Way::kPairs;
  if (layout == DF_FORWARD && row[kOpTransposed] == 1 && s.op == kConv) s.way = Way::kDots;
  s.k = row[kOpK];
  s.stride = row[kOpStride];
  s.pad = row[kOpPad];
  s.transposed = row[kOpTransposed];
  s.lo = row[kOpLo];
  s.table = row[kOpTable];
  s.heads = row[kOpHeads];
  s.groups = row[kOpGroups];
  s.eps = as_float(row[kOpEps]);
  s.q_scale = as_float(row[kOpQScale]);
  s.trajectories = n;
  s.row_blocks = ceil_div(s.out.length, kRowBlock);
  return s;
}

constexpr int kMostSums = 24 * kBlock;  // floats: accumulators of the largest tile of any instruction set

// Where a thread keeps x in bfloat16: rows of pairs, without padding between trajectories.
View pairs_of(const View& x) {
  View v;
  v.at = v.origin = 0;
  v.channels = x.channels / 2;
  v.length = x.length;
  v.ld = padded(v.channels);
  v.pitch = static_cast<int64_t>(v.length) * v.ld;
  return v;
}

// Scratch of an op: what one thread needs by itself, and what threads need together where they share rows.
void add_scratch(const Step& s, Compiled* c) {
  const int64_t width = padded(s.out.channels);
  int64_t own = 0, shared = 0;
  if (s.has_groups()) {
    const int64_t sums = 4 * s.row_blocks * width;
    own = 4 * width + (s.by_rows ? 0 : sums);
    shared = s.by_rows ? s.trajectories * sums : 0;
  } else if (s.op == kLinearAttention) {
    const int64_t head = padded(s.out.channels / s.heads);
    own = head * (s.out.length + head + 1);
  }
  if (s.pairs.at >= 0) own = std::max(own, s.pairs.pitch * s.trajectories);
  if (s.way == Way::kWinograd) {
    const int64_t points = winograd_points(s.out.length);
    own = std::max(own, points * (static_cast<int64_t>(s.winograd_tiles) * winograd_ld(s) + kMostSums));
  }
  c->own = std::max(c->own, own);
  c->shared = std::max(c->shared, shared);
}

}  // namespace

Compiled compile(const df_program& p, int n, int threads, int segments, bool bf16) {
  Compiled c;
  c.arena = p.size * n;
  for (int i = 0; i < p.n_ops; ++i) {
    c.steps.push_back(step_of(p, p.ops + static_cast<int64_t>(i) * kOpFields, n));
  }
  share(c.steps, threads);
  for (Step& s : c.steps) {
    if (s.way == Way::kPairs && bf16) s.pairs = pairs_of(s.x);
    if (s.is_conv()) place_tiles(s, segments);
    add_scratch(s, &c);
  }
  const Step* next = nullptr;
  for (size_t i = c.steps.size(); i-- > 0;) {
    Step& s = c.steps[i];
    if (!s.is_conv() || s.way == Way::kDots) continue;
    if (next) {
      const int taps = next->way == Way::kWinograd ? winograd_points(next->out.length) : next->k;
      s.next = next->w[0];
      s.next_block = static_cast<int64_t>(taps) * pitch(next->units()) * kBlock;
    }
    next = &s;
  }
  for (int i = 0; i < p.n_inputs; ++i) c.inputs.push_back(view_of(p, p.inputs[i], n));
  for (int i = 0; i < p.n_outputs; ++i) c.outputs.push_back(view_of(p, p.outputs[i], n));
  return c;
}

}  // namespace df

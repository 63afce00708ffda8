// A serialized Program -> CompiledOps.
#include <algorithm>
#include <cstring>

#include "compiled.h"

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
  const int32_t* fields = p.values + static_cast<int64_t>(value) * kValueFields;
  if (fields[kValueOffset] < 0) return v;
  v.channels = fields[kValueChannels];
  v.length = fields[kValueLength];
  v.ld = fields[kValueLd];
  v.pitch = static_cast<int64_t>(v.length) * v.ld;
  v.origin = static_cast<int64_t>(fields[kValueOffset]) * n;
  v.at = v.origin + fields[kValueChannel];
  return v;
}

CompiledOp op_of(const df_program& p, const int32_t* fields, int n) {
  CompiledOp op;
  op.opcode = static_cast<Opcode>(fields[kOpOpcode]);
  op.x = view_of(p, fields[kOpIn], n);
  op.y = view_of(p, fields[kOpIn2], n);
  op.out = view_of(p, fields[kOpOut], n);
  op.out2 = view_of(p, fields[kOpOut2], n);
  const int weights[] = {fields[kOpW], fields[kOpW2], fields[kOpW3], fields[kOpW4]};
  for (int i = 0; i < 4; ++i) op.w[i] = weights[i] < 0 ? nullptr : p.weights[weights[i]];
  op.algorithm = static_cast<Algorithm>(fields[kOpAlgorithm]);
  op.act = static_cast<Act>(fields[kOpAct]);
  op.k = fields[kOpK];
  op.stride = fields[kOpStride];
  op.pad = fields[kOpPad];
  op.transposed = fields[kOpTransposed];
  op.lo = fields[kOpLo];
  op.table = fields[kOpTable];
  op.heads = fields[kOpHeads];
  op.groups = fields[kOpGroups];
  op.eps = as_float(fields[kOpEps]);
  op.q_scale = as_float(fields[kOpQScale]);
  op.trajectories = n;
  op.row_blocks = ceil_div(op.out.length, kRowBlock);
  return op;
}

constexpr int kMostSums = 24 * kBlock;  // floats: accumulators of the largest tile of any instruction set

// Where a thread keeps x in narrow words: rows of them, without padding between trajectories.
View packed_view(const CompiledOp& op) {
  View v;
  v.at = v.origin = 0;
  v.channels = op.units();
  v.length = op.x.length;
  v.ld = padded(v.channels);
  v.pitch = static_cast<int64_t>(v.length) * v.ld;
  return v;
}

// Scratch of an op: what each thread needs by itself, and what threads need in common where they share rows.
void add_scratch(CompiledOp& op, Compiled* c) {
  const int64_t width = padded(op.out.channels);
  int64_t own = 0, shared = 0;
  if (op.has_groups()) {
    const int64_t sums = 4 * op.row_blocks * width;
    own = 4 * width + (op.by_rows ? 0 : sums);
    shared = op.by_rows ? op.trajectories * sums : 0;
  } else if (op.opcode == kLinearAttention) {
    const int64_t head = padded(op.out.channels / op.heads);
    own = head * (op.out.length + head + 1);
  }
  if (op.packed_x.at >= 0) {
    const int64_t grids = op.algorithm == Algorithm::kInt8 ? 2 * op.trajectories : 0;
    own = std::max(own, op.packed_x.pitch * op.trajectories + grids);
  }
  op.range_at = shared;
  if (op.shares_range) shared += kRange * static_cast<int64_t>(op.partitions.size()) * op.trajectories;
  if (op.algorithm == Algorithm::kWinograd) {
    const int64_t points = winograd_points(op.out.length);
    own = std::max(own, points * (static_cast<int64_t>(op.winograd_tiles) * winograd_ld(op) + kMostSums));
  }
  c->own = std::max(c->own, own);
  c->shared = std::max(c->shared, shared);
}

}  // namespace

Compiled compile(const df_program& p, int n, int threads, int segments, bool bf16) {
  Compiled c;
  c.arena = p.size * n;
  for (int i = 0; i < p.n_ops; ++i) {
    c.ops.push_back(op_of(p, p.ops + static_cast<int64_t>(i) * kOpFields, n));
  }
  partition(c.ops, threads);
  for (CompiledOp& op : c.ops) {
    if (op.algorithm == Algorithm::kInt8 || (op.algorithm == Algorithm::kPackedBf16 && bf16)) {
      op.packed_x = packed_view(op);
    }
    if (op.is_conv()) place_tiles(op, segments);
    add_scratch(op, &c);
  }
  const CompiledOp* next = nullptr;
  for (size_t i = c.ops.size(); i-- > 0;) {
    CompiledOp& op = c.ops[i];
    if (!op.is_conv() || op.algorithm == Algorithm::kDotAdjoint) continue;
    if (next) {
      const int taps = next->algorithm == Algorithm::kWinograd ? winograd_points(next->out.length) : next->k;
      op.next = next->w[0];
      op.next_block = static_cast<int64_t>(taps) * pitch(next->units()) * kBlock;
    }
    next = &op;
  }
  for (int i = 0; i < p.n_inputs; ++i) c.inputs.push_back(view_of(p, p.inputs[i], n));
  for (int i = 0; i < p.n_outputs; ++i) c.outputs.push_back(view_of(p, p.outputs[i], n));
  return c;
}

}  // namespace df

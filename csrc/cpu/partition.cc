// Work partitioning for intra-op parallelism: each thread's share of every op, and the barriers between ops.
#include <algorithm>
#include <numeric>

#include "compiled.h"

namespace df {
namespace {

// Channels that must stay together: whole blocks of weights, whole groups, whole heads.
int unit_of(const CompiledOp& op) {
  const int c = op.out.channels;
  if (op.has_groups()) return std::lcm(kBlock, c / op.groups);
  if (op.opcode == kLinearAttention) return std::lcm(kBlock, c / op.heads);
  return op.opcode == kChannelNorm ? padded(c) : kBlock;
}

double efficiency(int items, int threads) {
  return static_cast<double>(items) / (threads * ceil_div(items, threads));
}

void divide(CompiledOp& op, int threads) {
  const int c = op.out.channels, unit = unit_of(op), units = ceil_div(c, unit);
  const int blocks = op.trajectories * op.row_blocks;
  op.partitions.assign(threads, Partition{});
  const double by_channels = efficiency(units, threads), by_rows = efficiency(blocks, threads);
  op.by_rows = op.opcode != kLinearAttention && by_channels < 0.7 && by_rows > by_channels;
  if (op.opcode != kLinearAttention && by_rows >= by_channels && blocks >= 2 * threads) op.by_rows = true;
  for (int p = 0; p < threads; ++p) {
    Partition& part = op.partitions[p];
    part.c1 = c;
    part.end_block = blocks;
    if (op.by_rows) {
      part.block = static_cast<int>(static_cast<int64_t>(blocks) * p / threads);
      part.end_block = static_cast<int>(static_cast<int64_t>(blocks) * (p + 1) / threads);
    } else {
      part.c0 = std::min<int64_t>(c, static_cast<int64_t>(units) * p / threads * unit);
      part.c1 = std::min<int64_t>(c, static_cast<int64_t>(units) * (p + 1) / threads * unit);
    }
  }
}

// Memory an op touches: a value, all of it or each thread its own channels.
struct Access {
  const View* view;
  const CompiledOp* op;
  bool own;  // each thread only touches the channels of its share
};

void collect(const CompiledOp& op, std::vector<Access>* reads, std::vector<Access>* writes) {
  const bool own = !op.by_rows;
  const bool pointwise =
      !op.is_conv() && op.opcode != kChannelNorm && op.opcode != kConcat && op.opcode != kSlice;
  reads->push_back({&op.x, &op, own && pointwise && op.opcode != kLinearAttention});
  if (op.y.at >= 0) reads->push_back({&op.y, &op, own && op.opcode != kConcat});
  writes->push_back({&op.out, &op, own});
  if (op.out2.at >= 0) writes->push_back({&op.out2, &op, own});
}

// Whether some thread may touch what another touches in `b`.
bool conflict(const Access& a, const Access& b) {
  const View &u = *a.view, &v = *b.view;
  if (u.origin != v.origin || u.ld != v.ld || u.pitch != v.pitch) {
    const int64_t end_u = u.origin + u.pitch * a.op->trajectories;
    const int64_t end_v = v.origin + v.pitch * b.op->trajectories;
    return u.origin < end_v && v.origin < end_u;
  }
  const int64_t column_u = u.at - u.origin, column_v = v.at - v.origin;
  for (size_t p = 0; p < a.op->partitions.size(); ++p) {
    for (size_t q = 0; q < b.op->partitions.size(); ++q) {
      if (p == q) continue;
      const Partition &f = a.op->partitions[p], &g = b.op->partitions[q];
      const int64_t f0 = column_u + (a.own ? f.c0 : 0), f1 = column_u + (a.own ? f.c1 : u.channels);
      const int64_t g0 = column_v + (b.own ? g.c0 : 0), g1 = column_v + (b.own ? g.c1 : v.channels);
      if (f0 < g1 && g0 < f1) return true;
    }
  }
  return false;
}

bool any_conflict(const std::vector<Access>& some, const std::vector<Access>& others) {
  for (const Access& a : some) {
    for (const Access& b : others) {
      if (conflict(a, b)) return true;
    }
  }
  return false;
}

}  // namespace

void partition(std::vector<CompiledOp>& ops, int threads) {
  for (CompiledOp& op : ops) divide(op, threads);
  if (threads == 1) return;
  std::vector<Access> read, written;  // since the last barrier
  bool shared_before = false;         // others may still read the scratch that threads share
  for (CompiledOp& op : ops) {
    std::vector<Access> reads, writes;
    collect(op, &reads, &writes);
    const bool shares_sums = op.by_rows && op.has_groups();
    op.shares_range = op.by_rows && op.algorithm == Algorithm::kInt8;
    op.barrier = shares_sums || shared_before || any_conflict(reads, written) ||
                 any_conflict(writes, written) || any_conflict(writes, read);
    shared_before = shares_sums || op.shares_range;
    if (op.barrier) {
      read.clear();
      written.clear();
    }
    read.insert(read.end(), reads.begin(), reads.end());
    written.insert(written.end(), writes.begin(), writes.end());
  }
}

}  // namespace df

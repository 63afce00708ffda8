// Who does what: each thread's share of every op, and where threads must wait for each other.
#include <algorithm>
#include <numeric>

#include "program.h"

namespace df {
namespace {

// Channels that must stay together: whole blocks of weights, whole groups, whole heads.
int unit_of(const Step& s) {
  const int c = s.out.channels;
  if (s.has_groups()) return std::lcm(kBlock, c / s.groups);
  if (s.op == kLinearAttention) return std::lcm(kBlock, c / s.heads);
  return s.op == kChannelNorm ? padded(c) : kBlock;
}

double efficiency(int items, int threads) {
  return static_cast<double>(items) / (threads * ceil_div(items, threads));
}

void divide(Step& s, int threads) {
  const int c = s.out.channels, unit = unit_of(s), units = ceil_div(c, unit);
  const int blocks = s.trajectories * s.row_blocks;
  s.parts.assign(threads, Part{});
  const double by_channels = efficiency(units, threads), by_rows = efficiency(blocks, threads);
  s.by_rows = s.op != kLinearAttention && by_channels < 0.7 && by_rows > by_channels;
  if (s.op != kLinearAttention && by_rows >= by_channels && blocks >= 3 * threads) s.by_rows = true;
  for (int p = 0; p < threads; ++p) {
    Part& part = s.parts[p];
    part.c1 = c;
    part.end_block = blocks;
    if (s.by_rows) {
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
  const Step* step;
  bool own;  // each thread only touches the channels of its part
};

void collect(const Step& s, std::vector<Access>* reads, std::vector<Access>* writes) {
  const bool own = !s.by_rows;
  const bool pointwise = !s.is_conv() && s.op != kChannelNorm && s.op != kConcat && s.op != kSlice;
  reads->push_back({&s.x, &s, own && pointwise && s.op != kLinearAttention});
  if (s.y.at >= 0) reads->push_back({&s.y, &s, own && s.op != kConcat});
  writes->push_back({&s.out, &s, own});
  if (s.out2.at >= 0) writes->push_back({&s.out2, &s, own});
}

// Whether some thread may touch what another touches in `b`.
bool conflict(const Access& a, const Access& b) {
  const View &u = *a.view, &v = *b.view;
  if (u.origin != v.origin || u.ld != v.ld || u.pitch != v.pitch) {
    const int64_t end_u = u.origin + u.pitch * a.step->trajectories;
    const int64_t end_v = v.origin + v.pitch * b.step->trajectories;
    return u.origin < end_v && v.origin < end_u;
  }
  const int64_t column_u = u.at - u.origin, column_v = v.at - v.origin;
  for (size_t p = 0; p < a.step->parts.size(); ++p) {
    for (size_t q = 0; q < b.step->parts.size(); ++q) {
      if (p == q) continue;
      const Part &f = a.step->parts[p], &g = b.step->parts[q];
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

void share(std::vector<Step>& steps, int threads) {
  for (Step& s : steps) divide(s, threads);
  if (threads == 1) return;
  std::vector<Access> read, written;  // since the last barrier
  bool rows_before = false;           // the scratch of ops shared by rows is shared too
  for (Step& s : steps) {
    std::vector<Access> reads, writes;
    collect(s, &reads, &writes);
    s.barrier = (s.by_rows && s.has_groups()) || rows_before || any_conflict(reads, written) ||
                any_conflict(writes, written) || any_conflict(writes, read);
    rows_before = s.by_rows && s.has_groups();
    if (s.barrier) {
      read.clear();
      written.clear();
    }
    read.insert(read.end(), reads.begin(), reads.end());
    written.insert(written.end(), writes.begin(), writes.end());
  }
}

}  // namespace df

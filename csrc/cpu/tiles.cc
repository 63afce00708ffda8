// The tiles of a convolution. Outputs whose taps meet the same rows of weights go side by side, so that one load of
// weights serves many of them, whether they are neighbours in time or the same moment of several trajectories.
// A tap that would read padding is left out for just the rows where it would: no multiplication by zero is done.
#include <algorithm>

#include "compiled.h"
#include "memory.h"

namespace df {
namespace {

struct Segment {
  Tile lone;  // a tile of this one segment
  int rows;
  std::vector<Tap> taps;
};

// Segments that can share tiles, and the strides between their rows.
struct Family {
  std::vector<Segment> segments;
  int rows, input_stride, out_stride, add_stride, trajectory_stride;
};

int floor_div(int a, int b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }

// The input row that output t reads through tap j; -1 if it reads none.
int input_row(const CompiledOp& op, int t, int j) {
  int i = t * op.stride - op.pad + j;
  if (op.transposed) {
    const int from = t + op.pad - j;
    if (floor_div(from, op.stride) * op.stride != from) return -1;
    i = floor_div(from, op.stride);
  }
  return i >= 0 && i < op.x.length ? i : -1;
}

class Tiler {
 public:
  Tiler(CompiledOp& op, int segments) : op_(op), x_(op.input()), u_(op.conv_out()), segments_(segments) {
    phases_ = op_.transposed ? op_.stride : 1;
    units_ = op_.units();
    channels_ = op_.algorithm != Algorithm::kDirect || units_ < 2 * kChunk ? units_ : kChunk;
    tap_ = pitch(op_.algorithm == Algorithm::kDotAdjoint ? op_.out.channels : units_) * kBlock;
    const int chunks = std::max(1, (2 * channels_ * op_.k + kChunk) / (2 * kChunk));
    chunk_ = std::max(1, (2 * op_.k + chunks) / (2 * chunks));
  }

  // The runs of all rows t0 .. t1 - 1 of trajectories b0 .. b1 - 1.
  void across_time(int b0, int b1, int t0, int t1) {
    for (int b = b0; b < b1; ++b) {
      for (int phase = 0; phase < std::min(phases_, t1 - t0); ++phase) {
        for (int t = t0 + phase; t < t1; t += kSegment * phases_) {
          const int rows = std::min(kSegment, ceil_div(t1 - t, phases_));
          add_segment(b, t, rows, phases_, 0);
        }
      }
    }
  }

  void across_trajectories() {
    for (int t = 0; t < u_.length; ++t) {
      for (int b = 0; b < op_.trajectories; b += kSegment) {
        add_segment(b, t, std::min(kSegment, op_.trajectories - b), 0, 1);
      }
    }
  }

  // Families -> runs of tiles, the fullest first; returns the first and one past the last.
  Partition emit_runs(Partition part) {
    part.run = static_cast<int>(op_.runs.size());
    std::stable_sort(families_.begin(), families_.end(), [](const Family& a, const Family& b) {
      return a.segments.size() * a.rows > b.segments.size() * b.rows;
    });
    for (const Family& family : families_) {
      size_t done = 0;
      const int most = family.rows == kSegment ? segments_ : 1;
      for (int width = most; width > 0; --width) {
        const size_t count = (family.segments.size() - done) / width;
        if (count) emit(family, done, width, count);
        done += count * width;
      }
    }
    part.end_run = static_cast<int>(op_.runs.size());
    families_.clear();
    return part;
  }

 private:
  // Rows (b, t), (b + b_stride, t + t_stride), ...
  void add_segment(int b, int t, int rows, int t_stride, int b_stride) {
    const int base = op_.transposed ? floor_div(t + op_.pad, op_.stride) : t * op_.stride;
    const int row_stride = op_.transposed ? t_stride / op_.stride : t_stride * op_.stride;
    Segment g;
    g.rows = rows;
    const bool adds = op_.opcode == kConv && op_.y.at >= 0;
    g.lone.input[0] = static_cast<int>(x_.row(b, base));
    g.lone.out[0] = static_cast<int>(u_.row(b, t));
    g.lone.add[0] = adds ? static_cast<int>(op_.y.row(b, t)) : 0;
    g.lone.trajectory[0] = b;
    for (int j = 0; j < op_.k; ++j) {
      int first = rows, last = 0;
      for (int r = 0; r < rows; ++r) {
        if (input_row(op_, t + r * t_stride, j) >= 0) {
          first = std::min(first, r);
          last = r + 1;
        }
      }
      if (first >= last) continue;
      const int i = input_row(op_, t + first * t_stride, j);
      const int64_t ahead = static_cast<int64_t>(i - base) * x_.ld + b_stride * first * x_.pitch;
      for (int c = 0; c < units_; c += channels_) {
        const int chunk = op_.per_word() > 1   ? 0
                          : units_ > channels_ ? static_cast<int>(g.taps.size())
                                               : j / chunk_;
        g.taps.push_back({j * tap_ + c * kBlock, static_cast<int>(ahead) + c, std::min(channels_, units_ - c),
                          first, last, chunk});
      }
    }
    const int input_stride = static_cast<int>(row_stride * x_.ld + b_stride * x_.pitch);
    const int out_stride = static_cast<int>(t_stride * u_.ld + b_stride * u_.pitch);
    const int add_stride = adds ? static_cast<int>(t_stride * op_.y.ld + b_stride * op_.y.pitch) : 0;
    for (Family& family : families_) {
      if (family.rows == rows && family.segments[0].taps == g.taps) {
        family.segments.push_back(g);
        return;
      }
    }
    families_.push_back({{g}, rows, input_stride, out_stride, add_stride, b_stride});
  }

  void emit(const Family& family, size_t from, int width, size_t count) {
    const std::vector<Tap>& taps = family.segments[0].taps;
    auto at = std::search(op_.taps.begin(), op_.taps.end(), taps.begin(), taps.end());
    if (at == op_.taps.end() || taps.empty()) at = op_.taps.insert(op_.taps.end(), taps.begin(), taps.end());
    Run run{};
    run.tap = static_cast<int>(at - op_.taps.begin());
    run.n_taps = static_cast<int>(taps.size());
    run.tile = static_cast<int>(op_.tiles.size());
    run.n_tiles = static_cast<int>(count);
    run.segments = width;
    run.rows = family.rows;
    run.input_stride = family.input_stride;
    run.out_stride = family.out_stride;
    run.add_stride = family.add_stride;
    run.trajectory_stride = family.trajectory_stride;
    for (size_t i = 0; i < count; ++i) {
      Tile tile{};
      for (int g = 0; g < width; ++g) {
        const Tile& lone = family.segments[from + i * width + g].lone;
        tile.input[g] = lone.input[0];
        tile.out[g] = lone.out[0];
        tile.add[g] = lone.add[0];
        tile.trajectory[g] = lone.trajectory[0];
      }
      op_.tiles.push_back(tile);
    }
    op_.runs.push_back(run);
  }

  CompiledOp& op_;
  const View &x_, &u_;
  const int segments_;
  int phases_;
  int units_;
  int channels_;  // taken of a tap at once
  int chunk_;     // taps of a chunk
  int tap_;       // floats of the weights of a tap in a block
  std::vector<Family> families_;
};

// Tiles of up to 4 outputs in time, as many together as their input at all points leaves in half of the L2 cache, and as
// equally many each time as they can be: the weights are read anew for each lot.
void place_winograd_tiles(CompiledOp& op) {
  const auto add = [&](int b, int t0, int t1) {
    for (int t = t0; t < t1; t += kSegment) {
      Tile tile{};
      tile.input[0] = static_cast<int>(op.x.row(b, t));
      tile.input[1] = t;
      tile.out[0] = static_cast<int>(op.conv_out().row(b, t));
      tile.add[0] = op.opcode == kConv && op.y.at >= 0 ? static_cast<int>(op.y.row(b, t)) : 0;
      op.tiles.push_back(tile);
    }
  };
  const int length = op.out.length;
  for (Partition& part : op.partitions) {
    part.run = static_cast<int>(op.tiles.size());
    for (int block = part.block; block < part.end_block; ++block) {
      const int b = block / op.row_blocks, t = block % op.row_blocks * kRowBlock;
      add(b, t, std::min(t + kRowBlock, length));
    }
    part.end_run = static_cast<int>(op.tiles.size());
  }
  int most = 0;
  for (const Partition& part : op.partitions) most = std::max(most, part.end_run - part.run);
  const int64_t tile = winograd_points(length) * winograd_ld(op) * static_cast<int64_t>(sizeof(float));
  const int fit = static_cast<int>(std::max<int64_t>(l2_cache() / 2 / tile, kSegment * kMaxSegments));
  const int each = ceil_div(most, std::max(ceil_div(most, fit), 1));
  op.winograd_tiles = std::max(ceil_div(each, kSegment), 1) * kSegment;
}

}  // namespace

void place_tiles(CompiledOp& op, int segments) {
  if (op.algorithm == Algorithm::kWinograd) return place_winograd_tiles(op);
  Tiler tiler(op, op.algorithm == Algorithm::kDotAdjoint ? 1 : segments);
  if (!op.by_rows) {
    // With few rows in time, or few to read, rows of several trajectories make fuller tiles.
    const int length = op.conv_out().length, rows = op.transposed ? ceil_div(length, op.stride) : length;
    if (op.trajectories > 1 && std::min(rows, op.x.length) < kSegment) {
      tiler.across_trajectories();
    } else {
      tiler.across_time(0, op.trajectories, 0, length);
    }
    const Partition all = tiler.emit_runs({});
    for (Partition& part : op.partitions) {
      part.run = all.run;
      part.end_run = all.end_run;
    }
    return;
  }
  for (Partition& part : op.partitions) {
    for (int block = part.block; block < part.end_block; ++block) {
      const int b = block / op.row_blocks, t = block % op.row_blocks * kRowBlock;
      tiler.across_time(b, b + 1, t, std::min(t + kRowBlock, op.conv_out().length));
    }
    part = tiler.emit_runs(part);
  }
}

}  // namespace df

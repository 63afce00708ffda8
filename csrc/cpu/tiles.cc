// The tiles of a convolution. Outputs whose taps meet the same rows of weights go side by side, so that one load of
// weights serves many of them, whether they are neighbours in time or the same moment of several trajectories.
// A tap that would read padding is left out for just the rows where it would: no multiplication by zero is done.
#include <algorithm>

#include "program.h"

namespace df {
namespace {

struct Segment {
  Tile lone;  // a tile of this one segment
  int rows;
  std::vector<Tap> taps;
};

// Segments that can share tiles, and the steps between their rows.
struct Family {
  std::vector<Segment> segments;
  int rows, input_step, out_step, add_step;
};

int floor_div(int a, int b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }

// The input row that output t reads through tap j; -1 if it reads none.
int input_row(const Step& s, int t, int j) {
  int i = t * s.stride - s.pad + j;
  if (s.transposed) {
    const int from = t + s.pad - j;
    if (floor_div(from, s.stride) * s.stride != from) return -1;
    i = floor_div(from, s.stride);
  }
  return i >= 0 && i < s.x.length ? i : -1;
}

class Tiler {
 public:
  Tiler(Step& step, int segments) : s_(step), x_(step.input()), u_(step.conv_out()), segments_(segments) {
    phases_ = s_.transposed ? s_.stride : 1;
    units_ = s_.units();
    channels_ = s_.way != Way::kDirect || units_ < 2 * kChunk ? units_ : kChunk;
    tap_ = pitch(s_.way == Way::kDots ? s_.out.channels : units_) * kBlock;
    const int chunks = std::max(1, (2 * channels_ * s_.k + kChunk) / (2 * kChunk));
    chunk_ = std::max(1, (2 * s_.k + chunks) / (2 * chunks));
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
      for (int b = 0; b < s_.trajectories; b += kSegment) {
        add_segment(b, t, std::min(kSegment, s_.trajectories - b), 0, 1);
      }
    }
  }

  // Families -> runs of tiles; returns the first and one past the last.
  Part finish(Part part) {
    part.run = static_cast<int>(s_.runs.size());
    for (const Family& family : families_) {
      size_t done = 0;
      const int most = family.rows == kSegment ? segments_ : 1;
      for (int width = most; width > 0; --width) {
        const size_t count = (family.segments.size() - done) / width;
        if (count) emit(family, done, width, count);
        done += count * width;
      }
    }
    part.end_run = static_cast<int>(s_.runs.size());
    families_.clear();
    return part;
  }

 private:
  // Rows (b, t), (b + b_step, t + t_step), ...
  void add_segment(int b, int t, int rows, int t_step, int b_step) {
    const int base = s_.transposed ? floor_div(t + s_.pad, s_.stride) : t * s_.stride;
    const int row_step = s_.transposed ? t_step / s_.stride : t_step * s_.stride;
    Segment g;
    g.rows = rows;
    const bool adds = s_.op == kConv && s_.y.at >= 0;
    g.lone.input[0] = static_cast<int>(x_.row(b, base));
    g.lone.out[0] = static_cast<int>(u_.row(b, t));
    g.lone.add[0] = adds ? static_cast<int>(s_.y.row(b, t)) : 0;
    for (int j = 0; j < s_.k; ++j) {
      int first = rows, last = 0;
      for (int r = 0; r < rows; ++r) {
        if (input_row(s_, t + r * t_step, j) >= 0) {
          first = std::min(first, r);
          last = r + 1;
        }
      }
      if (first >= last) continue;
      const int i = input_row(s_, t + first * t_step, j);
      const int64_t ahead = static_cast<int64_t>(i - base) * x_.ld + b_step * first * x_.pitch;
      for (int c = 0; c < units_; c += channels_) {
        const int chunk = s_.way == Way::kPairs ? 0
                          : units_ > channels_  ? static_cast<int>(g.taps.size())
                                                : j / chunk_;
        g.taps.push_back({j * tap_ + c * kBlock, static_cast<int>(ahead) + c, std::min(channels_, units_ - c),
                          first, last, chunk});
      }
    }
    const int input_step = static_cast<int>(row_step * x_.ld + b_step * x_.pitch);
    const int out_step = static_cast<int>(t_step * u_.ld + b_step * u_.pitch);
    const int add_step = adds ? static_cast<int>(t_step * s_.y.ld + b_step * s_.y.pitch) : 0;
    for (Family& family : families_) {
      if (family.rows == rows && family.segments[0].taps == g.taps) {
        family.segments.push_back(g);
        return;
      }
    }
    families_.push_back({{g}, rows, input_step, out_step, add_step});
  }

  void emit(const Family& family, size_t from, int width, size_t count) {
    const std::vector<Tap>& taps = family.segments[0].taps;
    auto at = std::search(s_.taps.begin(), s_.taps.end(), taps.begin(), taps.end());
    if (at == s_.taps.end() || taps.empty()) at = s_.taps.insert(s_.taps.end(), taps.begin(), taps.end());
    Run run{};
    run.tap = static_cast<int>(at - s_.taps.begin());
    run.n_taps = static_cast<int>(taps.size());
    run.tile = static_cast<int>(s_.tiles.size());
    run.n_tiles = static_cast<int>(count);
    run.segments = width;
    run.rows = family.rows;
    run.input_step = family.input_step;
    run.out_step = family.out_step;
    run.add_step = family.add_step;
    for (size_t i = 0; i < count; ++i) {
      Tile tile{};
      for (int g = 0; g < width; ++g) {
        const Tile& lone = family.segments[from + i * width + g].lone;
        tile.input[g] = lone.input[0];
        tile.out[g] = lone.out[0];
        tile.add[g] = lone.add[0];
      }
      s_.tiles.push_back(tile);
    }
    s_.runs.push_back(run);
  }

  Step& s_;
  const View &x_, &u_;
  const int segments_;
  int phases_;
  int units_;
  int channels_;  // taken of a tap at once
  int chunk_;     // taps of a chunk
  int tap_;       // floats of the weights of a tap in a block
  std::vector<Family> families_;
};

// Tiles of up to 4 outputs in time, as many together as their input at all points leaves in half of a small L2 cache.
void place_winograd_tiles(Step& s) {
  constexpr int kBytes = 256 << 10, kWhole = kSegment * kMaxSegments;
  const auto add = [&](int b, int t0, int t1) {
    for (int t = t0; t < t1; t += kSegment) {
      Tile tile{};
      tile.input[0] = static_cast<int>(s.x.row(b, t));
      tile.input[1] = t;
      tile.out[0] = static_cast<int>(s.conv_out().row(b, t));
      tile.add[0] = s.op == kConv && s.y.at >= 0 ? static_cast<int>(s.y.row(b, t)) : 0;
      s.tiles.push_back(tile);
    }
  };
  const int length = s.out.length;
  for (Part& part : s.parts) {
    part.run = static_cast<int>(s.tiles.size());
    for (int block = part.block; block < part.end_block; ++block) {
      const int b = block / s.row_blocks, t = block % s.row_blocks * kRowBlock;
      add(b, t, std::min(t + kRowBlock, length));
    }
    part.end_run = static_cast<int>(s.tiles.size());
  }
  const int tile = winograd_points(length) * winograd_ld(s) * static_cast<int>(sizeof(float));
  s.winograd_tiles =
      std::min(std::max(kBytes / tile / kWhole, 1) * kWhole, padded(static_cast<int>(s.tiles.size())));
}

}  // namespace

void place_tiles(Step& s, int segments) {
  if (s.way == Way::kWinograd) return place_winograd_tiles(s);
  Tiler tiler(s, s.way == Way::kDots ? 1 : segments);
  if (!s.by_rows) {
    // With few rows in time, or few to read, rows of several trajectories make fuller tiles.
    const int length = s.conv_out().length, rows = s.transposed ? ceil_div(length, s.stride) : length;
    if (s.trajectories > 1 && std::min(rows, s.x.length) < kSegment) {
      tiler.across_trajectories();
    } else {
      tiler.across_time(0, s.trajectories, 0, length);
    }
    const Part all = tiler.finish({});
    for (Part& part : s.parts) {
      part.run = all.run;
      part.end_run = all.end_run;
    }
    return;
  }
  for (Part& part : s.parts) {
    for (int block = part.block; block < part.end_block; ++block) {
      const int b = block / s.row_blocks, t = block % s.row_blocks * kRowBlock;
      tiler.across_time(b, b + 1, t, std::min(t + kRowBlock, s.conv_out().length));
    }
    part = tiler.finish(part);
  }
}

}  // namespace df

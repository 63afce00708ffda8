// A Program compiled for one number of trajectories and of threads: every address, tile and partition is a number here.
#pragma once
#include <cstdint>
#include <vector>

#include "../api.h"
#include "../ops.gen.h"
#include "layout.gen.h"

namespace df {

constexpr int kSegment = 4;      // most rows of a segment: outputs computed side by side
constexpr int kMaxSegments = 3;  // most segments of a tile
constexpr int kChunk = 128;      // products a convolution adds up before it starts a new sum, about
constexpr int kRowBlock =
    16;  // rows whose sums are added up first: this fixes the order of every sum over time

constexpr int ceil_div(int a, int b) { return (a + b - 1) / b; }
constexpr int padded(int channels) { return ceil_div(channels, kBlock) * kBlock; }
// Vectors from one tap to the next in packed weights (backends/pack.py, pitch): never a multiple of 4 KiB, lest the
// taps that a tile reads together fall on each other in the cache.
constexpr int pitch(int channels) { return channels % kPitchEvery == 0 ? channels + kPitchExtra : channels; }

// Winograd's algorithm (winograd.inl.h): points for trajectories of so many rows.
constexpr int winograd_points(int length) {
  return length <= kWinogradShort ? kWinogradShortPoints : kWinogradPoints;
}
static_assert(kWinogradTile == kSegment);

// Where a value lies in the arena: element (b, t, c) is at `at + b * pitch + t * ld + c`.
struct View {
  int64_t at = -1, origin = -1, pitch = 0;  // origin: where the buffer starts
  int ld = 0, channels = 0, length = 0;

  int64_t row(int b, int t) const { return at + b * pitch + static_cast<int64_t>(t) * ld; }
};

// One tap over some input channels, as a tile sees it: rows first .. last - 1 of every segment read it, the others
// would read padding.
struct Tap {
  int weight;  // floats from the start of a block's weights
  int input;   // floats from a segment's input base to what row `first` reads
  int channels;
  int first, last;
  int chunk;  // products of one chunk are added up by themselves

  bool operator==(const Tap& o) const {
    return weight == o.weight && input == o.input && first == o.first && last == o.last;
  }
};

// Segments of output rows that read the same taps. Offsets are floats from the start of the arena.
// Winograd's tile is up to 4 outputs in time: offsets of the first one's row, and in input[1] its time.
struct Tile {
  int input[kMaxSegments], out[kMaxSegments], add[kMaxSegments];
  int trajectory[kMaxSegments];  // of the segment's first row
};

// Tiles that differ only in where they lie; a stride is the distance of two rows of a segment.
struct Run {
  int tap, n_taps;    // in CompiledOp::taps
  int tile, n_tiles;  // in CompiledOp::tiles
  int segments, rows;
  int input_stride, out_stride, add_stride;
  int trajectory_stride;
};

// One thread's share of an op: channels c0 .. c1 - 1 of some rows.
struct Partition {
  int c0 = 0, c1 = 0;
  int run = 0, end_run = 0;      // in CompiledOp::runs; in CompiledOp::tiles for Winograd's algorithm
  int block = 0, end_block = 0;  // blocks of rows, counted through all trajectories
};

// One op of a compiled Program.
struct CompiledOp {
  Opcode opcode{};
  Algorithm algorithm{};  // of a convolution; each has an .inl.h
  Act act{};
  View x, y, out, out2;  // inputs and outputs; at < 0: absent
  const float* w[4] = {};
  const float* next = nullptr;  // the weights of the next convolution, to be fetched in time
  int64_t next_block = 0;       // floats of a block of those
  int k = 0, stride = 1, pad = 0, transposed = 0, lo = 0;
  int table = -1, heads = 0, groups = 0;
  float eps = 0, q_scale = 0;
  int trajectories = 0, row_blocks = 0;  // row_blocks: of one trajectory
  int winograd_tiles = 0;                // taken together
  View packed_x;                         // x in narrow words in a thread's scratch; absent: x serves itself
  bool shares_range = false;  // of kInt8: each thread looks for x's least and greatest number in its own rows
  int64_t range_at = 0;  // floats of the scratch that threads share, before what they tell each other of that
  bool by_rows = false;  // threads share rows, not channels
  bool barrier = false;  // wait for the other threads before this op
  std::vector<Tap> taps;
  std::vector<Tile> tiles;
  std::vector<Run> runs;
  std::vector<Partition> partitions;  // one per thread

  // What a convolution walks through: its input and how many channels, or words of several, this has.
  const View& input() const { return packed_x.at >= 0 ? packed_x : x; }
  int units() const { return x.channels / per_word(); }
  int per_word() const {
    return algorithm == Algorithm::kPackedBf16 ? 2 : algorithm == Algorithm::kInt8 ? 4 : 1;
  }
  // Of kInt8, in the thread's scratch behind packed_x: each trajectory's step and zero point.
  int64_t grids() const { return packed_x.pitch * trajectories; }

  bool is_conv() const { return opcode == kConv || opcode == kConvBlock; }
  bool has_groups() const {
    return opcode == kConvBlock || opcode == kGroupNorm || opcode == kGroupNormVjp || opcode == kNormActVjp;
  }
  // Where the convolution of a conv_block leaves its result.
  const View& conv_out() const { return out2.at >= 0 ? out2 : out; }
};

constexpr int kRange = 4;  // floats in which a thread tells others the range of its part of a trajectory

// Floats from one tile to the next at a point of Winograd's algorithm: not a multiple of what caches repeat at.
inline int winograd_ld(const CompiledOp& op) { return padded(op.x.channels) + kBlock; }

struct Compiled {
  std::vector<CompiledOp> ops;
  std::vector<View> inputs, outputs;
  int64_t arena = 0;   // floats
  int64_t shared = 0;  // floats of scratch that threads share
  int64_t own = 0;     // floats of scratch of each thread
};

// `segments`: the most segments of a tile that the instruction set's kernels take; `bf16`: they multiply bfloat16.
Compiled compile(const df_program& program, int trajectories, int threads, int segments, bool bf16);

// Stages of compile: each thread's partition of every op and the barriers between ops (partition.cc); the tiles of a
// convolution (tiles.cc).
void partition(std::vector<CompiledOp>& ops, int threads);
void place_tiles(CompiledOp& op, int segments);

}  // namespace df

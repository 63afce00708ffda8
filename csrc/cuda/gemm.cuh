// Convolutions as matrix products on the tensor cores, without a copy of the input: a lane reads what it multiplies from
// where the input lies, and what is beyond an end is zero.
//
//   M   the rows of the result: samples of the group x times, in sixteens (the last may be partly empty)
//   N   channels of the result, in eights
//   K   taps x channels of the input, in sixteens of one tap's channels: the K-steps
//
// Of sixteen channels lane 4 g + t holds 4 t .. 4 t + 3 of rows g and g + 8, in one load each. The instruction wants
// numbers 2t, 2t + 1, 2t + 8, 2t + 9 of K there; but the order of K is ours, as long as weights have the same:
// packed [K-step][channel out, padded to eights][16 channels in], a lane's four are neighbours as well.
//
// Warps take units: sixteen rows x up to four eights of columns x every split-th K-step. Sums go to `sums` in shared
// memory, one slice for each split; who reads them adds the slices in their order.
#pragma once

#include "dev.h"
#include "tiling.h"

namespace df {
namespace cuda {

constexpr int kTiles = 4;  // eights of columns that a warp works on together
constexpr int kAhead = 2;  // K-steps whose weights are on their way while others are multiplied

// Rows of shared memory are 8 floats more than a multiple of 32 apart, so that the lanes of a store do not collide.
DF_HOST_DEVICE int sums_ld(int columns) { return (columns + 23) / 32 * 32 + 8; }

// The precisions: what an operand is in memory, and what a warp holds of the weights of a K-step before it is needed.
struct Halves {
  static constexpr bool exact = false;
  using Packed = uint2;  // four numbers
  struct Held {
    uint2 w[kTiles];
  };
};
struct Floats {
  static constexpr bool exact = true;
  using Packed = float4;
  struct Held {};  // they would be more than a thread's registers
};

// One side of the sum: an input and how outputs see it.
struct Input {
  const float* x;
  int ld, channels, length;  // of x
  int taps, stride, pad, transposed;
  const void* weights;
  int columns;   // of the packed weights, all of them
  bool aligned;  // whether rows may be read four numbers at a time

  DF_DEVICE int chunks() const { return (channels + 15) / 16; }
  DF_DEVICE int steps() const { return taps * chunks(); }

  // The row that output time t of sample n meets at a tap, or null.
  DF_DEVICE const float* row(int n, int t, int tap) const {
    int source;
    if (transposed) {
      const int top = t + pad - tap;
      source = top / stride;
      if (top < 0 || source * stride != top) return nullptr;
    } else {
      source = t * stride - pad + tap;
    }
    return source < 0 || source >= length ? nullptr : x + (n * length + source) * ld;
  }

  DF_DEVICE float4 four(const float* row, int c) const {
    float4 v = {0.0f, 0.0f, 0.0f, 0.0f};
    if (row == nullptr || c >= channels) return v;
    if (aligned && c + 4 <= channels) return *reinterpret_cast<const float4*>(row + c);
    v.x = row[c];
    if (c + 1 < channels) v.y = row[c + 1];
    if (c + 2 < channels) v.z = row[c + 2];
    if (c + 3 < channels) v.w = row[c + 3];
    return v;
  }
};

DF_DEVICE Input input(const float* x, int ld, int channels, int length, const void* weights, int columns) {
  const bool aligned = ld % 4 == 0 && reinterpret_cast<uintptr_t>(x) % 16 == 0;
  return {x, ld, channels, length, 1, 1, 0, 0, weights, (columns + 7) / 8 * 8, aligned};
}

DF_DEVICE void hold(Halves, Halves::Held& held, const void* weights, int columns, int step, int first_tile,
                    int tiles) {
  const uint2* w = static_cast<const uint2*>(weights) + (step * columns + first_tile * 8) * 4 + lane();
#pragma unroll
  for (int i = 0; i < kTiles; ++i)
    if (i < tiles) held.w[i] = read_only(w + i * 32);
}

DF_DEVICE void hold(Floats, Floats::Held&, const void*, int, int, int, int) {}

// acc[i] += one K-step, for rows (n, t)[0] and (n, t)[1] of this lane; rows that do not exist have n < 0.
DF_DEVICE void multiply_add(Halves, float (&acc)[kTiles][4], const Input& in, int step, const int (&n)[2],
                            const int (&t)[2], int first_tile, int tiles, const Halves::Held& held) {
  const int tap = step / in.chunks(), c = step % in.chunks() * 16 + lane() % 4 * 4;
  float4 v[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) v[i] = in.four(n[i] < 0 ? nullptr : in.row(n[i], t[i], tap), c);
  const uint32_t a[4] = {halves(v[0].x, v[0].y), halves(v[1].x, v[1].y), halves(v[0].z, v[0].w),
                         halves(v[1].z, v[1].w)};
#pragma unroll
  for (int i = 0; i < kTiles; ++i)
    if (i < tiles) mma(acc[i], a, held.w[i].x, held.w[i].y);
}

DF_DEVICE float dot(float4 a, float4 b, float sum) {
  return fmaf(a.w, b.w, fmaf(a.z, b.z, fmaf(a.y, b.y, fmaf(a.x, b.x, sum))));
}

// The same in float32. Sixteen products are summed by themselves before they join the rest: one running sum over
// thousands would lose three bits more.
DF_DEVICE void multiply_add(Floats, float (&acc)[kTiles][4], const Input& in, int step, const int (&n)[2],
                            const int (&t)[2], int first_tile, int tiles, const Floats::Held&) {
  const int tap = step / in.chunks(), c = step % in.chunks() * 16;
  float4 v[2][4];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const float* row = n[i] < 0 ? nullptr : in.row(n[i], t[i], tap);
#pragma unroll
    for (int j = 0; j < 4; ++j) v[i][j] = in.four(row, c + 4 * j);
  }
  const float4* w =
      static_cast<const float4*>(in.weights) + (step * in.columns + first_tile * 8 + lane() % 4 * 2) * 4;
#pragma unroll
  for (int i = 0; i < kTiles; ++i)
    if (i < tiles)
#pragma unroll
      for (int column = 0; column < 2; ++column) {
        float part[2] = {0.0f, 0.0f};
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const float4 b = read_only(w + (i * 8 + column) * 4 + j);
          part[0] = dot(v[0][j], b, part[0]);
          part[1] = dot(v[1][j], b, part[1]);
        }
        acc[i][column] += part[0];
        acc[i][2 + column] += part[1];
      }
}

// What a warp does at a time: sixteen rows, some eights of columns from first_tile on, `steps` K-steps.
struct Unit {
  int slice, row_tile, bundle, first_tile, tiles, steps;
};

// The sums of `rows` rows (sample, time of `length`) x columns first .. first + columns (multiples of 8), K dealt to
// `split` slices. A residual's 1x1 convolution is in `skip`: early, its K-steps follow the others; late, it has a slice
// of its own, the last.
struct Product {
  Input main, skip;
  bool early, late;
  int rows, length, first, columns, split;

  DF_DEVICE int row_tiles() const { return (rows + 15) / 16; }
  DF_DEVICE int bundles() const { return (columns / 8 + kTiles - 1) / kTiles; }
  DF_DEVICE int units() const { return row_tiles() * bundles() * (split + late); }

  DF_DEVICE Unit unit(int number) const {
    const int each = row_tiles() * bundles(), slice = number / each, bundle = number % bundles();
    const int all = main.steps() + (early ? skip.steps() : 0);
    return {slice,
            number % each / bundles(),
            bundle,
            first / 8 + bundle * kTiles,
            min_of(kTiles, columns / 8 - bundle * kTiles),
            slice == split ? skip.steps() : (all - slice + split - 1) / split};
  }

  // The number of a unit's i-th K-step; from main.steps() on they are those of skip.
  DF_DEVICE int step(const Unit& u, int i) const {
    return u.slice == split ? main.steps() + i : u.slice + i * split;
  }
};

template <class Precision>
struct Ahead {
  typename Precision::Held held[kAhead];
};

// The weights of a unit's i-th K-step on their way.
template <class Precision>
DF_DEVICE void hold(typename Precision::Held& held, const Product& p, const Unit& u, int i) {
  if (i >= u.steps) return;
  const int step = p.step(u, i), main = p.main.steps();
  hold(Precision(), held, step < main ? p.main.weights : p.skip.weights, p.main.columns,
       step < main ? step : step - main, u.first_tile, u.tiles);
}

// The first weights that this warp needs of a product: they depend on nothing that has to be waited for.
template <class Precision>
DF_DEVICE void begin(Ahead<Precision>& ahead, const Product& p) {
  if (warp() >= p.units()) return;
  const Unit u = p.unit(warp());
#pragma unroll
  for (int i = 0; i < kAhead; ++i) hold<Precision>(ahead.held[i], p, u, i);
}

// All sums of a product that has been begun, to sums [slices][rows in sixteens][sums_ld(columns)].
template <class Precision>
DF_DEVICE void products(const Product& p, Ahead<Precision>& ahead, float* sums) {
  const int ld = sums_ld(p.columns), main = p.main.steps();
  for (int number = warp(); number < p.units(); number += kWarps) {
    const Unit u = p.unit(number);
    if (number != warp())
#pragma unroll
      for (int i = 0; i < kAhead; ++i) hold<Precision>(ahead.held[i], p, u, i);
    int n[2], t[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int row = u.row_tile * 16 + lane() / 4 + i * 8;
      n[i] = row < p.rows ? row / p.length : -1;
      t[i] = row % p.length;
    }
    float acc[kTiles][4] = {};
    for (int begin = 0; begin < u.steps; begin += kAhead)
#pragma unroll
      for (int i = 0; i < kAhead; ++i)
        if (begin + i < u.steps) {
          const int step = p.step(u, begin + i);
          if (step < main)
            multiply_add(Precision(), acc, p.main, step, n, t, u.first_tile, u.tiles, ahead.held[i]);
          else
            multiply_add(Precision(), acc, p.skip, step - main, n, t, u.first_tile, u.tiles, ahead.held[i]);
          hold<Precision>(ahead.held[i], p, u, begin + i + kAhead);
        }
    float* out = sums + (u.slice * p.row_tiles() * 16 + u.row_tile * 16 + lane() / 4) * ld +
                 u.bundle * kTiles * 8 + lane() % 4 * 2;
#pragma unroll
    for (int i = 0; i < kTiles; ++i)
      if (i < u.tiles) {
        out[i * 8] = acc[i][0];
        out[i * 8 + 1] = acc[i][1];
        out[8 * ld + i * 8] = acc[i][2];
        out[8 * ld + i * 8 + 1] = acc[i][3];
      }
  }
}

}  // namespace cuda
}  // namespace df

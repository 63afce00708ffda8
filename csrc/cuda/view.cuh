// What a stage sees of a plan from within one block: one group of trajectories and its arena.
#pragma once

#include "dev.h"
#include "tiling.h"

namespace df {
namespace cuda {

// A value [samples, length, channels] in the arena; null where a stage has no such operand. peers: blocks that have this
// arena, each its own copy. arrivals: where they count what they are sent; null: they wait for each other instead.
struct View {
  float* at;
  int ld, length, peers;
  uint64_t* arrivals;

  DF_DEVICE explicit operator bool() const { return at != nullptr; }
  DF_DEVICE float& operator()(int n, int t, int c) const { return at[(n * length + t) * ld + c]; }

  // A number that this block alone computes, for all of them.
  DF_DEVICE void tell(int n, int t, int c, float v) const {
    float* p = at + (n * length + t) * ld + c;
#ifdef DF_CLUSTERS
    if (peers > 1) {
      for (int rank = 0; rank < peers; ++rank)
        if (arrivals)
          send(p, rank, v, arrivals);
        else
          store_remote(p, rank, v);
      return;
    }
#endif
    *p = v;
  }
};

struct Context {
  const Arguments& a;
  float* arena;
  int first, samples;  // of the batch: the group's first sample, and how many it has
  int k, flags;        // the script's
  float* room;         // shared memory
  int peers, rank;     // blocks that work on this group, and which of them this is
  uint64_t* arrivals;  // of this stage, where the blocks send each other what they compute

  // Whether this block writes what is computed by all of them.
  DF_DEVICE bool speaks() const { return rank == 0; }

  DF_DEVICE View view(int at, int ld, int length) const {
    return {ld ? arena + at : nullptr, ld, length, peers, arrivals};
  }

  // The numbers of a stage's vectors; null where it has none.
  DF_DEVICE const float* vector(int at) const { return at < 0 ? nullptr : a.vectors + at; }

  // One column of the time-embedding tables of a network, as a sample sees it in this denoising step.
  DF_DEVICE float table(int network, int n, int column) const {
    const int sample = first + n, step = a.table_steps[k];
    const float* added = network ? a.guide_added : a.denoiser_added;
    const float v = network ? a.guide_table[step * a.guide_step + sample * a.guide_ld + column]
                            : a.denoiser_table[step * a.denoiser_step + sample * a.denoiser_ld + column];
    return added ? v + added[sample * (network ? a.guide_added_ld : a.denoiser_added_ld) + column] : v;
  }
};

// Calls use(sample, time, channel) for every number of channels first .. end of `length` times, the block's threads in
// turn, channels fastest.
template <class Use>
DF_DEVICE void each(int samples, int length, int first, int end, Use use) {
  const int width = end - first;
  for (int e = thread(); e < samples * length * width; e += kThreads) {
    const int row = e / width;
    use(row / length, row % length, first + e % width);
  }
}

}  // namespace cuda
}  // namespace df

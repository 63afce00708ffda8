// How a stage is cut up, and how the rows of an Arguments record are read.
#pragma once

#include "../ops.gen.h"
#include "dev.h"
#include "stage.gen.h"

namespace df {
namespace cuda {

constexpr int kThreads = 256;  // of every block
constexpr int kWarps = kThreads / 32;
constexpr int kPeers = 8;     // blocks of a cluster
constexpr int kArrivals = 4;  // floats between an arena and what is behind it, for two mbarriers

// A tile is a group of trajectories times `columns` channels of the result: whole groups of a norm, whole heads of an
// attention. split: how many warps share the sum of a convolution; team: how many share the mean of one norm. Results
// depend on split and team, for these order sums, and on nothing else: not on the tiles, and not on what runs them.
// (diffuser_fast/backends/cuda/tiling.py)
struct Tiling {
  int32_t columns, split, team;
};

static_assert(sizeof(Stage) == kStageFields * sizeof(int32_t), "a row of stages");
static_assert(sizeof(Step) == kScriptFields * sizeof(int32_t), "a row of the script");

DF_HOST_DEVICE Stage stage_of(const int32_t* rows, int i) { return reinterpret_cast<const Stage*>(rows)[i]; }
DF_HOST_DEVICE Step step_of(const int32_t* rows, int i) { return reinterpret_cast<const Step*>(rows)[i]; }
DF_HOST_DEVICE Tiling tiling_of(const int32_t* rows, int i) {
  return reinterpret_cast<const Tiling*>(rows)[i];
}

DF_HOST_DEVICE int groups_of(const Arguments& a) { return (a.batch + a.group - 1) / a.group; }

}  // namespace cuda
}  // namespace df

// The two kernels, each for halves and for float32, and the functions that launch them. Neither knows a layer.
//
//   stage_kernel   one tile of one stage in each block: a launch for every stage of a plan, arenas in global memory
//   loop_kernel    a whole plan in one launch: a block for each group of trajectories, its arena in shared memory
//
// Both run the same tiles with the same order of every sum, so that plans are equal to the bit.
#include <initializer_list>

#include "launch.h"
#include "stage.cuh"

namespace df {
namespace cuda {
namespace {

struct OneStage {
  Arguments a;
  int stage, k, flags;
};

DF_DEVICE int samples_of(const Arguments& a, int group) { return min_of(a.group, a.batch - group * a.group); }

// Blocks: groups x tiles; for the ranking, one for each situation.
template <class Precision>
DF_KERNEL(stage_kernel, OneStage, kThreads) {
  const Arguments& plan = a.a;
  const Stage s = stage_of(plan.stages, a.stage);
  if (s.kind == kKindRank) return rank(plan, block());
  const Tiling tiling = tiling_of(plan.tiles, a.stage);
  const int tiles = tiles_of(s, tiling), group = block() / tiles;
  const Context c = {plan,
                     plan.arena + static_cast<size_t>(group) * plan.group * plan.arena_floats,
                     group * plan.group,
                     samples_of(plan, group),
                     a.k,
                     a.flags,
                     shared_memory<float>()};
  run_tile<Precision>(c, s, tiling, block() % tiles);
}

// Blocks: groups. The arena is at the beginning of shared memory, what a tile needs behind it.
template <class Precision>
DF_KERNEL(loop_kernel, Arguments, kThreads) {
  float* arena = shared_memory<float>();
  float* room = arena + a.group * a.arena_floats;
  for (int entry = 0; entry < a.script_count; ++entry) {
    const Step step = step_of(a.script, entry);
    const Context c = {a, arena, block() * a.group, samples_of(a, block()), step.k, step.flags, room};
    for (int i = step.first; i < step.first + step.count; ++i) {
      const Stage s = stage_of(a.stages, i);
      const Tiling tiling = tiling_of(a.tiles, i);
      if (s.kind == kKindRank) {
        // The last block to come ranks them all: what others did before they added has then been seen.
        int* before = reinterpret_cast<int*>(room);
        if (thread() == 0) *before = atomic_add(a.arrived, 1);
        sync_block();
        if (*before == blocks() - 1) {
          for (int situation = 0; situation < a.batch / a.candidates; ++situation) rank(a, situation);
          if (thread() == 0) *a.arrived = 0;
        }
        continue;
      }
      for (int tile = 0; tile < tiles_of(s, tiling); ++tile) {
        run_tile<Precision>(c, s, tiling, tile);
        sync_block();  // the next reads what this one wrote, and writes where it read
      }
    }
  }
}

int bytes_of(const Arguments& a, int stage) {
  return shared_bytes_of(stage_of(a.host_stages, stage), tiling_of(a.host_tiles, stage), a.group);
}

}  // namespace
}  // namespace cuda
}  // namespace df

using namespace df;
using namespace df::cuda;

extern "C" {

int df_cuda_shared_bytes(const Arguments* a) {
  int most = 0;
  for (int i = 0; i < a->stage_count; ++i) most = max_of(most, bytes_of(*a, i));
  return 4 * a->group * a->arena_floats + most;
}

int df_cuda_prepare() {
  for (int error : {allow_shared(stage_kernel<Floats>), allow_shared(stage_kernel<Halves>),
                    allow_shared(loop_kernel<Floats>), allow_shared(loop_kernel<Halves>)})
    if (error) return error;
  return 0;
}

int df_cuda_stages(const Arguments* a, void* stream) {
  for (int entry = 0; entry < a->script_count; ++entry) {
    const Step step = step_of(a->host_script, entry);
    for (int i = step.first; i < step.first + step.count; ++i) {
      const Stage s = stage_of(a->host_stages, i);
      const int blocks = s.kind == kKindRank ? a->batch / a->candidates
                                             : groups_of(*a) * tiles_of(s, tiling_of(a->host_tiles, i));
      const int error = launch(a->exact ? stage_kernel<Floats> : stage_kernel<Halves>, blocks, kThreads,
                               bytes_of(*a, i), OneStage{*a, i, step.k, step.flags}, stream);
      if (error) return error;
    }
  }
  return 0;
}

int df_cuda_loop(const Arguments* a, void* stream) {
  return launch(a->exact ? loop_kernel<Floats> : loop_kernel<Halves>, groups_of(*a), kThreads,
                df_cuda_shared_bytes(a), *a, stream);
}

const char* df_cuda_error(int error) { return error_text(error); }

}  // extern "C"

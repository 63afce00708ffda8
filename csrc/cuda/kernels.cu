// The four kernels, each for halves and for float32, and the functions that launch them. None knows a layer.
//
//   stage_kernel     one tile of one stage in each block: a launch for every stage of a plan, arenas in global memory
//   loop_kernel      a whole plan in one launch: a block for each group of trajectories, its arena in shared memory
//   cluster_kernel   the same by eight blocks for each group, which share the tiles of a stage and tell each other what
//                    they computed; each has the whole arena
//   async_kernel     the same, but what they tell is sent, and counted where it arrives
//
// All run the same tiles with the same order of every sum, so that plans are equal to the bit.
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
                     shared_memory<float>(),
                     1,
                     0,
                     nullptr};
  Ahead<Precision> ahead;
  begin_tile(c, s, tiling, block() % tiles, ahead);
  run_tile(c, s, tiling, block() % tiles, ahead, [] {});
}

// A place in a plan: of an entry of the script a stage, and of that a tile; which may be beyond the last, where a stage
// has fewer tiles than there are blocks.
struct Place {
  int entry, stage, tile, peers, rank;
  Step step;
  Stage s;
  Tiling tiling;

  DF_DEVICE bool there() const { return tile < tiles_of(s, tiling); }
  DF_DEVICE void read(const Arguments& a) {
    s = stage_of(a.stages, step.first + stage);
    tiling = tiling_of(a.tiles, step.first + stage);
    tile = is_cut(s) ? rank : 0;
  }
  // The next tile of the same stage, if this block has one.
  DF_DEVICE bool next_tile() {
    tile += is_cut(s) ? peers : 1;
    return there();
  }
  // The next stage; false at the end.
  DF_DEVICE bool next_stage(const Arguments& a) {
    if (++stage == step.count) {
      stage = 0;
      if (++entry == a.script_count) return false;
      step = step_of(a.script, entry);
    }
    read(a);
    return true;
  }
};

// Waits for all who have this arena.
template <int peers>
DF_DEVICE void sync_peers() {
#ifdef DF_CLUSTERS
  if (peers > 1) return sync_cluster();
#endif
  sync_block();
}

// Two mbarriers, which stages take in turn. A block comes to those of all when it has computed its part of a stage, and
// says how many bytes it sent. So a block that has seen a phase end knows that all have done that stage: they read no more
// of what went into it. It may be one stage ahead of another, never two, for then it would have seen an arrival that the
// other has not made.
struct Arrivals {
  uint64_t* bars;
  int stages = 0;  // that were waited for

  DF_DEVICE uint64_t* now() const { return bars + stages % 2; }
  DF_DEVICE void settle(int peers, int bytes) {
#ifdef DF_CLUSTERS
    sync_block();  // what this block sent is on its way, what it read is read
    if (thread() < peers) arrive(now(), thread(), bytes);
    wait(now(), stages / 2 % 2);
    ++stages;
#endif
  }
};

// A whole plan, by `peers` blocks for each group of trajectories. The arena is at the beginning of shared memory, in each
// of them, then two mbarriers, then what a tile needs. The first stage and the last tell nobody anything, so that all are
// there when someone does, and have been told when they leave. While a tile's sums pass through their epilogue the first
// weights of the next one are on their way. sends: what a stage tells is sent; stages that cannot be cut, which every block
// computes for itself, end at a barrier all the same, so that memory is used again by one rule.
template <class Precision, int peers, bool sends>
DF_DEVICE void run_plan(const Arguments& a, int rank) {
  float* arena = shared_memory<float>();
  float* room = arena + a.group * a.arena_floats + kArrivals;
  const int group = block() / peers, groups = blocks() / peers;
  const int first = group * a.group, samples = samples_of(a, group);
  Ahead<Precision> ahead;
  Place here = {0, 0, 0, peers, rank, step_of(a.script, 0), {}, {}};
  here.read(a);
  Arrivals arrivals = {reinterpret_cast<uint64_t*>(room - kArrivals)};
#ifdef DF_CLUSTERS
  if (sends && thread() < 2) begin_arrivals(arrivals.bars + thread(), peers);
#endif
  int told = 0;  // bytes, of this stage to each block
  for (bool more = true; more;) {
    const bool cut = sends && is_cut(here.s);
    const Context c = {a,           arena,
                       first,       samples,
                       here.step.k, here.step.flags,
                       room,        peers,
                       rank,        cut ? arrivals.now() : nullptr};
    const Stage s = here.s;
    const Tiling tiling = here.tiling;
    if (s.kind == kKindRank && c.speaks()) {
      // The last to come ranks them all: what others did before they added has then been seen.
      int* before = reinterpret_cast<int*>(room);
      if (thread() == 0) *before = atomic_add(a.arrived, 1);
      sync_block();
      if (*before == groups - 1) {
        for (int situation = 0; situation < a.batch / a.candidates; ++situation) df::cuda::rank(a, situation);
        if (thread() == 0) *a.arrived = 0;
      }
    }
    bool same = false;
    auto send = [&] {
      same = here.next_tile();
      more = same || here.next_stage(a);
      if (more && here.there()) begin_tile(c, here.s, here.tiling, here.tile, ahead);
    };
    if (cut && here.there()) told += told_bytes(c, s, tiling, here.tile);
    if (here.there())
      run_tile(c, s, tiling, here.tile, ahead, send);
    else
      send();
    if (same) {
      sync_block();  // what is behind the arena is used again
    } else if (cut) {
      arrivals.settle(peers, told);
      told = 0;
    } else if (more) {
      sync_peers<peers>();  // the next stage reads what this one wrote, and writes where it read
    }
  }
}

// Blocks: groups.
template <class Precision>
DF_KERNEL(loop_kernel, Arguments, kThreads) {
  run_plan<Precision, 1, false>(a, 0);
}

// Blocks: groups x kPeers, in clusters.
template <class Precision>
DF_KERNEL(cluster_kernel, Arguments, kThreads) {
#ifdef DF_CLUSTERS
  run_plan<Precision, kPeers, false>(a, rank_in_cluster());
#endif
}

// Likewise.
template <class Precision>
DF_KERNEL(async_kernel, Arguments, kThreads) {
#ifdef DF_CLUSTERS
  run_plan<Precision, kPeers, true>(a, rank_in_cluster());
#endif
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
  return 4 * (a->group * a->arena_floats + kArrivals) + most;
}

int df_cuda_prepare() {
  for (int error : {allow_shared(stage_kernel<Floats>), allow_shared(stage_kernel<Halves>),
                    allow_shared(loop_kernel<Floats>), allow_shared(loop_kernel<Halves>),
                    allow_shared(cluster_kernel<Floats>), allow_shared(cluster_kernel<Halves>),
                    allow_shared(async_kernel<Floats>), allow_shared(async_kernel<Halves>)})
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

int df_cuda_cluster(const Arguments* a, void* stream) {
  return launch(a->exact ? cluster_kernel<Floats> : cluster_kernel<Halves>, kPeers * groups_of(*a), kThreads,
                df_cuda_shared_bytes(a), *a, stream, kPeers);
}

int df_cuda_async(const Arguments* a, void* stream) {
  return launch(a->exact ? async_kernel<Floats> : async_kernel<Halves>, kPeers * groups_of(*a), kThreads,
                df_cuda_shared_bytes(a), *a, stream, kPeers);
}

int df_cuda_clusters(const Arguments* a) {
  return clusters_of(a->exact ? cluster_kernel<Floats> : cluster_kernel<Halves>, kThreads,
                     df_cuda_shared_bytes(a), kPeers);
}

const char* df_cuda_error(int error) { return error_text(error); }

}  // extern "C"

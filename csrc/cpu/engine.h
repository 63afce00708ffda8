// An opened SamplingLoop: programs compiled for each size of group, and memory for each thread that works on them.
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "dispatch.h"
#include "adaptive_threading.h"
#include "barrier.h"
#include "compiled.h"
#include "memory.h"
#include "pool.h"
#include "schedule.h"

namespace df {

enum Role { kDenoiser, kGradient, kValue, kRoles };

const df_program* program_of(const df_loop& loop, int role);

// What the trajectories of a group see of the time-embedding tables: the first one's numbers, and from one to the next.
struct TableRow {
  const float* row;
  int64_t stride;
};

// The programs compiled for a group of n trajectories and so many threads that share each op.
struct Networks {
  int n, threads;
  Compiled compiled[kRoles];
};

// Trajectories first .. first + n - 1 of the batch travel together.
struct Group {
  int first;
  const Networks* networks;
  int n() const { return networks->n; }
  int threads() const { return networks->threads; }
};

// Memory of one group at work.
struct Space {
  Space(int64_t floats, int64_t own_floats, int threads, int64_t state_floats, int64_t table_floats, int rows)
      : arena(floats), state(state_floats), table(table_floats), schedule(rows) {
    for (int i = 0; i < threads; ++i) own.emplace_back(own_floats);
  }
  Memory arena;             // of the programs, then the scratch that threads share
  std::vector<Memory> own;  // each thread's scratch, then its noise
  Memory state;             // previous x0 [n, H, D], then a guidance gradient [n, H, D]
  Memory table;             // sums of time-embedding tables, where they are sums [n, S]
  Schedule schedule;        // where the plan brings one
  // Nanoseconds of each op, if asked for; of threads that share ops, as the first sees them.
  std::vector<int64_t> times[kRoles];
};

class Engine;

// How far a plan has come that threads share, as the caller knows it: where it goes on, alone or with them.
struct Progress {
  Progress(int64_t elements, int batch) : state{Memory(2 * batch * elements), Memory(2 * batch * elements)} {}
  // Trajectories as a denoising step leaves them: x [N, H, D], then previous x0 [N, H, D]. By the parity of the step, so
  // that one whole state is there while the next is being written.
  Memory state[2];
  int first = 0;  // trajectories before this one are finished
  int row = 0;    // those of its group have made the denoising steps before this one
};

// One plan, as its threads see it.
struct PlanCall {
  df_args args{};  // a copy, and of the schedule's numbers; only the caller follows its pointers
  df_schedule schedule{};
  const float* mask = nullptr;   // [H, D], all bits one where x is inpainted
  Progress* progress = nullptr;  // of a plan that threads share, or shared until they dissolved
  bool shared = false;  // now. Alone, nothing is written to it before all have left: they may be still there
  // The caller is alone; from this time on (nanoseconds) the plan shall be shared again, if all have left. It has been
  // parted with, at a denoising step, so that it can be.
  int64_t regroup = INT64_MAX;
  bool parted = false;
  std::atomic<int> failed{0};  // the first denoising step after which x was not finite; R: none
  std::atomic<bool> stopped{false};
  int64_t asked = 0;  // when args.interrupted last was
};

// What threads that share each op work with, and nobody else: whoever is late here cannot reach a plan that the caller
// has finished alone, nor what its program has freed since.
struct Team {
  Team(int64_t elements, int batch)
      : x(batch * elements),
        inpaint(batch * elements),
        mask(elements),
        values(batch),
        progress(elements, batch) {}
  std::unique_ptr<Space> space;
  Memory x, inpaint, mask;  // [N, H, D], [1 or N, H, D], [H, D]
  Memory values;            // [N]
  Progress progress;
  PlanCall call;
  Barrier barrier;
  bool finished = false;                                                    // by all
  uint32_t job = 0, generation = 0;                                         // of the pool, the last time
  bool (*work)(Engine&, const Group&, Space&, int, bool, void*) = nullptr;  // Engine::Job
  void* argument = nullptr;
  Engine* engine = nullptr;
};

class Engine {
 public:
  Engine(const df_loop& loop,
         const df_cpu_options& options);  // throws std::runtime_error with a sentence, std::bad_alloc, ...
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // What a thread does for a group; `thread` counts within the group. False: it has left before the end.
  using Job = bool (*)(Engine&, const Group&, Space&, int thread, bool caller, void* argument);

  // One call at a time, of any thread. A plan that a fork has cut off holds nothing in the child.
  bool hold();
  void release() { held_.store(0, std::memory_order_release); }

  int32_t plan(const df_args& args, int32_t* failed);                   // held; plan.cc
  void run(Job job, void* argument);                                    // the same for any job, without haste
  void cancel() { cancelled_.store(true, std::memory_order_relaxed); }  // the plan at hand
  // Whether the plan shall end here: asked between denoising steps.
  bool stopped(PlanCall& call, bool caller);
  // Run a program of a group. False: its threads have dissolved.
  bool evaluate(Role role, const Group& group, Space& space, int thread, TableRow table);
  bool lock() const;  // its memory, into memory; false: refused, see errno
  Barrier* barrier() { return team_ ? &team_->barrier : nullptr; }

  df_loop desc;  // its arrays are copies below, except tables
  df_cpu_options options;
  const KernelTable* kernels;
  int64_t elements;  // H * D
  int64_t shared_at = 0, noise_at = 0;
  std::vector<float> columns, clip;
  std::vector<int> cores;  // of each thread, or empty
  std::vector<int32_t> guide_steps, table_steps;
  int groups() const { return static_cast<int>(batch_groups.size()); }
  bool shares() const { return intra_op_ && adaptive_threading_.intra_op(); }
  // Its index, and how many groups whoever runs it has still to run, it too.
  int index(const Group& group) const;
  int left(const Group& group) const;
  // Of the threads that share ops, where the caller is alone, and the other way round.
  const Schedule& other_schedule(const Group& group) const {
    return group.threads() > 1 ? spaces_[0]->schedule : team_->space->schedule;
  }
  // Nanoseconds of each op since the last time, the mean over threads.
  std::vector<int64_t> take_times(Role role);
  // Batch parallelism: each thread has its own groups. Intra-op parallelism: all threads share every op of each group.
  std::vector<Group> batch_groups, intra_op_groups;
  int threads_ = 1;
  bool intra_op_ = false;  // there are too few trajectories for the threads
  std::atomic<int64_t> dissolved_plans{0};
  std::atomic<int64_t> resumed{
      -1};  // the denoising step where the caller of the last of them went on; -1: none

 private:
  // threads.cc. A team is joined, runs, and is left; kRefused: the pool is not to be had.
  enum class Outcome { kRefused, kDissolved, kDone };
  void run_apart(Job job, void* argument);
  bool join_team();
  Outcome run_in_team(Job job, void* argument, int64_t most_lost);
  void wait_until_alone();
  void leave_team();
  void wait_for_team();
  // plan.cc
  void begin(PlanCall& call, const df_args& args, const float* mask, int failed, Progress* progress);
  PlanCall& plan_shared(const df_args& args);
  Outcome plan_in_team(const df_args& args, bool begins, int failed);
  void learn(bool team, Outcome outcome, double seconds);
  std::vector<Group> divide(int count, int threads);
  void make_groups();
  void compile_groups();

  std::vector<std::unique_ptr<Networks>> networks_;
  std::vector<std::unique_ptr<Space>> spaces_;  // of each thread, the caller's first
  std::unique_ptr<Team> team_;                  // where there is intra-op parallelism
  bool joined_ = false;                         // the caller has not left the team yet
  PlanCall apart_;                              // a plan that is not the team's
  std::vector<float> mask_;
  std::vector<int64_t> ranks_;
  std::atomic<uint32_t> held_{0};
  std::atomic<bool> cancelled_{false};
  AdaptiveThreading adaptive_threading_;
};

}  // namespace df

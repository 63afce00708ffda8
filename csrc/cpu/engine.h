// An opened SamplingLoop: programs compiled for each size of group, memory for each thread, threads.
#pragma once
#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "dispatch.h"
#include "adaptive_threading.h"
#include "pool.h"
#include "compiled.h"

namespace df {

enum Role { kDenoiser, kGradient, kValue, kRoles };

// Memory at a cache line, in large pages where the system has them.
class Memory {
 public:
  explicit Memory(int64_t floats = 0);
  ~Memory();
  Memory(Memory&& o) noexcept : data_(o.data_), size_(o.size_) { o.data_ = nullptr; }
  Memory& operator=(Memory&&) = delete;
  float* data() { return data_; }
  int64_t size() const { return size_; }

 private:
  float* data_;
  int64_t size_;
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
  explicit Space(int64_t floats, int64_t own_floats, int threads, int64_t state_floats)
      : arena(floats), state(state_floats) {
    for (int i = 0; i < threads; ++i) own.emplace_back(own_floats);
  }
  Memory arena;             // of the programs, then the scratch that threads share
  std::vector<Memory> own;  // each thread's scratch, then its noise
  Memory state;             // previous x0 [n, H, D], then a guidance gradient [n, H, D]
  // Nanoseconds of each op, if asked for; of threads that share ops, as the first sees them.
  std::vector<int64_t> times[kRoles];
};

class Engine {
 public:
  explicit Engine(const df_desc& desc);  // throws std::runtime_error with a sentence, std::bad_alloc, ...
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  using Job = void (*)(Engine&, const Group&, Space&, int thread, void* argument);
  // job(group, space, thread within the group) for every group.
  void for_each_group(Job job, void* argument) {
    run(intra_op_ ? intra_op_groups : batch_groups, job, argument);
  }
  // The same, alone on one thread where that has proved faster.
  void plan_each_group(Job job, void* argument);
  // Run a program of a group with one row of its time-embedding tables.
  void evaluate(Role role, const Group& group, Space& space, int thread, const float* table_row);

  df_desc desc;  // its arrays are copies below, except tables
  const KernelTable* kernels;
  int64_t elements;  // H * D
  int64_t shared_at = 0, noise_at = 0;
  std::vector<float> columns, clip;
  std::vector<int> cores;  // of each thread, or empty
  std::vector<int32_t> guide_steps;
  std::vector<float> mask;  // of the plan at hand
  std::vector<int64_t> ranks;
  // Nanoseconds of each op since the last time, the mean over threads.
  std::vector<int64_t> take_times(Role role);
  // Batch parallelism: each thread has its own groups. Intra-op parallelism: all threads share every op of each group.
  std::vector<Group> batch_groups, intra_op_groups;
  int threads_ = 1;
  bool intra_op_ = false;  // there are too few trajectories for the threads

  Barrier barrier;

 private:
  struct Dispatch;
  static void dispatch(void* argument, int thread);
  void run(const std::vector<Group>& groups, Job job, void* argument);
  std::vector<Group> divide(int count, int threads);
  void make_groups();
  void compile_groups();

  std::vector<std::unique_ptr<Networks>> networks_;
  std::vector<std::unique_ptr<Space>> spaces_;  // one per thread, or one that all share
  Pool* pool_ = nullptr;
  pthread_t pinned_{};  // the last caller, on its core
  bool has_pinned_ = false;
  pid_t owner_ = 0;  // the process whose threads the pool has
  AdaptiveThreading adaptive_threading_;
};

}  // namespace df

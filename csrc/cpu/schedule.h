// Which denoising steps a group of trajectories runs: those it was given, or, where the deadline would be missed, others.
// Decided between two steps by one thread; the paths that there are instead come with the plan (core/menu.py).
#pragma once
#include <atomic>
#include <cstdint>
#include <vector>

#include "../api.h"

namespace df {

class Schedule {
 public:
  explicit Schedule(int most) : rows_(most, 0) {}

  // Of group g. left: groups this thread has to run until the deadline, this one too: each gets its part of the time.
  void begin(const df_schedule& given, int group, int left);
  // The caller goes on, alone or with others, with what it had decided.
  void follow(const df_schedule& given, const Schedule& other);
  // Before step i. alone: its cost is that of one thread where threads share ops otherwise.
  void decide(int i, bool alone);
  // What was run, once it is known: its last step has ended.
  void tell(int group) const;

  int steps() const { return steps_.load(std::memory_order_relaxed); }
  int row(int i) const { return rows_[i]; }

 private:
  int64_t cost(const int32_t* rows, int steps, bool alone) const;
  int64_t now(int i) const;

  const df_schedule* given_ = nullptr;
  int64_t deadline_ = 0, expected_ = 0;
  std::atomic<int> steps_{0};  // others look whether there is one more while it is decided which
  std::vector<int32_t> rows_;
};

// A sentence, or NULL.
const char* wrong_schedule(const df_schedule& s, int rows, int groups, int most);

}  // namespace df

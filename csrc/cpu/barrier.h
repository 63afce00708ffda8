// Where the threads of intra-op parallelism meet, some thousand times a plan.
#pragma once
#include <atomic>
#include <cstdint>

#include "futex.h"

namespace df {

// Sense-reversing. A thread with a core to itself sees the others within a microsecond, so it spins; after kSpin it
// sleeps, and gives its core to whoever has none. A wait that comes to that is a thread without a core: what such waits
// cost is added up, and when the sum passes what may be lost the barrier dissolves: every wait returns, now and later, and
// the threads leave. What they have written since they last met is then garbage.
class Barrier {
 public:
  static constexpr int64_t kSpin = 50000;        // nanoseconds
  static constexpr int64_t kMostLost = 2000000;  // nanoseconds that all threads of a plan may lose together,
  static constexpr int64_t kLostPart =
      8;  // and this part of the time since its beginning: sharing is worth more
  static constexpr int64_t kForEver = INT64_MAX;

  // Nobody is here. Limit: nanoseconds that may be lost, beside kLostPart.
  void open(int64_t limit);
  // False: dissolved.
  bool wait(int threads);
  void dissolve();
  bool dissolved() const { return dissolved_.load(std::memory_order_acquire); }
  // Nanoseconds of all waits that took longer than a look at the others, those in which nobody slept too.
  int64_t lost() const { return lost_.load(std::memory_order_relaxed); }

 private:
  bool wait_long(uint32_t phase);

  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) Word phase_{0};
  std::atomic<int> sleepers_{0};
  alignas(64) std::atomic<int64_t> lost_{0};
  std::atomic<int64_t> slept_{0};  // of the waits that ended asleep
  std::atomic<bool> dissolved_{false};
  int64_t limit_ = kForEver, opened_ = 0;
};

}  // namespace df

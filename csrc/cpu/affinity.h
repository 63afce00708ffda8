// Which cores a thread may use. Linux; elsewhere there is one answer, and nothing to set.
#pragma once
#include <pthread.h>

#include <vector>

#if defined(__linux__)
#include <sched.h>
#endif

namespace df {

// A set of cores.
class Cores {
 public:
  static Cores of_this_thread();
  static Cores only(int core);
  // False: the thread may not be there.
  bool put(pthread_t thread) const;
  bool operator==(const Cores& o) const;
  bool operator!=(const Cores& o) const { return !(*this == o); }

 private:
#if defined(__linux__)
  cpu_set_t set_{};
#endif
};

// std::runtime_error with a sentence if this process may not use one of them; no thread is moved.
void check_cores(const std::vector<int>& cores);

// While it lives, the calling thread is on this core alone (negative: where it was); afterwards where it was.
class Pinned {
 public:
  explicit Pinned(int core);
  ~Pinned();
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;

 private:
  Cores before_;
  bool moved_ = false;
};

}  // namespace df

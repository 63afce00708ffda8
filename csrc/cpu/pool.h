// The threads of this process: every engine's plans borrow them, one plan at a time.
#pragma once
#include <pthread.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "affinity.h"
#include "futex.h"

namespace df {

// A number that a forked child has raised: what its parent's threads held is held by nobody there. Never 0.
uint32_t fork_generation();

class Pool {
 public:
  using Job = void (*)(void* argument, int thread);

  // Made at first use, and anew in a forked child, where the parent's threads do not exist.
  static Pool& of_process();

  // Claims the pool for a job of this many threads, the caller being thread 0: starts those that are missing, gives
  // them the caller's scheduling policy and priority, and puts thread i on cores[i], or where the caller may be.
  // False: another plan has it, or threads cannot be had or not on these terms. The caller then works alone.
  bool claim(int threads, const std::vector<int>& cores);
  // job(argument, i) for i in 1 .. threads - 1. `argument` must live until they have left.
  void start(Job job, void* argument);
  bool alone() const { return inside_.load(std::memory_order_acquire) == 1; }
  // Until the others have left or some milliseconds are over. True: they have left.
  bool wait_until_alone();
  // The caller leaves. The pool is free when all have.
  void leave();
  // Instead of start: nothing to do.
  void release() { inside_.store(0, std::memory_order_release); }

  // The job at hand, a number. wait_for: until all its threads have left.
  uint32_t job() const { return job_.load(std::memory_order_acquire); }
  void wait_for(uint32_t job);

 private:
  struct Worker {
    Word posted{0};
    std::atomic<bool> asleep{false};
    Pool* pool = nullptr;
    Job job = nullptr;
    void* argument = nullptr;
    int index = 0;
    pthread_t thread{};
    int policy = -1, priority = 0;  // as given to it
    Cores cores;
  };

  static void* main(void* worker);
  bool grow(int workers);
  bool follow(Worker& worker, int policy, int priority, const Cores& cores);

  std::vector<std::unique_ptr<Worker>> workers_;  // touched by whoever has the pool
  int working_ = 0;                               // threads of the job at hand, but for the caller
  alignas(64) Word inside_{0};                    // threads of the job at hand that have not left; 0: free
  std::atomic<uint32_t> job_{0};
};

}  // namespace df

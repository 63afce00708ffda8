// Threads that wait for work: a job runs on all of them, the caller being thread 0.
#pragma once
#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace df {

// Threads meet here; sense-reversing. A thread alone on its core sees the others within a microsecond and spins; where
// cores are fewer than threads spinning is in vain, so every time it was, the spin count shrinks and the next thread
// gives its core away sooner.
struct Barrier {
  alignas(64) std::atomic<int> arrived{0};
  alignas(64) std::atomic<uint32_t> phase{0};
  alignas(64) std::atomic<int> spin_count{256};  // before the core is given away
  std::atomic<int64_t> lost_ns{0};               // nanoseconds of all threads after that
};

// The calling thread on one core from now on. Throws std::runtime_error with a sentence if it may not be there.
void pin(int core);
// The same error for any of them, and no thread is moved.
void check(const std::vector<int>& cores);

class Pool {
 public:
  using Job = void (*)(void* argument, int thread);

  // cores: of each thread, the caller's first, which is left alone here; or empty. They have been checked. Throws
  // std::system_error if the threads cannot be had.
  Pool(int threads, const std::vector<int>& cores);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  // Runs job(argument, i) for i in 0 .. threads - 1 and returns when all are done. One caller at a time.
  void run(Job job, void* argument);

 private:
  void work(int thread);
  void wait_for_job(uint32_t seen);
  void stop();

  Job job_ = nullptr;
  void* argument_ = nullptr;
  alignas(64) std::atomic<uint32_t> round_{0};
  alignas(64) std::atomic<int> busy_{0};
  std::atomic<int> sleepers_{0};
  std::atomic<bool> over_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::thread> threads_;
};

}  // namespace df

// Threads that wait for work: a job runs on all of them, the caller being thread 0.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace df {

// Threads meet here; sense-reversing. Alone on its core a thread sees the others within a microsecond; where there are
// fewer cores than threads it soon gives its own away.
struct Barrier {
  alignas(64) std::atomic<int> arrived{0};
  alignas(64) std::atomic<uint32_t> phase{0};
};

class Pool {
 public:
  using Job = void (*)(void* argument, int thread);

  // Throws std::system_error if the threads cannot be had.
  explicit Pool(int threads);
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

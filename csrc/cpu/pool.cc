#include "pool.h"

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <string>

#include "kernel_table.h"

namespace df {
namespace {

constexpr int kMinSpins = 4, kMaxSpins = 2000;  // of some 20 ns each
constexpr int kIdleSpins = 10000;               // without a job; then a thread sleeps

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

int64_t now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

void wait_for_all(Barrier* barrier, int threads) {
  if (threads == 1) return;
  const uint32_t phase = barrier->phase.load(std::memory_order_relaxed);
  if (barrier->arrived.fetch_add(1, std::memory_order_acq_rel) == threads - 1) {
    barrier->arrived.store(0, std::memory_order_relaxed);
    barrier->phase.store(phase + 1, std::memory_order_release);
    return;
  }
  const auto met = [&] { return barrier->phase.load(std::memory_order_acquire) != phase; };
  const int spin_count = barrier->spin_count.load(std::memory_order_relaxed);
  for (int i = 0; i < spin_count; ++i) {
    if (met()) {
      const int more = spin_count + spin_count / 8 + 1;
      if (i > spin_count / 2) barrier->spin_count.store(std::min(more, kMaxSpins), std::memory_order_relaxed);
      return;
    }
    pause();
  }
  const int64_t start = now();
  int yields = 0;
  for (; !met(); ++yields) std::this_thread::yield();
  if (yields > 4) barrier->spin_count.store(std::max(spin_count / 2, kMinSpins), std::memory_order_relaxed);
  barrier->lost_ns.fetch_add(now() - start, std::memory_order_relaxed);
}

void pin(int core) {
#if defined(__linux__)
  cpu_set_t set;
  CPU_ZERO(&set);
  if (core >= 0 && core < CPU_SETSIZE) CPU_SET(core, &set);
  if (pthread_setaffinity_np(pthread_self(), sizeof set, &set) == 0) return;
  throw std::runtime_error("cores: this process may not use core " + std::to_string(core));
#else
  (void)core;
  throw std::runtime_error("cores: threads can be pinned on Linux only");
#endif
}

void check(const std::vector<int>& cores) {
  std::exception_ptr error;
  std::thread([&] {
    try {
      for (int core : cores) pin(core);
    } catch (...) {
      error = std::current_exception();
    }
  }).join();
  if (error) std::rethrow_exception(error);
}

Pool::Pool(int threads, const std::vector<int>& cores) {
  try {
    for (int i = 1; i < threads; ++i) {
      const int core = cores.empty() ? -1 : cores[i];
      threads_.emplace_back([this, i, core] {
        if (core >= 0) pin(core);
        work(i);
      });
    }
  } catch (...) {
    stop();
    throw;
  }
}

Pool::~Pool() { stop(); }

void Pool::run(Job job, void* argument) {
  job_ = job;
  argument_ = argument;
  busy_.store(static_cast<int>(threads_.size()), std::memory_order_relaxed);
  round_.fetch_add(1, std::memory_order_seq_cst);
  if (sleepers_.load(std::memory_order_seq_cst) > 0) {
    std::lock_guard<std::mutex> lock(mutex_);
    wake_.notify_all();
  }
  job(argument, 0);
  for (int i = 0; busy_.load(std::memory_order_acquire) != 0; ++i) {
    if (i < kMaxSpins) {
      pause();
    } else {
      std::this_thread::yield();
    }
  }
}

void Pool::work(int thread) {
  for (uint32_t seen = 0;;) {
    wait_for_job(seen);
    if (over_.load(std::memory_order_acquire)) return;
    ++seen;
    job_(argument_, thread);
    busy_.fetch_sub(1, std::memory_order_release);
  }
}

void Pool::wait_for_job(uint32_t seen) {
  for (int i = 0; i < kIdleSpins; ++i) {
    if (round_.load(std::memory_order_acquire) != seen) return;
    pause();
  }
  std::unique_lock<std::mutex> lock(mutex_);
  sleepers_.fetch_add(1, std::memory_order_seq_cst);
  wake_.wait(lock, [&] { return round_.load(std::memory_order_seq_cst) != seen; });
  sleepers_.fetch_sub(1, std::memory_order_relaxed);
}

void Pool::stop() {
  over_.store(true, std::memory_order_release);
  round_.fetch_add(1, std::memory_order_seq_cst);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    wake_.notify_all();
  }
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

}  // namespace df

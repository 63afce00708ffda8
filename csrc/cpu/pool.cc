#include "pool.h"

#include "table.h"

namespace df {
namespace {

constexpr int kSpins = 4000;       // some 40 us, then the core is offered to others
constexpr int kIdleSpins = 20000;  // some 200 us without a job, then sleep

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

template <class Done>
void spin_until(Done&& done) {
  for (int spins = 0; !done(); ++spins) {
    if (spins < kSpins) {
      pause();
    } else {
      std::this_thread::yield();
    }
  }
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
  spin_until([&] { return barrier->phase.load(std::memory_order_acquire) != phase; });
}

Pool::Pool(int threads) {
  try {
    for (int i = 1; i < threads; ++i) threads_.emplace_back([this, i] { work(i); });
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
  spin_until([&] { return busy_.load(std::memory_order_acquire) == 0; });
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

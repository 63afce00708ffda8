#include "barrier.h"

#include "clock.h"
#include "kernel_table.h"

namespace df {
namespace {

constexpr int kPauses = 64;  // between two looks at the clock

}  // namespace

void Barrier::open(int64_t limit) {
  arrived_.store(0, std::memory_order_relaxed);
  sleepers_.store(0, std::memory_order_relaxed);
  lost_.store(0, std::memory_order_relaxed);
  slept_.store(0, std::memory_order_relaxed);
  limit_ = limit;
  opened_ = now_ns();
  dissolved_.store(false, std::memory_order_release);
}

bool Barrier::wait(int threads) {
  if (threads == 1) return true;
  const uint32_t phase = phase_.load(std::memory_order_relaxed);
  if (dissolved()) return false;
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) == threads - 1) {
    arrived_.store(0, std::memory_order_relaxed);
    phase_.store(phase + 1, std::memory_order_seq_cst);
    if (sleepers_.load(std::memory_order_seq_cst) > 0) wake(phase_);
    return !dissolved();
  }
  for (int i = 0; i < kPauses; ++i) {
    if (phase_.load(std::memory_order_acquire) != phase) return !dissolved();
    pause();
  }
  return wait_long(phase);
}

bool Barrier::wait_long(uint32_t phase) {
  const int64_t start = now_ns();
  const auto met = [&] { return phase_.load(std::memory_order_seq_cst) != phase; };
  const auto done = [&](std::atomic<int64_t>* slept) {
    const int64_t took = now_ns() - start;
    lost_.fetch_add(took, std::memory_order_relaxed);
    if (slept) slept->fetch_add(took, std::memory_order_relaxed);
    return !dissolved();
  };
  while (now_ns() - start < kSpin) {
    for (int i = 0; i < kPauses; ++i) {
      if (met()) return done(nullptr);
      pause();
    }
  }
  while (!met() && !dissolved()) {
    const int64_t now = now_ns();
    const int64_t allowed = limit_ == kForEver ? 0 : limit_ + (now - opened_) / kLostPart;
    const int64_t left =
        limit_ == kForEver ? -1 : allowed - slept_.load(std::memory_order_relaxed) - (now - start);
    if (limit_ != kForEver && left <= 0) {
      dissolve();
      break;
    }
    sleepers_.fetch_add(1, std::memory_order_seq_cst);
    if (!met()) sleep_while(phase_, phase, left);
    sleepers_.fetch_sub(1, std::memory_order_relaxed);
  }
  return done(&slept_);
}

void Barrier::dissolve() {
  dissolved_.store(true, std::memory_order_seq_cst);
  phase_.fetch_add(1, std::memory_order_seq_cst);
  wake(phase_);
}

bool wait_for_all(Barrier* barrier, int threads) { return threads == 1 || barrier->wait(threads); }

}  // namespace df

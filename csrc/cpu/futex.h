// Sleeping until a word changes: without a lock, so that a thread may be lost at any moment (a fork, a stopped worker)
// and nobody inherits what it held.
#pragma once
#include <atomic>
#include <cstdint>
#include <ctime>

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <climits>
#endif

namespace df {

using Word = std::atomic<uint32_t>;
static_assert(sizeof(Word) == 4 && Word::is_always_lock_free);

// Returns when the word is no longer `seen`, after `ns` nanoseconds (negative: no limit), or sooner: look again.
inline void sleep_while(Word& word, uint32_t seen, int64_t ns) {
#if defined(__linux__)
  const timespec limit{static_cast<time_t>(ns / 1000000000), static_cast<long>(ns % 1000000000)};
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAIT_PRIVATE, seen, ns < 0 ? nullptr : &limit,
          nullptr, 0);
#else  // a nap
  const int64_t nap = ns < 0 || ns > 50000 ? 50000 : ns;
  const timespec limit{0, static_cast<long>(nap)};
  if (word.load(std::memory_order_acquire) == seen) nanosleep(&limit, nullptr);
#endif
}

// Wakes all who sleep on the word, which has been changed.
inline void wake(Word& word) {
#if defined(__linux__)
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
#else
  (void)word;
#endif
}

}  // namespace df

// Time, and a moment of waiting.
#pragma once
#include <time.h>

#include <cstdint>

namespace df {

// The clock that costs least to read: ops of a microsecond are timed with it.
inline int64_t now_ns() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * int64_t{1000000000} + t.tv_nsec;
}

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace df

// The floating-point mode of a plan: to nearest, subnormal numbers kept, nothing trapped. A thread brings whatever its
// program left behind; results must not depend on it, nor differ between the caller and the pool's threads.
#pragma once
#include <cstdint>

#if defined(__x86_64__)
#include <xmmintrin.h>
#elif !defined(__aarch64__)
#include <cfenv>
#endif

namespace df {

// While it lives, the calling thread computes in the mode above; afterwards in its own again, flags included.
class FloatingPoint {
 public:
#if defined(__x86_64__)
  FloatingPoint() : saved_(_mm_getcsr()) { _mm_setcsr(0x1F80); }
  ~FloatingPoint() { _mm_setcsr(saved_); }
#elif defined(__aarch64__)
  FloatingPoint() {
    asm volatile("mrs %0, fpcr" : "=r"(saved_));
    asm volatile("msr fpcr, %0" ::"r"(uint64_t{0}));
  }
  ~FloatingPoint() { asm volatile("msr fpcr, %0" ::"r"(saved_)); }
#else
  FloatingPoint() {
    std::fegetenv(&saved_);
    std::fesetenv(FE_DFL_ENV);
  }
  ~FloatingPoint() { std::fesetenv(&saved_); }
#endif
  FloatingPoint(const FloatingPoint&) = delete;
  FloatingPoint& operator=(const FloatingPoint&) = delete;

 private:
#if defined(__x86_64__)
  unsigned saved_;
#elif defined(__aarch64__)
  uint64_t saved_;
#else
  std::fenv_t saved_;
#endif
};

}  // namespace df

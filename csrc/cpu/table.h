// What an instruction set offers: functions compiled from one source (the .inl.h files), once per target.
#pragma once
#include <cstdint>

#include "program.h"

namespace df {

struct Barrier;
void wait_for_all(Barrier* barrier, int threads);  // pool.cc; nothing to wait for where there is one thread

// What a thread works with while it runs one op.
struct Work {
  float *arena, *shared, *own;
  const float* table;  // the step table's row
  Barrier* barrier;
  int threads;
};

// Rows t0 .. t1 - 1 of one trajectory [H, D] and where a network's output for it lies.
struct Slice {
  int t0, t1, depth;
  const float* net;  // of row 0
  int ld;
  const float* gradient;  // of row 0; NULL: none
  int gradient_ld;
  const float *mask, *known;  // [H, D]; mask: all bits one where known
};

struct Coefficients {
  float p, q, a, b, d, s, g0;
};

struct Table {
  const char* name;
  int segments;  // the most of a convolution's tile
  bool bf16;     // products of bfloat16 are one instruction
  void (*step)(const Step&, const Part&, const Work&);
  // x += gx * gradient where unknown.
  void (*guide)(const Slice&, float gx, float* x);
  // One row of the sampler; `before` is the last x0 and becomes this one. False if x is not finite.
  bool (*update)(const Slice&, const Coefficients&, const float* low, const float* high, const float* noise,
                 float* before, float* x);
  // Elements first .. last - 1 of the noise [H, D] of one sample, to out[0 ..]; first is a multiple of 4.
  void (*noise)(uint64_t seed, uint32_t plan, uint32_t row, uint32_t sample, int first, int last, float* out);
  void (*function)(int which, const float* x, float* y, int64_t n);
  void (*philox)(uint64_t seed, const uint32_t* counter, uint32_t* words, int64_t n);
  void (*normals)(const uint32_t* words, float* normals, int64_t n);
};

namespace scalar {
extern const Table table;
}
#if defined(__x86_64__)
namespace avx2 {
extern const Table table;
}
namespace avx512 {
extern const Table table;
}
namespace avx512_bf16 {
extern const Table table;
}
#endif

}  // namespace df

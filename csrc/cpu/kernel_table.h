// The kernel table of an instruction set: functions compiled from one source (the .inl.h files), once per target.
#pragma once
#include <cstdint>

#include "compiled.h"

namespace df {

class Barrier;
// Nothing to wait for where there is one thread. False: the threads have dissolved, so leave (barrier.h).
[[nodiscard]] bool wait_for_all(Barrier* barrier, int threads);

// What a thread works with while it runs one op.
struct Work {
  float *arena, *shared, *own;
  const float* table_row;  // of the time-embedding tables, for the group's first trajectory
  int64_t table_stride;    // to that of the next; 0 where all see the same
  Barrier* barrier;
  int threads;

  const float* table_of(int b) const { return table_row + b * table_stride; }
};

// Rows t0 .. t1 - 1 of one trajectory [H, D] and where a network's output for it lies.
struct Slice {
  int t0, t1, depth;
  const float* net;  // of row 0
  int ld;
  const float* gradient;  // of row 0; NULL: none
  int gradient_ld;
  const float *mask, *inpaint_values;  // [H, D]; mask: all bits one where x is inpainted
};

struct Coefficients {
  float p, q, a, b, d, s, g0, u;
};

struct KernelTable {
  const char* name;
  int segments;  // the most of a convolution's tile
  bool bf16;     // products of bfloat16 are one instruction
  void (*run_op)(const CompiledOp&, const Partition&, const Work&);
  // x += gx * gradient, but for what is inpainted.
  void (*guidance_update)(const Slice&, float gx, float* x);
  // The update of one denoising step; `previous_x0` becomes this one's. False if x is not finite.
  bool (*update)(const Slice&, const Coefficients&, const float* low, const float* high, const float* noise,
                 float* previous_x0, float* x);
  // Elements first .. last - 1 of the noise [H, D] of one sample, to out[0 ..]; first is a multiple of 4. Entry 0 is the
  // first noise, k + 1 that of denoising step k.
  void (*noise)(uint64_t seed, uint32_t plan, uint32_t entry, uint32_t sample, int first, int last,
                float* out);
  void (*function)(int which, const float* x, float* y, int64_t n);
  void (*philox)(uint64_t seed, const uint32_t* counter, uint32_t* words, int64_t n);
  void (*normals)(const uint32_t* words, float* normals, int64_t n);
};

namespace scalar {
extern const KernelTable kernel_table;
}
#if defined(__x86_64__)
namespace avx2 {
extern const KernelTable kernel_table;
}
#if defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11  // older ones do not know these instructions
#define DF_AVX2_VNNI
namespace avx2_vnni {
extern const KernelTable kernel_table;
}
#endif
namespace avx512 {
extern const KernelTable kernel_table;
}
namespace avx512_vnni {
extern const KernelTable kernel_table;
}
namespace avx512_bf16 {
extern const KernelTable kernel_table;
}
#elif defined(__aarch64__)
namespace neon {
extern const KernelTable kernel_table;
}
#if !defined(__clang__) || \
    __clang_major__ >= 16  // older ones hide what the file was not compiled for as a whole
#define DF_NEON_EXTENDED
namespace neon_dot {
extern const KernelTable kernel_table;
}
namespace neon_bf16 {
extern const KernelTable kernel_table;
}
#endif
#endif

}  // namespace df

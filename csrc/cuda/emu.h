// The host's side of dev.h: a kernel compiled by g++ runs here as it would on a GPU, every CUDA thread a fiber.
//
// What it watches (emu.cc, race.h):
//   * barriers that can never complete, and threads of one barrier that came by different ways
//   * accesses that nothing orders, whatever the schedule: kernels are compiled with -fsanitize=thread, whose calls
//     come to the detector here instead of the sanitizer's own
//   * shared memory of another block of the cluster that may not have begun, or may have ended
//   * what is sent: nothing orders it but the mbarrier that it comes to, and whoever sent it has not written it himself;
//     mbarriers that more or fewer bytes come to than were said
//   * reads of what nobody wrote; shared memory begins as NaN and ends at a page that cannot be touched
// The schedule is lock step (seed 0) or adversarial: one warp runs as far as it can, then another, in an order by seed.
// It does not see bank conflicts, time, or how a GPU sums within a matrix product.
#pragma once

#include <math.h>

#include <cstddef>
#include <cstdint>
#include <string>

struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) uint2 {
  uint32_t x, y;
};

#define DF_DEVICE inline
#define DF_HOST_DEVICE inline
#define DF_KERNEL(name, Arguments, threads) static void name(const Arguments& a)

namespace df {
namespace emu {

// Where a call stands in the source: what a barrier is known by.
struct Site {
  const char* file;
  int line;
};

struct Shape {
  int blocks = 1, threads = 32, shared_bytes = 0, cluster = 1;
};

// Runs body(argument) in every thread of every block. Nothing is returned: see `df_emu_report`.
void launch(const Shape& shape, void (*body)(const void*), const void* argument);

template <class Arguments>
void run(void (*kernel)(const Arguments&), const Shape& shape, const Arguments& arguments) {
  struct Bound {
    void (*kernel)(const Arguments&);
    const Arguments* arguments;
  } bound{kernel, &arguments};
  launch(
      shape,
      [](const void* p) { static_cast<const Bound*>(p)->kernel(*static_cast<const Bound*>(p)->arguments); },
      &bound);
}

void* shared();
void sync_block(Site);
void sync_warp(Site);
void sync_cluster(Site);
void store_remote(float* p, int rank, float v);
void begin_arrivals(uint64_t* bar, int arrivals);
void arrive(uint64_t* bar, int rank, int bytes, Site);
void send(float* p, int rank, float v, uint64_t* bar);
void wait(uint64_t* bar, int parity, Site);
uint32_t exchange(uint32_t v, int from, Site);
void mma(float* d, const uint32_t* a, uint32_t b0, uint32_t b1, Site);
int atomic_add(int* p, int v, Site);
void atomic_min(int* p, int v);

// What emu_calls.cc passes on.
void seen(uintptr_t at, size_t bytes, bool write, const void* pc);
void set(unsigned seed, const char* disabled);
void watch(const char* name, void* p, size_t bytes, bool known);
void forget();
std::string taken_reports();
std::string taken_sites();

}  // namespace emu

namespace cuda {

// As default arguments: where the caller stands.
#define DF_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

int thread();
int lane();
int warp();
int block();
int blocks();

template <class T>
inline T* shared_memory() {
  return static_cast<T*>(emu::shared());
}

inline void sync_block(DF_HERE) { emu::sync_block({file, line}); }
inline void sync_warp(DF_HERE) { emu::sync_warp({file, line}); }

#define DF_CLUSTERS 1
int rank_in_cluster();
inline void sync_cluster(DF_HERE) { emu::sync_cluster({file, line}); }
inline void store_remote(float* p, int rank, float v) { emu::store_remote(p, rank, v); }
inline void begin_arrivals(uint64_t* bar, int arrivals) { emu::begin_arrivals(bar, arrivals); }
inline void arrive(uint64_t* bar, int rank, int bytes, DF_HERE) {
  emu::arrive(bar, rank, bytes, {file, line});
}
inline void send(float* p, int rank, float v, uint64_t* bar) { emu::send(p, rank, v, bar); }
inline void wait(uint64_t* bar, int parity, DF_HERE) { emu::wait(bar, parity, {file, line}); }

inline float bits_to_float(uint32_t v) { return __builtin_bit_cast(float, v); }
inline uint32_t float_to_bits(float v) { return __builtin_bit_cast(uint32_t, v); }
inline uint32_t multiply_high(uint32_t a, uint32_t b) { return static_cast<uint64_t>(a) * b >> 32; }

inline float shuffle_xor(float v, int mask, DF_HERE) {
  return bits_to_float(emu::exchange(float_to_bits(v), lane() ^ mask, {file, line}));
}
inline int atomic_add(int* p, int v, DF_HERE) { return emu::atomic_add(p, v, {file, line}); }
inline void atomic_min(int* p, int v) { emu::atomic_min(p, v); }
inline void mma(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, DF_HERE) {
  emu::mma(d, a, b0, b1, {file, line});
}

inline uint32_t halves(float x, float y) {
  const _Float16 v[2] = {static_cast<_Float16>(x), static_cast<_Float16>(y)};
  return __builtin_bit_cast(uint32_t, v);
}
// As ex2.approx has it: the product with log2(e) is rounded, the power is good to two units in the last place.
inline float approximate_exp(float x) { return exp2f(x * 1.44269504f); }
inline float4 read_only(const float4* p) { return *p; }
inline uint2 read_only(const uint2* p) { return *p; }

// As on a GPU, but what is wrong is told by `df_emu_report`.
template <class Arguments>
inline int launch(void (*kernel)(const Arguments&), int blocks, int threads, int shared_bytes,
                  const Arguments& arguments, void*, int peers = 1) {
  emu::run(kernel, {blocks, threads, shared_bytes, peers}, arguments);
  return 0;
}

template <class Arguments>
inline int allow_shared(void (*)(const Arguments&)) {
  return 0;
}

template <class Arguments>
inline int clusters_of(void (*)(const Arguments&), int, int, int) {
  return 2;
}

inline const char* error_text(int) { return ""; }

}  // namespace cuda
}  // namespace df

/* What this machine can do: float32 FMA per second, and bytes per second read from memory of a given size.
 *
 * usage: probe ISA THREADS MEBIBYTES...      (ISA: avx512, avx2 or scalar)
 * prints one JSON object. Every number is the best of several passes, all threads starting together.
 * Compiled and run by roofline.py; it shares no code with what it is held against.
 */
#define _GNU_SOURCE
#include <immintrin.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { kPasses = 60, kFmaLoops = 400000 };

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + 1e-9 * t.tv_nsec;
}

/* COUNT independent sums hide the latency of an FMA (at most 5 cycles, two a cycle); the empty asm keeps each in its
 * register. Twelve of AVX2's sixteen registers are enough; AVX-512 has room for twenty. */
#define FMA_KERNEL(NAME, TARGET, COUNT, V, SET, FMA, KEEP)                           \
  __attribute__((target(TARGET))) static float NAME(void) {                          \
    V sum[COUNT];                                                                    \
    V a = SET(0.999999f), b = SET(1e-7f);                                            \
    _Pragma("GCC unroll 20") for (int i = 0; i < COUNT; i++) sum[i] = SET((float)i); \
    for (int n = 0; n < kFmaLoops; n++) {                                            \
      _Pragma("GCC unroll 20") for (int i = 0; i < COUNT; i++) {                     \
        sum[i] = FMA(sum[i], a, b);                                                  \
        __asm__ volatile("" : KEEP(sum[i]));                                         \
      }                                                                              \
    }                                                                                \
    float out = 0;                                                                   \
    _Pragma("GCC unroll 20") for (int i = 0; i < COUNT; i++) {                       \
      float lanes[sizeof(V) / sizeof(float)];                                        \
      memcpy(lanes, &sum[i], sizeof(V));                                             \
      out += lanes[0];                                                               \
    }                                                                                \
    return out;                                                                      \
  }

static inline float scalar_set(float x) { return x; }
static inline float scalar_fma(float s, float a, float b) { return s * a + b; }

FMA_KERNEL(fma_avx512, "avx512f", 20, __m512, _mm512_set1_ps, _mm512_fmadd_ps, "+v")
FMA_KERNEL(fma_scalar, "sse2", 12, float, scalar_set, scalar_fma, "+x")
FMA_KERNEL(fma_avx2, "avx2,fma", 12, __m256, _mm256_set1_ps, _mm256_fmadd_ps, "+x")

#define READ_KERNEL(NAME, TARGET, V, LOAD, XOR, ZERO)                        \
  __attribute__((target(TARGET))) static int NAME(const char* p, size_t n) { \
    V s0 = ZERO(), s1 = ZERO(), s2 = ZERO(), s3 = ZERO();                    \
    for (size_t i = 0; i + 4 * sizeof(V) <= n; i += 4 * sizeof(V)) {         \
      s0 = XOR(s0, LOAD((const void*)(p + i)));                              \
      s1 = XOR(s1, LOAD((const void*)(p + i + sizeof(V))));                  \
      s2 = XOR(s2, LOAD((const void*)(p + i + 2 * sizeof(V))));              \
      s3 = XOR(s3, LOAD((const void*)(p + i + 3 * sizeof(V))));              \
    }                                                                        \
    s0 = XOR(XOR(s0, s1), XOR(s2, s3));                                      \
    int out;                                                                 \
    memcpy(&out, &s0, sizeof out);                                           \
    return out;                                                              \
  }

READ_KERNEL(read_avx512, "avx512f", __m512i, _mm512_loadu_si512, _mm512_xor_si512, _mm512_setzero_si512)
READ_KERNEL(read_avx2, "avx2", __m256i, _mm256_loadu_si256, _mm256_xor_si256, _mm256_setzero_si256)
READ_KERNEL(read_scalar, "sse2", __m128i, _mm_loadu_si128, _mm_xor_si128, _mm_setzero_si128)

static float (*fma_kernel)(void);
static int (*read_kernel)(const char*, size_t);
static double flops_per_call;
static pthread_barrier_t barrier;
static double best;
static volatile float sink;

struct share {
  const char* data;
  size_t bytes, all_bytes;
  int first;
};

/* Every pass: all start together, the pass ends when the last is done. The first thread holds the clock. */
static void* work(void* argument) {
  struct share* s = argument;
  for (int pass = 0; pass < kPasses; pass++) {
    pthread_barrier_wait(&barrier);
    double began = now();
    sink = s->bytes ? (float)read_kernel(s->data, s->bytes) : fma_kernel();
    pthread_barrier_wait(&barrier);
    double rate = (s->bytes ? (double)s->all_bytes : flops_per_call) / (now() - began);
    if (s->first && rate > best) best = rate;
  }
  return NULL;
}

/* Best rate over all threads; bytes == 0 asks for arithmetic. Each thread reads its own contiguous part. */
static double measure(int threads, char* data, size_t bytes) {
  pthread_t* ids = calloc(threads, sizeof *ids);
  struct share* shares = calloc(threads, sizeof *shares);
  pthread_barrier_init(&barrier, NULL, threads);
  best = 0;
  size_t part = bytes / threads / 256 * 256;
  for (int i = 0; i < threads; i++) {
    shares[i] = (struct share){data ? data + i * part : NULL, part, part * threads, i == 0};
    pthread_create(&ids[i], NULL, work, &shares[i]);
  }
  for (int i = 0; i < threads; i++) pthread_join(ids[i], NULL);
  pthread_barrier_destroy(&barrier);
  free(ids);
  free(shares);
  return best;
}

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  int threads = atoi(argv[2]), sums;
  if (threads < 1) return 2;
  if (!strcmp(argv[1], "avx512") && __builtin_cpu_supports("avx512f")) {
    fma_kernel = fma_avx512, read_kernel = read_avx512, sums = 20 * 16;
  } else if (!strcmp(argv[1], "avx2") && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    fma_kernel = fma_avx2, read_kernel = read_avx2, sums = 12 * 8;
  } else if (!strcmp(argv[1], "scalar")) {
    fma_kernel = fma_scalar, read_kernel = read_scalar, sums = 12;
  } else {
    fprintf(stderr, "probe: this CPU has no %s\n", argv[1]);
    return 3;
  }
  flops_per_call = 2.0 * sums * kFmaLoops * threads;
  printf("{\"isa\": \"%s\", \"threads\": %d, \"gflops\": %.3f, \"gbs\": {", argv[1], threads,
         measure(threads, NULL, 0) * 1e-9);
  for (int i = 3; i < argc; i++) {
    size_t bytes = (size_t)atoi(argv[i]) << 20;
    char* data = aligned_alloc(4096, bytes);
    if (!data) return 4;
    memset(data, i, bytes);
    printf("%s\"%s\": %.3f", i > 3 ? ", " : "", argv[i], measure(threads, data, bytes) * 1e-9);
    free(data);
  }
  printf("}}\n");
  return 0;
}

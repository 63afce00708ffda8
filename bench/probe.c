/* What this machine can do: float32 FMA per second, and bytes per second read from memory of a given size.
 *
 * usage: probe THREADS MEBIBYTES...      (compiled with -DWIDTH=bytes of a vector, and flags to match)
 * prints one JSON object. Every number is the best of several passes, all threads starting together.
 * Compiled and run by roofline.py; it shares no code with what it is held against.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Independent sums hide the latency of an FMA (at most 5 cycles, two a cycle; 4 and up to four a cycle on AArch64). Twelve
 * of sixteen registers are enough there; where there are thirty-two there is room for twenty. */
#if defined(__aarch64__) || WIDTH == 64
enum { kSums = 20 };
#else
enum { kSums = 12 };
#endif
enum { kPasses = 60, kFmaLoops = 400000, kLanes = WIDTH / 4 };
typedef float Floats __attribute__((vector_size(WIDTH)));
typedef uint32_t Words __attribute__((vector_size(WIDTH)));

/* The empty asm keeps each sum in its register, and the loop a loop. */
#ifdef __aarch64__
#define KEEP(x) __asm__ volatile("" : "+w"(x))
#else
#define KEEP(x) __asm__ volatile("" : "+v"(x))
#endif

static float fma_kernel(void) {
  Floats sum[kSums], a = {0}, b = {0};
  a += 0.999999f, b += 1e-7f;
#pragma GCC unroll 20
  for (int i = 0; i < kSums; i++) sum[i] = b + (float)i;
  for (int n = 0; n < kFmaLoops; n++) {
#pragma GCC unroll 20
    for (int i = 0; i < kSums; i++) {
      sum[i] = sum[i] * a + b;
      KEEP(sum[i]);
    }
  }
#pragma GCC unroll 20
  for (int i = 1; i < kSums; i++) sum[0] += sum[i];
  return sum[0][0];
}

static float read_kernel(const Words* p, size_t count) {
  Words s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};
  for (size_t i = 0; i + 4 <= count; i += 4) s0 ^= p[i], s1 ^= p[i + 1], s2 ^= p[i + 2], s3 ^= p[i + 3];
  s0 ^= s1 ^ s2 ^ s3;
  return (float)s0[0];
}

struct share {
  const char* data;
  size_t bytes;
  int threads, first;
};
static pthread_barrier_t barrier;
static double best;
static volatile float sink;

/* Every pass: all start together, the pass ends when the last is done. The first thread holds the clock. */
static void* work(void* argument) {
  struct share* s = argument;
  double amount = (s->bytes ? (double)s->bytes : 2.0 * kLanes * kSums * kFmaLoops) * s->threads;
  for (int pass = 0; pass < kPasses; pass++) {
    struct timespec began, ended;
    pthread_barrier_wait(&barrier);
    clock_gettime(CLOCK_MONOTONIC, &began);
    sink = s->bytes ? read_kernel((const Words*)s->data, s->bytes / sizeof(Words)) : fma_kernel();
    pthread_barrier_wait(&barrier);
    clock_gettime(CLOCK_MONOTONIC, &ended);
    double rate = amount / (ended.tv_sec - began.tv_sec + 1e-9 * (ended.tv_nsec - began.tv_nsec));
    if (s->first && rate > best) best = rate;
  }
  return NULL;
}

/* Best rate over all threads; no bytes asks for arithmetic. Each thread reads its own contiguous part. */
static double measure(int threads, const char* data, size_t bytes) {
  pthread_t ids[threads];
  struct share shares[threads];
  pthread_barrier_init(&barrier, NULL, threads);
  best = 0;
  for (int i = 0; i < threads; i++) {
    size_t part = bytes / threads / 256 * 256;
    shares[i] = (struct share){data + i * part, part, threads, i == 0};
    pthread_create(&ids[i], NULL, work, &shares[i]);
  }
  for (int i = 0; i < threads; i++) pthread_join(ids[i], NULL);
  pthread_barrier_destroy(&barrier);
  return best;
}

int main(int argc, char** argv) {
  int threads = argc < 2 ? 0 : atoi(argv[1]);
  if (threads < 1) return 2;
  printf("{\"gflops\": %.3f, \"gbs\": {", measure(threads, NULL, 0) * 1e-9);
  for (int i = 2; i < argc; i++) {
    size_t bytes = (size_t)atoi(argv[i]) << 20;
    char* data = aligned_alloc(4096, bytes);
    if (!data) return 4;
    memset(data, i, bytes);
    printf("%s\"%s\": %.3f", i > 2 ? ", " : "", argv[i], measure(threads, data, bytes) * 1e-9);
    free(data);
  }
  printf("}}\n");
  return 0;
}

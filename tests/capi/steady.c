/* Counts what plans allocate, and the pages they touch for the first time: "OPENING ALLOCATIONS MINOR MAJOR", what opening
 * allocated, then of 16 plans after the first four, each with a call beside it that is refused. */
#define _GNU_SOURCE
#include <diffuser_fast.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
extern void* __libc_malloc(size_t);
extern void* __libc_calloc(size_t, size_t);
extern void* __libc_realloc(void*, size_t);
extern void* __libc_memalign(size_t, size_t);
static long count;
void* malloc(size_t n) {
  ++count;
  return __libc_malloc(n);
}
void* calloc(size_t m, size_t n) {
  ++count;
  return __libc_calloc(m, n);
}
void* realloc(void* p, size_t n) {
  ++count;
  return __libc_realloc(p, n);
}
void* aligned_alloc(size_t a, size_t n) {
  ++count;
  return __libc_memalign(a, n);
}
int main(int argc, char** argv) {
  dfx_bundle* bundle;
  dfx_planner* planner;
  dfx_request request = {.struct_size = sizeof request};
  dfx_plan plan = {.struct_size = sizeof plan};
  double now[] = {3, 1, 0, 0};
  dfx_condition condition = {sizeof condition, 0, now, NULL};
  static float x[1 << 16];
  struct rusage before, after;
  char error[256];
  long opening;
  (void)argc;
  if (dfx_bundle_open(argv[1], error, sizeof error, &bundle) ||
      dfx_planner_open(bundle, NULL, error, sizeof error, &planner))
    return 1;
  opening = count;
  request.conditions = &condition;
  request.n_conditions = 1;
  plan.observations = x;
  plan.n_observations = 1 << 16;
  for (; request.number < 20; ++request.number) {
    if (request.number == 4) {
      count = 0;
      getrusage(RUSAGE_SELF, &before);
    }
    if (dfx_planner_plan(planner, &request, &plan)) return 2;
    condition.time = 999;
    if (dfx_planner_plan(planner, &request, &plan) != DFX_ARGUMENT) return 3;
    condition.time = 0;
  }
  getrusage(RUSAGE_SELF, &after);
  {
    const long allocated = count;
    printf("%ld %ld %ld %ld\n", opening, allocated, after.ru_minflt - before.ru_minflt,
           after.ru_majflt - before.ru_majflt);
  }
  dfx_planner_close(planner);
  dfx_bundle_close(bundle);
  return 0;
}

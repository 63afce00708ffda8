/* Counts what plans allocate, and the pages they touch for the first time: what opening allocated, then a line
 * "ALLOCATIONS MINOR MAJOR" of 16 plans after the first four, each with a call beside it that is refused: plain ones, ones
 * with a deadline (from plenty to none), warm ones with a prefix, and 64 steps of an executor that plans meanwhile. Between
 * two calls of getppid there are plans, and steps, and nothing else: for whoever counts system calls. */
#define _GNU_SOURCE
#include <diffuser_fast.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
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
static struct rusage before;
static void begin(void) {
  count = 0;
  getrusage(RUSAGE_SELF, &before);
}
static void end(void) {
  struct rusage after;
  const long allocated = count;
  getrusage(RUSAGE_SELF, &after);
  printf("%ld %ld %ld\n", allocated, after.ru_minflt - before.ru_minflt, after.ru_majflt - before.ru_majflt);
  fflush(stdout);
}

enum { O = 4, MOST = 1 << 12 };
static const double now[O] = {3, 1, 0, 0};
static float x[MOST * O], last[MOST * 6];
static int32_t ran[MOST];

static int plans(dfx_planner* planner, int kind) {
  dfx_request request = {.struct_size = sizeof request};
  dfx_plan plan = {.struct_size = sizeof plan};
  dfx_condition condition = {sizeof condition, 0, now, NULL};
  int64_t whole = 0;
  request.conditions = &condition;
  request.n_conditions = 1;
  plan.observations = x;
  plan.n_observations = MOST * O;
  plan.last = last;
  plan.n_last = MOST * 6;
  plan.ran = ran;
  plan.n_ran = MOST;
  for (; request.number < 20; ++request.number) {
    if (request.number == 4) begin();
    if (kind == 1 && request.number > 0)
      request.deadline_ns = dfx_now() + whole * (20 - request.number) / 20 + 1;
    if (kind == 2 && request.number > 0) {
      request.last = last;
      request.n_last = MOST * 6;
      request.warm_rows = 2;
      request.prefix_observations = now;
      request.prefix_at = request.prefix_length = 1;
    }
    getppid();
    if (dfx_planner_plan(planner, &request, &plan)) return 2;
    if (request.number == 0) whole = plan.ended_ns - plan.started_ns;
    condition.time = 9999;
    if (dfx_planner_plan(planner, &request, &plan) != DFX_ARGUMENT) return 3;
    getppid();
    condition.time = 0;
  }
  end();
  return 0;
}

static int steps(dfx_planner* planner) {
  const struct timespec period = {0, 2000000};
  dfx_executor_options options = {.struct_size = sizeof options};
  dfx_executor* executor;
  dfx_step step = {.struct_size = sizeof step};
  dfx_executor_info info = {.struct_size = sizeof info};
  char error[256] = "";
  options.delay = 4;
  options.warm_rows = 2;
  if (dfx_executor_open(planner, &options, error, sizeof error, &executor) ||
      dfx_executor_start(executor, now, NULL, 0, error, sizeof error)) {
    fprintf(stderr, "%s\n", error);
    return 4;
  }
  for (int i = 0; i < 96; ++i) {
    if (i == 32) begin();
    getppid();
    if (dfx_executor_step(executor, now, &step)) return 5;
    getppid();
    nanosleep(&period, NULL);
  }
  end();
  if (dfx_executor_get_info(executor, &info) || info.used < 2) return 6;
  dfx_executor_close(executor);
  return 0;
}

int main(int argc, char** argv) {
  dfx_bundle* bundle;
  dfx_planner* planner;
  char error[256];
  (void)argc;
  if (dfx_bundle_open(argv[1], error, sizeof error, &bundle) ||
      dfx_planner_open(bundle, NULL, error, sizeof error, &planner) || dfx_planner_calibrate(planner, 0))
    return 1;
  printf("%ld\n", count);
  for (int kind = 0; kind < 3; ++kind) {
    const int failed = plans(planner, kind);
    if (failed) return failed;
  }
  if (steps(planner)) return 4;
  dfx_planner_close(planner);
  dfx_bundle_close(bundle);
  return 0;
}

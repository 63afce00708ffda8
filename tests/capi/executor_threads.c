/* What the threads of executors share, for ThreadSanitizer: steps at any moment, plans that are cancelled and fail, others'
 * conditions, threads that end in the middle of a plan.  executor_threads BUNDLE...  (make sanitize) */
#define _POSIX_C_SOURCE 200809L
#include <diffuser_fast.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint32_t number = 1;
static uint32_t drawn(uint32_t below) { /* the same in every run */
  number = number * 1664525u + 1013904223u;
  return (number >> 8) % below;
}
static void rest(uint32_t us) {
  const struct timespec time = {0, (long)us * 1000};
  nanosleep(&time, NULL);
}

static void* disturb(void* planner) { /* another thread that cancels, and plans where it can */
  dfx_request request = {.struct_size = sizeof request};
  for (int i = 0; i < 40; ++i) {
    dfx_plan plan = {.struct_size = sizeof plan};
    dfx_planner_plan(planner, &request, &plan);
    rest(3000);
    dfx_planner_cancel(planner);
  }
  return NULL;
}

static int act(dfx_planner* planner, int kind) {
  double observation[64] = {0}, goal[64] = {0};
  dfx_condition condition = {sizeof condition, -1, goal, NULL};
  dfx_executor_options options = {.struct_size = sizeof options};
  dfx_executor* executor;
  char error[256] = "";
  long bad = 0;
  options.delay = 1 + kind % 3;
  options.follows = kind & 1;
  options.warm_rows = kind & 2 ? 1 : 0;
  options.watchdog = kind & 4 ? 3 : 0;
  if (dfx_executor_open(planner, &options, error, sizeof error, &executor)) {
    fprintf(stderr, "%s\n", error);
    return 1;
  }
  for (int episode = 0; episode < 3; ++episode) {
    pthread_t other;
    dfx_status status = DFX_BUSY;
    for (int i = 0; i < 20 && status != DFX_OK; ++i)
      status = dfx_executor_start(executor, observation, &condition, episode > 0, error, sizeof error);
    if (status != DFX_OK) {
      fprintf(stderr, "%s\n", error);
      return 1;
    }
    const int disturbed = episode == 2 && pthread_create(&other, NULL, disturb, planner) == 0;
    for (int i = 0; i < 150; ++i) {
      dfx_step step = {.struct_size = sizeof step};
      goal[0] = 1e-3 * i;
      if (drawn(10) == 0) dfx_executor_set_conditions(executor, &condition, 1);
      if (dfx_executor_step(executor, drawn(8) ? observation : NULL, &step) != DFX_OK || !step.action) ++bad;
      if (!bad && step.action[0] != step.action[0]) ++bad;
      if (drawn(2)) rest(drawn(2000));
    }
    if (disturbed) pthread_join(other, NULL);
  }
  dfx_executor_close(executor);
  return bad != 0;
}

int main(int argc, char** argv) {
  char error[256] = "";
  for (int i = 1; i < argc; ++i) {
    dfx_bundle* bundle;
    dfx_planner* planner;
    dfx_options options = {.struct_size = sizeof options};
    options.threads = 1 + i % 2;
    if (dfx_bundle_open(argv[i], error, sizeof error, &bundle) ||
        dfx_planner_open(bundle, &options, error, sizeof error, &planner)) {
      fprintf(stderr, "%s: %s\n", argv[i], error);
      return 1;
    }
    for (int kind = 0; kind < 8; kind += 3) {
      if (act(planner, kind)) return 1;
    }
    dfx_planner_close(planner);
    dfx_bundle_close(bundle);
  }
  printf("%d bundles\n", argc - 1);
  return 0;
}

/* Plans periodically, as a control loop would, and says how long that took: a histogram in constant memory.
 *   loop BUNDLE [plans] [period in ms, 0: back to back] [threads] [core] [priority of SCHED_FIFO]
 * The last two make the thread what a robot's would be: a core of its own, and before others. */
#define _POSIX_C_SOURCE 200809L
#include <diffuser_fast.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { PER_OCTAVE = 8, OCTAVES = 24, BUCKETS = PER_OCTAVE * OCTAVES }; /* from 1 us to 16 s */

/* The bucket of a time, and where a bucket ends. */
static int bucket(int64_t ns) {
  double us = (double)ns * 1e-3;
  int octave = 0, part;
  if (us < 1) return 0;
  while (us >= 2 && octave < OCTAVES - 1) us /= 2, ++octave;
  part = (int)((us - 1) * PER_OCTAVE);
  return octave * PER_OCTAVE + (part < PER_OCTAVE ? part : PER_OCTAVE - 1);
}
static double end_ms(int b) {
  return (double)(1 << b / PER_OCTAVE) * (1 + (b % PER_OCTAVE + 1) / (double)PER_OCTAVE) * 1e-3;
}

static void sleep_until(int64_t ns) {
  const struct timespec at = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) != 0) continue;
}

int main(int argc, char** argv) {
  static long counts[BUCKETS];
  const long plans = argc > 2 ? atol(argv[2]) : 100;
  const int64_t period = (int64_t)((argc > 3 ? atof(argv[3]) : 0) * 1e6);
  const double shares[] = {0.5, 0.99, 0.999, 1};
  dfx_thread thread = {.struct_size = sizeof thread};
  dfx_options options = {.struct_size = sizeof options};
  dfx_request request = {.struct_size = sizeof request};
  dfx_plan plan = {.struct_size = sizeof plan};
  dfx_bundle* bundle = NULL;
  dfx_planner* planner = NULL;
  char error[256] = "";
  int64_t next, longest = 0, first = 0, began;
  long seen = 0, late = 0;
  options.threads = argc > 4 ? atoi(argv[4]) : 0;
  if (argc > 5) {
    thread.core = atoi(argv[5]);
    thread.fifo = argc > 6 ? atoi(argv[6]) : 0;
    thread.flags = DFX_PIN | DFX_LOCK_STACK;
    options.flags = DFX_LOCK_MEMORY;
    if (dfx_thread_apply(&thread, error, sizeof error) != DFX_OK) fprintf(stderr, "%s\n", error);
  }
  began = dfx_now();
  if (dfx_bundle_open(argc > 1 ? argv[1] : "planner.dfb", error, sizeof error, &bundle) != DFX_OK ||
      dfx_planner_open(bundle, &options, error, sizeof error, &planner) != DFX_OK) {
    fprintf(stderr, "%s\n", error);
    return 1;
  }
  next = dfx_now();
  printf("opened in %.1f ms", (double)(next - began) * 1e-6);
  for (request.number = 0; (long)request.number < plans; ++request.number) {
    if (period) sleep_until(next);
    if (dfx_planner_plan(planner, &request, &plan) != DFX_OK) {
      fprintf(stderr, "plan %u: %s\n", (unsigned)request.number, dfx_planner_error(planner));
      return 1;
    }
    if (!first) first = plan.ended_ns;
    ++counts[bucket(plan.ended_ns - plan.started_ns)];
    if (plan.ended_ns - plan.started_ns > longest) longest = plan.ended_ns - plan.started_ns;
    late += period && plan.ended_ns > next + period;
    next += period;
  }
  printf(", first plan after %.1f ms\n", (double)(first - began) * 1e-6);
  for (int i = 0, b = 0; i < 4; ++i) {
    while (b < BUCKETS && (double)(seen + counts[b]) < shares[i] * (double)plans) seen += counts[b++];
    printf("%5.1f %%  below %.3f ms\n", 100 * shares[i], end_ms(b));
  }
  printf("longest %.3f ms, %ld of %ld plans beyond their period\n", (double)longest * 1e-6, late, plans);
  dfx_planner_close(planner);
  dfx_bundle_close(bundle);
  return 0;
}

// The engine's interface, in C99: pointers, lengths and constants. Arrays are dense and row-major; nothing is copied
// unless it says so, so whoever opens an engine keeps weights and tables alive until it is closed. Nothing is thrown.
#pragma once
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
  DF_OK = 0,
  DF_BUSY = -2,        // another thread is using this engine
  DF_ARGUMENT = -3,    // an argument is wrong: nothing has been done
  DF_NOT_FINITE = -4,  // x was not finite after a denoising step
  DF_CANCELLED = -10   // by df_cancel, or because `interrupted` said so
} df_status;

// A Program, serialized with where its values lie in the arena (core/passes), weights packed by backends/pack.py.
// Enumerations are those of ops.gen.h and cpu/layout.gen.h. df_open trusts nothing of it (cpu/verify.cc).
typedef struct {
  const int32_t* ops;     // [n_ops, kOpFields]; weight fields index `weights`
  const int32_t* values;  // [n_values, kValueFields]
  const int32_t *inputs, *outputs;
  const float* const* weights;
  const int64_t* weight_sizes;  // floats of each weight
  const int32_t* layouts;       // Layout of each weight
  int64_t size;                 // floats of arena per trajectory
  int32_t n_ops, n_values, n_inputs, n_outputs, n_weights;
  int32_t table_width;  // S
} df_program;

// Time-embedding tables: in denoising step k, sample n sees the numbers per_step[k, n or 0] + per_sample[n].
typedef struct {
  const float* per_step;    // [R, samples, S]; NULL: those of the loop, or S is 0
  const float* per_sample;  // [N, S], or NULL
  int32_t samples;          // 1 or N
} df_tables;

// The denoising steps of one plan, where they are not all of the loop's in turn: rows of it, chosen per plan, and what may
// be run instead if they would end too late. Looked at between two steps; a plan that has begun a step finishes it.
typedef struct {
  const int32_t* rows;  // [n_schedules, most]: rows in the order in which they are run, -1 after the last
  int32_t n_schedules;  // 1, or one for each group (df_groups)
  int32_t most;         // 1 .. R
  int32_t skipped;      // entries of noise: that of its i-th row is entry skipped + i + 1
  int64_t deadline;     // CLOCK_MONOTONIC, nanoseconds; 0: none, and what follows is not read
  const int64_t* cost;  // [R]: nanoseconds of each row for a group of trajectories,
  int64_t once;         // nanoseconds that the first step of a group takes beside that
  const int64_t* alone_cost;  // and where one thread does the work that is shared otherwise
  // What leads from the entry of row k to a finished plan, longest first: paths first_path[k] .. first_path[k + 1] - 1,
  // path p being path_rows[path_at[p]] .. path_rows[path_at[p + 1] - 1].
  const int32_t *first_path, *path_at, *path_rows;
  int32_t n_paths, n_path_rows;
  // Instead of CLOCK_MONOTONIC, or NULL: asked when a group begins (step 0) and before each step.
  int64_t (*clock)(void* argument, int32_t step);
  void* clock_argument;
  int32_t* ran;  // [groups, most]: the rows that were run, -1 after the last; or NULL
  // [groups]: when each was expected to end, when that could last be changed: before its last row but one, before the
  // first, or where a shorter path was taken. Written where there is a deadline; or NULL.
  int64_t* expected;
} df_schedule;

// A SamplingLoop for one batch. Everything but weights and tables is copied.
typedef struct {
  const df_program* denoiser;
  const df_program *gradient, *value;  // NULL without a guide
  const float* columns;                // [rows, kColumns]
  const int32_t* guide_steps;          // [rows]
  df_tables denoiser_tables, guide_tables;
  const int32_t*
      table_steps;  // [rows]: which of table_count steps of the tables each row sees; NULL: its own
  int32_t table_count;
  const float *clip_low, *clip_high;    // [depth], or NULL
  int32_t batch, horizon, depth, rows;  // N, H, D, R
} df_loop;

// How the CPU engine runs it; copied.
typedef struct {
  int32_t threads;
  const int32_t*
      cores;        // [threads]: thread i runs on core cores[i] alone, the caller being thread 0; or NULL
  int32_t group;    // most trajectories of one group; 0: the engine's choice
  int32_t profile;  // keep the time of every op (df_profile)
  const char* isa;  // a name that df_isa_name has; NULL: the widest this CPU has
} df_cpu_options;

// One plan.
typedef struct {
  const uint8_t* mask;          // [H, D], where the trajectory is inpainted
  const float* inpaint_values;  // [inpaint_batch, H, D]
  int32_t inpaint_batch;        // 1 or N
  int32_t start;                // the first denoising step to run
  const float* x;               // [N, H, D] at entry of that step, or NULL: the first noise
  const float* tape;            // [R + 1, N, H, D], or NULL: drawn from seed and plan
  uint64_t seed;
  uint32_t plan;
  // A situation has this many plans: they are ranked among themselves, and its noise is that of plan number
  // `plan` + its index, sample 0 .. candidates - 1, whatever else is planned at the same time.
  int32_t candidates;
  df_tables denoiser_tables, guide_tables;  // instead of the loop's own
  const df_schedule* schedule;              // or NULL: all rows from `start`, which is 0 with a schedule
  // Asked by the calling thread between denoising steps, but not more often than every 50 ms; not 0: cancel. Or NULL.
  int32_t (*interrupted)(void* argument);
  void* interrupted_argument;
  float* x_out;    // [N, H, D]
  float* values;   // [N]
  int64_t* order;  // [N]
  float* chain;    // [N, R + 1 - start, H, D], with a schedule [N, most + 1, H, D], or NULL
} df_args;

typedef struct df_engine df_engine;

// NULL and a sentence in `error` if it cannot be opened.
df_engine* df_open(const df_loop* loop, const df_cpu_options* options, char* error, int32_t error_size);
// A df_status. `detail`, unless NULL: of DF_NOT_FINITE the first such denoising step, else -1. `sentence`, unless NULL:
// what is wrong with which argument, static, or NULL. After anything but DF_OK what lies in the outputs is not a plan.
int32_t df_plan(df_engine* engine, const df_args* args, int32_t* detail, const char** sentence);
// Ends the plan at hand after its denoising step, with DF_CANCELLED. For any thread, and for signal handlers.
void df_cancel(df_engine* engine);
// Evaluate one program (0 denoiser, 1 gradient, 2 value) on dense [N, C, H] arrays, with what it sees of its
// time-embedding tables, [samples, S] with samples 1 or N. `fill` goes into all memory first. A df_status.
int32_t df_run(df_engine* engine, int32_t program, const float* const* inputs, const float* table_row,
               int32_t samples, float* const* outputs, float fill);
// Nanoseconds spent in each op of a program since the last call, the mean over threads; of threads that share ops, as
// the first sees them. Returns how many ops there are.
int32_t df_profile(df_engine* engine, int32_t program, int64_t* ns, int32_t n);
// What was chosen: instruction set, threads, whether they share each op (intra-op parallelism), the largest group.
const char* df_isa(const df_engine* engine);
int32_t df_threads(const df_engine* engine);
int32_t df_intra_op(const df_engine* engine);
int32_t df_group(const df_engine* engine);
// How many groups, and whether the next plan's threads share each op.
int32_t df_groups(const df_engine* engine);
int32_t df_shares(const df_engine* engine);
// The noise of an entry for one sample [H, D], as a plan draws it: entry 0 is the first noise.
void df_noise(const df_engine* engine, uint64_t seed, uint32_t plan, uint32_t entry, uint32_t sample,
              float* out);
// How many plans the caller has finished alone because its threads lost too much time waiting for each other.
int64_t df_dissolved(const df_engine* engine);
// The denoising step from which the caller made the last of those; what came before it was the threads' work. -1: none.
int64_t df_resumed(const df_engine* engine);
// Keeps the memory that it works in from being paged out (mlock), as long as it is open. False: refused, see errno.
int32_t df_lock(df_engine* engine);
void df_close(df_engine* engine);

// The i-th instruction set of this CPU, best last; NULL past the end.
const char* df_isa_name(int32_t i);
// The vector functions by themselves, for tests: 0 exp, 2 a + 1 the activation a (Act), 2 a + 2 its derivative. False: no
// such ISA or function.
int32_t df_function(const char* isa, int32_t which, const float* x, float* y, int64_t n);
// Philox words of n counters [n, 4] under a seed, and the normals made of words [n, 4].
int32_t df_philox(const char* isa, uint64_t seed, const uint32_t* counter, uint32_t* words, int64_t n);
int32_t df_normals(const char* isa, const uint32_t* words, float* normals, int64_t n);

#ifdef __cplusplus
}  // extern "C"
#endif

// The engine's C interface: pointers, lengths and constants. Arrays are dense and row-major; nothing is copied unless
// it says so, so whoever opens an engine keeps weights and tables alive until it is closed.
#pragma once
#include <stdint.h>

extern "C" {

// How a weight lies (backends/pack.py): one number per channel; a convolution's [d, e, k] as [d/16][k][e][16], or as
// [e/16][k][d][16]. A transposed convolution takes both. Then [out/16][point][in][16] for Winograd's algorithm, and
// [out/16][k][in/2][16][2] in packed bfloat16.
enum df_layout { DF_VECTOR, DF_FORWARD, DF_TRANSPOSED, DF_WINOGRAD, DF_PACKED_BF16 };

// A Program, serialized with where its values lie in the arena (core/passes), weights packed by backends/pack.py.
typedef struct {
  const int32_t* ops;     // [n_ops, kOpFields]; weight fields index `weights`
  const int32_t* values;  // [n_values, kValueFields]
  const int32_t *inputs, *outputs;
  const float* const* weights;
  const int32_t* layouts;  // of each weight
  int64_t size;            // floats of arena per trajectory
  int32_t n_ops, n_values, n_inputs, n_outputs, n_weights;
  int32_t halo;
  int32_t table_width;  // S
} df_program;

// The numbers of one row of a StepTable, in the order of df_desc.columns.
enum df_column { DF_P, DF_Q, DF_A, DF_B, DF_D, DF_S, DF_GX, DF_G0, DF_COLUMNS };

// A SamplingLoop for one batch. Everything but weights and tables is copied.
typedef struct {
  const df_program* denoiser;
  const df_program *gradient, *value;         // NULL without a guide
  const float* columns;                       // [rows, DF_COLUMNS]
  const int32_t* guide_steps;                 // [rows]
  const float *denoiser_table, *guide_table;  // time-embedding tables [rows, S]; NULL where S = 0
  const float *clip_low, *clip_high;          // [depth], or NULL
  int32_t batch, horizon, depth, rows;        // N, H, D, R
  int32_t threads;
  const int32_t*
      cores;        // [threads]: thread i runs on core cores[i] alone, the caller being thread 0; or NULL
  int32_t group;    // most trajectories of one group; 0: the engine's choice
  int32_t profile;  // keep the time of every op (df_profile)
  const char* isa;  // "scalar", "avx2", "avx512"; NULL: the widest this CPU has
} df_desc;

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
  int32_t candidates;                         // plans are ranked within groups of this many
  const float *denoiser_table, *guide_table;  // instead of the engine's own, or NULL
  float* x_out;                               // [N, H, D]
  float* values;                              // [N]
  int64_t* order;                             // [N]
  float* chain;                               // [N, R + 1 - start, H, D], or NULL
} df_args;

typedef struct df_engine df_engine;

// NULL and a sentence in `error` if it cannot be opened.
df_engine* df_open(const df_desc* desc, char* error, int32_t error_size);
// -1, or the first denoising step after which x was not finite.
int32_t df_plan(df_engine* engine, const df_args* args);
// Evaluate one program (0 denoiser, 1 gradient, 2 value) on dense [N, C, H] arrays, with one row of its time-embedding
// tables. `fill` goes into all memory first.
void df_run(df_engine* engine, int32_t program, const float* const* inputs, const float* table_row,
            float* const* outputs, float fill);
// Nanoseconds spent in each op of a program since the last call, the mean over threads; of threads that share ops, as
// the first sees them. Returns how many ops there are.
int32_t df_profile(df_engine* engine, int32_t program, int64_t* ns, int32_t n);
// What was chosen: instruction set, threads, whether they share each op (intra-op parallelism), the largest group.
const char* df_isa(const df_engine* engine);
int32_t df_threads(const df_engine* engine);
int32_t df_intra_op(const df_engine* engine);
int32_t df_group(const df_engine* engine);
void df_close(df_engine* engine);

// The i-th instruction set of this CPU, best last; NULL past the end.
const char* df_isa_name(int32_t i);
// The vector functions by themselves, for tests: 0 exp, 1 mish, 2 mish's derivative. False: no such ISA.
int32_t df_function(const char* isa, int32_t which, const float* x, float* y, int64_t n);
// Philox words of n counters [n, 4] under a seed, and the normals made of words [n, 4].
int32_t df_philox(const char* isa, uint64_t seed, const uint32_t* counter, uint32_t* words, int64_t n);
int32_t df_normals(const char* isa, const uint32_t* words, float* normals, int64_t n);

}  // extern "C"

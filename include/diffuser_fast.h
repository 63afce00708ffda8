/* Diffusion planning in real time, from C99 and C++17: docs/c_api.md.
 *
 * A bundle (written by `diffuser-fast export`) is opened once and shared by any threads; a planner of it makes one plan
 * at a time. After a planner has been opened nothing allocates memory, reads the environment, prints, or calls the
 * system but to wake and await threads, and no function throws, ends the process or installs handlers.
 *
 * Rules that will hold for every later release of this DFX_ABI: every struct begins with struct_size, which its user
 * sets to sizeof; fields are added at the end, zero means default, and whoever was compiled with an older header is
 * served as before. A struct of a newer header is taken if what this library does not know of it is zero. Functions
 * and enumerators are added, never changed. Pointers that a function takes are read during the call only, unless it
 * says so. Texts are UTF-8. A NULL handle may be closed. */
#ifndef DIFFUSER_FAST_H
#define DIFFUSER_FAST_H

#include <stddef.h>
#include <stdint.h>

#define DFX_ABI 0

#if defined(DFX_STATIC)
#define DFX_API
#else
#define DFX_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Not negative: there is a finished plan. Others leave outputs undefined, and the planner as good as before. */
typedef enum dfx_status {
  DFX_OK = 0,
  DFX_BUSY = -2,        /* another thread is planning with this planner */
  DFX_ARGUMENT = -3,    /* an argument is wrong; nothing has been done */
  DFX_NOT_FINITE = -4,  /* a number of the plan was not finite */
  DFX_FILE = -5,        /* the file cannot be read, or is no bundle, or is damaged */
  DFX_MEMORY = -6,      /* there is not enough */
  DFX_SYSTEM = -7,      /* the system refused something; the text says what */
  DFX_UNSUPPORTED = -8, /* this library, CPU or bundle cannot do it */
  DFX_CANCELLED = -10,  /* by dfx_planner_cancel */
  DFX_DIFFERS = -11     /* dfx_bundle_self_test: another plan than the recorded one */
} dfx_status;

/* A sentence, static. */
DFX_API const char* dfx_status_string(dfx_status status);
/* DFX_ABI of the library, and its version, such as "0.1.0". */
DFX_API uint32_t dfx_abi(void);
DFX_API const char* dfx_version(void);
/* Nanoseconds of CLOCK_MONOTONIC: the clock of all times here. */
DFX_API int64_t dfx_now(void);

/* ---- bundles ---- */

typedef struct dfx_bundle dfx_bundle;

/* Reads a file, verifies all of it and keeps a copy. error, unless NULL: the reason, cut to error_size bytes. */
DFX_API dfx_status dfx_bundle_open(const char* path, char* error, size_t error_size, dfx_bundle** bundle);
DFX_API dfx_status dfx_bundle_open_memory(const void* data, size_t size, char* error, size_t error_size,
                                          dfx_bundle** bundle);
/* Planners keep what they need of it: it may be closed before them. */
DFX_API void dfx_bundle_close(dfx_bundle* bundle);

typedef enum dfx_exactness { DFX_EXACT = 0, DFX_CLOSE = 1, DFX_FAST = 2, DFX_APPROXIMATE = 3 } dfx_exactness;

typedef struct dfx_bundle_info {
  uint32_t struct_size;
  int32_t action_dim, observation_dim; /* A, O */
  int32_t batch, horizon;              /* B, H that a planner has by default */
  int32_t rows, training_steps;        /* denoising steps of a plan, and of training */
  int32_t guided;                      /* plans are ranked by a value network */
  int32_t exactness;                   /* dfx_exactness */
  int32_t variants;                    /* see dfx_bundle_variant */
  uint64_t digest;                     /* of the file: names it */
} dfx_bundle_info;

DFX_API dfx_status dfx_bundle_get_info(const dfx_bundle* bundle, dfx_bundle_info* info);
/* The horizon of variant 0 .. variants - 1, and the only batch it has; 0: any. */
DFX_API dfx_status dfx_bundle_variant(const dfx_bundle* bundle, int32_t variant, int32_t* batch,
                                      int32_t* horizon);
/* Repeats the plan that was recorded when the bundle was written, on the widest instruction set that was recorded and
 * that this CPU has. DFX_DIFFERS unless every bit is the same. Allocates; takes a few plans' time. */
DFX_API dfx_status dfx_bundle_self_test(const dfx_bundle* bundle, char* error, size_t error_size);

/* ---- planners ---- */

typedef struct dfx_planner dfx_planner;

enum {
  DFX_LOCK_MEMORY =
      1 /* mlock what a planner reads and writes, and nothing else; DFX_SYSTEM where that is refused */
};

typedef struct dfx_options {
  uint32_t struct_size;
  int32_t batch, horizon; /* 0: the bundle's */
  int32_t threads; /* 0: 1, the caller's own. Others are started now and follow the caller's scheduling */
  const int32_t*
      cores; /* [n_cores]: thread i is on core cores[i] during a plan, the caller being the first; or NULL */
  int32_t n_cores;    /* at least `threads`, or 0 */
  uint32_t flags;     /* DFX_LOCK_MEMORY */
  const char* isa;    /* "scalar", "avx2", ...; NULL: the widest of this CPU */
  int32_t situations; /* E: that one call plans for, each with B plans; 0: 1 */
} dfx_options;

/* options: NULL for defaults. */
DFX_API dfx_status dfx_planner_open(const dfx_bundle* bundle, const dfx_options* options, char* error,
                                    size_t error_size, dfx_planner** planner);
/* Not during a plan. */
DFX_API void dfx_planner_close(dfx_planner* planner);

/* Of struct_size all elements of an array have the same. */
typedef struct dfx_condition {
  uint32_t struct_size;
  int32_t time;              /* 0 .. H - 1, or from the end: -1 is the last */
  const double* observation; /* [O], physical units */
  const uint8_t* given;      /* [O], not 0: this dimension is a condition; NULL: all are */
} dfx_condition;

typedef struct dfx_request {
  uint32_t struct_size;
  int32_t n_conditions; /* of each situation; 0: none */
  const dfx_condition*
      conditions;        /* [E, n_conditions], at different times; the same of all situations, which may
                                    * differ in what is observed */
  uint64_t seed;         /* the noise is named by seed and number: the same two, the same plan */
  uint32_t number;       /* of the plan: count it up, by E: situation e has number + e, so that E at once are
                                    * the same plans as one after another */
  int32_t min_rows;      /* fewest denoising steps to begin with, where there is a deadline; 0: 1 */
  int64_t deadline_ns;   /* of dfx_now(); 0: none, all denoising steps are run */
  const int32_t* replay; /* [n_replay]: what `ran` said of a plan, to make it again; or NULL */
  size_t n_replay;
  /* Rows prefix_at .. prefix_at + prefix_length - 1 of the plan are given: what has been promised. They come back
   * exactly as they are, in every one of the B plans. */
  const double* prefix_actions;      /* [E, prefix_length, A], or NULL: they are free */
  const double* prefix_observations; /* [E, prefix_length, O], or NULL */
  int32_t prefix_at, prefix_length;
  /* The plan starts from an earlier one, moved on by `shift` steps and noised, and runs the last warm_rows denoising steps
   * only. With a deadline that not one step fits into the answer is that plan, moved on (DFX_SHIFTED). */
  const float* last; /* [E, H * (A + O)]: what dfx_plan.last said; or NULL */
  size_t n_last;
  int32_t warm_rows; /* 1 .. R with `last`, else 0 */
  int32_t shift;
} dfx_request;

typedef enum dfx_finish {
  DFX_FULL = 0,      /* all denoising steps */
  DFX_STRIDED = 1,   /* fewer, from the beginning */
  DFX_RESTRIDED = 2, /* it had got late: fewer of what was left */
  DFX_FINISHING = 3, /* it ended at once, with what the network said */
  DFX_SHIFTED = 4 /* no denoising step: the last plan, moved on, under the new conditions; values are zeros */
} dfx_finish;

enum {
  DFX_CLIPPED = 1 /* a condition lay beyond the data's limits: the plan holds the nearest value inside them */
};

/* The arrays are the caller's; any may be NULL. Physical units, best plan first; E times so much where a planner plans
 * for E situations, one after another. */
typedef struct dfx_plan {
  uint32_t struct_size;
  int32_t rows; /* out: denoising steps that were run, of the plans that had fewest */
  float *actions, *observations, *values;     /* [B, H, A], [B, H, O], [B] (zeros without a guide) */
  size_t n_actions, n_observations, n_values; /* floats that fit: at least so many, where it is not NULL */
  int32_t* ran;                               /* [dfx_planner_info.replay]: which, for dfx_request.replay */
  size_t n_ran;
  int32_t exactness;            /* out: dfx_exactness */
  uint32_t notes;               /* out: DFX_CLIPPED */
  int64_t started_ns, ended_ns; /* out: of dfx_now() */
  int32_t finish;               /* out: dfx_finish */
  int32_t deadline_met;         /* out: it ended before its deadline, or had none */
  float* last; /* [E, H * (A + O)]: the best plans as the network sees them, for dfx_request.last */
  size_t n_last;
} dfx_plan;

/* One plan. The same bits as Planner.plan of Python gives for the same numbers, on the same instruction set, however
 * many threads there are.
 *
 * With a deadline: if the thread is not descheduled it returns by then and one denoising step, always with a finished
 * plan; `finish`, `rows` and `deadline_met` say of which kind. It begins with the most that fits, looks at the clock
 * between denoising steps, and takes fewer for the rest where it gets late. dfx_planner_calibrate comes first. */
DFX_API dfx_status dfx_planner_plan(dfx_planner* planner, const dfx_request* request, dfx_plan* plan);
/* Ends the plan at hand after its denoising step; nothing if there is none. Any thread, and signal handlers. */
DFX_API void dfx_planner_cancel(dfx_planner* planner);
/* What was wrong in the last call that did not say DFX_OK or DFX_BUSY; "" if there was none. Of the planner: valid until its
 * next call, for the thread that made it. */
DFX_API const char* dfx_planner_error(const dfx_planner* planner);

typedef struct dfx_planner_info {
  uint32_t struct_size;
  int32_t batch, horizon, action_dim, observation_dim; /* B, H, A, O */
  int32_t threads;
  int32_t locked;    /* its memory is */
  int64_t dissolved; /* plans that the caller finished alone, its threads having lost too much time */
  const char* isa;   /* static */
  int32_t replay;    /* numbers that dfx_plan.ran takes */
  int32_t
      groups; /* of trajectories that travel together; each may run other denoising steps where it gets late */
  int32_t situations; /* E */
} dfx_planner_info;

DFX_API dfx_status dfx_planner_get_info(const dfx_planner* planner, dfx_planner_info* info);
enum {
  DFX_BRIEFLY =
      -1 /* instead of a rest: from a few denoising steps, for a first plan that has a deadline itself */
};

/* Measures what denoising steps cost here, in some 30 plans, resting so long before each: a plan after a rest takes
 * longer than one in a tight loop. Plans with a deadline correct it. Not for the control loop: it sleeps. */
DFX_API dfx_status dfx_planner_calibrate(dfx_planner* planner, int64_t rest_ns);

/* ---- threads ---- */

enum {
  DFX_PIN = 1,       /* to `core` */
  DFX_LOCK_STACK = 2 /* 256 KiB of its stack from here on are touched, and locked (mlock) */
};

typedef struct dfx_thread {
  uint32_t struct_size;
  uint32_t flags; /* DFX_PIN, DFX_LOCK_STACK */
  int32_t core;
  int32_t fifo; /* priority of SCHED_FIFO, 1 .. 99; 0: the scheduling stays as it is */
} dfx_thread;

/* Makes the calling thread one that plans on time. Before dfx_planner_open, so that its other threads follow. All that
 * can be done is done; DFX_SYSTEM if something was refused, and `error` says what to raise. */
DFX_API dfx_status dfx_thread_apply(const dfx_thread* thread, char* error, size_t error_size);

/* ---- executors ---- */

/* Acts while a thread of its own plans: dfx_executor_start once, then dfx_executor_step in every control step.
 *
 * A plan of the observation at step r is used from step r + delay on, from its row `delay`: counted in steps, never by a
 * clock, so the same steps give the same actions (Stepped of Python, to the bit). Meanwhile the plan in use goes on, and
 * what it will do until then is frozen in the new one. Where a plan does not come, the one in use goes on to its end,
 * whose last row is then held. */
typedef struct dfx_executor dfx_executor;

typedef enum dfx_freeze {
  DFX_FREEZE_AUTO = 0,    /* actions; states if they are what is followed */
  DFX_FREEZE_ACTIONS = 1, /* rows 0 .. delay - 1 */
  DFX_FREEZE_STATES = 2,  /* rows 1 .. delay + 1 */
  DFX_FREEZE_NONE = 3
} dfx_freeze;

typedef struct dfx_executor_options {
  uint32_t struct_size;
  int32_t delay;     /* control steps; 0: as many as hold the longest of three plans and a quarter more */
  int64_t period_ns; /* of a control step: for a delay or budget that is to be found */
  int64_t budget_ns; /* of a plan; 0: none; -1: nine tenths of delay * period_ns */
  int32_t min_rows;  /* of a plan with a budget; 0: 4 */
  int32_t replan;    /* steps between two plans' observations at least; 0: 1 */
  int32_t freeze;    /* dfx_freeze */
  int32_t follows;   /* not 0: the planned observations are followed by the caller, and seams are theirs */
  int32_t warm_rows; /* plans start from the last one and run so many denoising steps; 0: they do not */
  int32_t watchdog;  /* a plan that is so many steps overdue is cancelled; 0: never */
  double max_seam;   /* a late plan with a larger seam is dropped; 0: none is */
  uint64_t seed;     /* plans are numbered from 0 */
  const dfx_thread* thread; /* what the planning thread asks of the system, or NULL */
} dfx_executor_options;

/* options: period_ns or delay has to be said. The planner, of one situation, must stay open for longer, and is not to be
 * used meanwhile. */
DFX_API dfx_status dfx_executor_open(dfx_planner* planner, const dfx_executor_options* options, char* error,
                                     size_t error_size, dfx_executor** executor);
/* Ends its thread after the denoising step at hand. */
DFX_API void dfx_executor_close(dfx_executor* executor);
/* Plans once, in the calling thread, and begins; a thread is started. Again: another episode. conditions: beside the
 * observation at time 0, for every plan until others are given; copied. */
DFX_API dfx_status dfx_executor_start(dfx_executor* executor, const double* observation,
                                      const dfx_condition* conditions, int32_t n_conditions, char* error,
                                      size_t error_size);
/* Others from the next plan on. For the thread that calls step; allocates nothing, and takes all of them or none. */
DFX_API dfx_status dfx_executor_set_conditions(dfx_executor* executor, const dfx_condition* conditions,
                                               int32_t n_conditions);

typedef enum dfx_source {
  DFX_SOURCE_PLAN = 0,    /* the plan in use is in time */
  DFX_SOURCE_SHIFTED = 1, /* one is overdue, or was dropped or failed; the older one goes on */
  DFX_SOURCE_HOLD = 2     /* that has ended */
} dfx_source;

typedef struct dfx_step {
  uint32_t struct_size;
  int32_t source;      /* dfx_source */
  int32_t index;       /* row of the plan in use */
  int32_t age;         /* steps since its observation */
  int32_t late;        /* steps that the plan being made is overdue */
  int32_t came_status; /* dfx_status of the plan that has come in this step */
  int64_t number;      /* of the plan in use */
  int64_t began, came; /* numbers of plans that were begun in this step, and that have come; -1: none */
  double
      seam; /* where a new plan is taken over: how far it departs from the old one in its first row that is not
                           frozen, the largest difference in normalised units; else NaN */
  const float* action;                 /* [A]: what to do now */
  const float *actions, *observations; /* [H, A], [H, O] of the plan in use. All three until the next step */
} dfx_step;

/* The next step, given its observation [O], or NULL where there is no new one; one that is not finite is taken as none.
 * Wait-free, in constant time, without allocation; the only system call wakes the planning thread when a plan is begun. */
DFX_API dfx_status dfx_executor_step(dfx_executor* executor, const double* observation, dfx_step* step);
/* Whether no plan is being made: none was begun, or the last one has come. */
DFX_API int32_t dfx_executor_idle(const dfx_executor* executor);
/* Ends the thread; start begins anew. */
DFX_API void dfx_executor_stop(dfx_executor* executor);

typedef struct dfx_executor_info {
  uint32_t struct_size;
  int32_t delay;                       /* control steps */
  int64_t budget_ns;                   /* of a plan; 0: none */
  int64_t by_source[3];                /* steps since start, by dfx_source */
  int64_t used, late, dropped, failed; /* plans; late: used after their step */
  int64_t observations_not_taken, watchdog;
  int64_t longest_ns; /* of the plans that came */
  int32_t error;      /* dfx_status of the last plan that failed, or DFX_OK; dfx_executor_error says why */
} dfx_executor_info;

/* For the thread that calls step. */
DFX_API dfx_status dfx_executor_get_info(const dfx_executor* executor, dfx_executor_info* info);
DFX_API const char* dfx_executor_error(const dfx_executor* executor);

#ifdef __cplusplus
}
#endif
#endif /* DIFFUSER_FAST_H */

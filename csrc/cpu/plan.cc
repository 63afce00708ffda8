// A plan, from its arguments to its status: who makes it, and what happens when it ends early.
#include <algorithm>
#include <cstring>

#include "affinity.h"
#include "clock.h"
#include "engine.h"
#include "floating_point.h"

namespace df {
namespace {

constexpr int64_t kAskEvery = 50000000;  // nanoseconds
constexpr int64_t kRest =
    20000000;  // that a caller is alone before it shares a plan again, twice as long each time

// Indices of values by value, descending and stable, what is no number last; merge sort in `ranks`, twice n long.
void rank(const float* values, int n, int64_t* ranks, int64_t* order) {
  const auto before = [&](int64_t i, int64_t j) {  // i goes before j, which came later
    return !(values[j] > values[i]) && !(values[i] != values[i] && values[j] == values[j]);
  };
  int64_t *from = ranks, *to = ranks + n;
  for (int i = 0; i < n; ++i) from[i] = i;
  for (int width = 1; width < n; width *= 2) {
    for (int low = 0; low < n; low += 2 * width) {
      const int middle = std::min(low + width, n), high = std::min(low + 2 * width, n);
      int i = low, j = middle;
      for (int k = low; k < high; ++k)
        to[k] = i < middle && (j >= high || before(from[i], from[j])) ? from[i++] : from[j++];
    }
    std::swap(from, to);
  }
  std::copy_n(from, n, order);
}

// What is wrong, in a sentence, or NULL.
const char* wrong_tables(const df_program* program, const df_tables& given, const df_tables& own, int batch) {
  if (!program) return given.per_step || given.per_sample ? "guide_tables: the loop has no guide" : nullptr;
  if (program->table_width == 0) return nullptr;
  if (given.per_sample && !given.per_step) return "tables: per_sample without per_step";
  if (!given.per_step && !own.per_step) return "tables: neither the loop nor the plan has them";
  if (given.per_step && given.samples != 1 && given.samples != batch) return "tables: samples must be 1 or N";
  return nullptr;
}

const char* wrong(const df_loop& d, const df_args& a) {
  if (!a.mask) return "mask: NULL";
  if (!a.inpaint_values) return "inpaint_values: NULL";
  if (a.inpaint_batch != 1 && a.inpaint_batch != d.batch) return "inpaint_batch: must be 1 or N";
  if (a.start < 0 || a.start > d.rows) return "start: must be in 0 .. R";
  if (a.candidates < 1 || d.batch % a.candidates != 0) return "candidates: must divide N";
  if (!a.x_out) return "x_out: NULL";
  if (!a.values) return "values: NULL";
  if (!a.order) return "order: NULL";
  if (a.start == d.rows) return nullptr;
  if (a.schedule && a.start != 0) return "start: must be 0 with a schedule";
  if (a.schedule && a.tape && a.schedule->skipped != 0) return "tape: a schedule may not skip any of it";
  const char* found = wrong_tables(d.denoiser, a.denoiser_tables, d.denoiser_tables, d.batch);
  return found ? found : wrong_tables(d.gradient, a.guide_tables, d.guide_tables, d.batch);
}

bool borrows(const df_args& a) { return a.tape || a.denoiser_tables.per_step || a.guide_tables.per_step; }

}  // namespace

bool sample(Engine& engine, const Group& group, Space& space, int thread, bool caller, void* call);  // run.cc

bool Engine::stopped(PlanCall& call, bool caller) {
  if (call.stopped.load(std::memory_order_relaxed)) return true;
  if (!caller) return false;
  bool stop = cancelled_.load(std::memory_order_relaxed);
  if (!stop && call.args.interrupted) {
    const int64_t now = now_ns();
    if (now - call.asked >= kAskEvery) {
      stop = call.args.interrupted(call.args.interrupted_argument) != 0;
      call.asked = now_ns();
    }
  }
  if (stop) call.stopped.store(true, std::memory_order_relaxed);
  return stop;
}

void Engine::begin(PlanCall& call, const df_args& args, const float* mask, int failed, Progress* progress) {
  call.args = args;
  if (args.schedule) {
    call.schedule = *args.schedule;
    call.args.schedule = &call.schedule;
  }
  call.mask = mask;
  call.progress = progress;
  call.shared = false;
  call.regroup = INT64_MAX;
  call.parted = false;
  call.failed.store(failed, std::memory_order_relaxed);
  call.stopped.store(false, std::memory_order_relaxed);
  call.asked = now_ns();
}

// In memory of the team's own; the answer is copied out when all have finished, or what of it is finished.
Engine::Outcome Engine::plan_in_team(const df_args& args, bool begins, int failed) {
  Team& team = *team_;
  // Nobody is in there: that is what claiming the pool means. So the team's memory is written once it has been claimed.
  if (!join_team()) return Outcome::kRefused;
  df_args own = args;
  std::copy_n(args.inpaint_values, args.inpaint_batch * elements, team.inpaint.data());
  own.inpaint_values = team.inpaint.data();
  if (begins) {
    team.progress.first = 0;
    team.progress.row = args.start;
  }
  if (args.x && begins) std::copy_n(args.x, desc.batch * elements, team.x.data());
  own.x = args.x ? team.x.data() : nullptr;
  own.x_out = team.x.data();
  own.values = team.values.data();
  std::copy_n(mask_.data(), elements, team.mask.data());
  const int finished = team.progress.first;
  begin(team.call, own, team.mask.data(), failed, &team.progress);
  team.call.shared = true;
  const Outcome outcome = run_in_team(sample, &team.call, Barrier::kMostLost);
  const int until = outcome == Outcome::kDone ? desc.batch : team.progress.first;
  std::copy(team.x.data() + finished * elements, team.x.data() + until * elements,
            args.x_out + finished * elements);
  std::copy(team.values.data() + finished, team.values.data() + until, args.values + finished);
  if (outcome != Outcome::kDone && args.chain) wait_until_alone();  // they write into it
  return outcome;
}

// By all threads, and by the caller alone where they have lost too much time: for a while, if the plan is a long one.
PlanCall& Engine::plan_shared(const df_args& args) {
  const int64_t start = now_ns();
  int64_t rest = kRest;
  int failed = desc.rows;
  bool team = adaptive_threading_.intra_op(), lost = false;
  for (PlanCall* call = &apart_;;) {
    const Outcome outcome = team ? plan_in_team(args, !lost, failed) : Outcome::kRefused;
    const bool dissolved = outcome == Outcome::kDissolved;
    if (outcome == Outcome::kDone || (dissolved && team_->call.stopped)) {
      call = &team_->call;
    } else {
      if (dissolved) {
        lost = true;
        failed = team_->call.failed.load(std::memory_order_relaxed);
        resumed.store(team_->progress.row, std::memory_order_relaxed);
      }
      begin(apart_, args, mask_.data(), failed, lost ? &team_->progress : nullptr);
      if (dissolved) apart_.regroup = now_ns() + rest;
      rest *= 2;
      run_apart(sample, &apart_);
      if (apart_.parted) {
        failed = apart_.failed.load(std::memory_order_relaxed);
        leave_team();
        continue;
      }
    }
    if (lost) dissolved_plans.fetch_add(1, std::memory_order_relaxed);
    if (!call->stopped) learn(team, outcome, static_cast<double>(now_ns() - start) * 1e-9);
    return *call;
  }
}

// For the next plan: whether threads are worth their while. Outcome: how it ended, whatever was before. A pool that was
// not to be had says nothing.
void Engine::learn(bool team, Outcome outcome, double seconds) {
  if (outcome == Outcome::kDissolved) return adaptive_threading_.dissolved();
  if (team && outcome == Outcome::kRefused) return;
  const double lost = team ? static_cast<double>(team_->barrier.lost()) * 1e-9 : 0;
  adaptive_threading_.after(seconds, lost / (seconds * threads_));
}

int32_t Engine::plan(const df_args& args, int32_t* failed) {
  const FloatingPoint mode;
  const Pinned pinned(cores.empty() ? -1 : cores[0]);
  cancelled_.store(false, std::memory_order_relaxed);
  const uint32_t ones = 0xFFFFFFFFu;
  for (int64_t i = 0; i < elements; ++i) {
    mask_[i] = 0;
    if (args.mask[i]) std::memcpy(&mask_[i], &ones, sizeof ones);
  }
  if (!intra_op_) {
    begin(apart_, args, mask_.data(), desc.rows, nullptr);
    run_apart(sample, &apart_);
  }
  PlanCall& call = intra_op_ ? plan_shared(args) : apart_;
  if (borrows(args)) wait_until_alone();  // they read what is the caller's
  leave_team();
  const bool stopped = call.stopped.load(std::memory_order_relaxed);
  const int first = call.failed.load(std::memory_order_relaxed);
  apart_.args = df_args{};
  if (stopped) return DF_CANCELLED;
  for (int i = 0; i < desc.batch; i += args.candidates) {
    rank(args.values + i, args.candidates, ranks_.data(), args.order + i);
  }
  if (first == desc.rows) return DF_OK;
  *failed = first;
  return DF_NOT_FINITE;
}

}  // namespace df

extern "C" int32_t df_plan(df_engine* handle, const df_args* args, int32_t* detail, const char** sentence) {
  df::Engine* const engine = reinterpret_cast<df::Engine*>(handle);
  const char* wrong = !engine ? "engine: NULL" : !args ? "args: NULL" : df::wrong(engine->desc, *args);
  if (!wrong && args->schedule) {
    wrong = df::wrong_schedule(*args->schedule, engine->desc.rows, engine->groups(), engine->desc.rows);
  }
  if (sentence) *sentence = wrong;
  if (detail) *detail = -1;
  if (wrong) return DF_ARGUMENT;
  if (!engine->hold()) return DF_BUSY;
  int32_t failed = -1;
  const int32_t status = engine->plan(*args, &failed);
  if (detail) *detail = failed;
  engine->release();
  return status;
}

extern "C" void df_cancel(df_engine* engine) {
  if (engine) reinterpret_cast<df::Engine*>(engine)->cancel();
}

#include "planner.h"

#include <algorithm>
#include <cerrno>
#include <cfloat>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <numeric>

#include "../cpu/clock.h"
#include "../cpu/floating_point.h"
#include "../cpu/memory.h"
#include "../cpu/pool.h"
#include "ops.gen.h"
#include "refused.h"
#include "structs.h"

namespace df {
namespace {

constexpr int32_t kMostPlans = 1 << 20;

int32_t or_default(int32_t given, int32_t standard) { return given ? given : standard; }

const Variant& variant_for(const Bundle& bundle, int32_t batch, int32_t horizon) {
  const Variant* const found = bundle.variant(batch, horizon);
  if (!found) {
    refuse(DFX_UNSUPPORTED, "batch, horizon: this bundle has none of " + std::to_string(batch) +
                                " plans at horizon " + std::to_string(horizon));
  }
  return *found;
}

}  // namespace

Planner::Planner(const Bundle& bundle, const dfx_options& options)
    : bundle_(bundle),
      situations_(or_default(options.situations, 1)),
      batch_(or_default(options.batch, static_cast<int32_t>(bundle.size(kSizeBatch)))),
      count_(static_cast<int32_t>(std::clamp<int64_t>(int64_t{situations_} * batch_, -1, kMostPlans + 1))),
      horizon_(or_default(options.horizon, bundle.variants[0].horizon)),
      depth_(bundle.depth()),
      entries_(bundle.tensors().f64("rows.entries", int64_t{bundle.rows()} * 2)),
      choices_(bundle.choices()),
      columns_(bundle.tensors().f32("rows.columns", int64_t{bundle.menu_rows()} * kColumns)),
      training_steps_(bundle.training_steps()),
      guide_steps_(bundle.tensors().i32("rows.guide_steps", bundle.menu_rows())),
      costs_({}, 1),
      schedule_(bundle.paths()) {
  if (batch_ < 1 || batch_ > kMostPlans)
    refuse(DFX_ARGUMENT, "options.batch: found " + std::to_string(batch_));
  if (situations_ < 1 || count_ > kMostPlans)
    refuse(DFX_ARGUMENT, "options.situations: found " + std::to_string(situations_));
  if (horizon_ < 1) refuse(DFX_ARGUMENT, "options.horizon: found " + std::to_string(horizon_));
  if (options.threads < 0 || options.threads > 4096)
    refuse(DFX_ARGUMENT, "options.threads: found " + std::to_string(options.threads));
  if (options.flags & ~uint32_t{DFX_LOCK_MEMORY}) refuse(DFX_ARGUMENT, "options.flags: an unknown one");
  const df_loop loop = bundle.loop(variant_for(bundle, count_, horizon_), count_);
  df_cpu_options cpu{};
  cpu.threads = or_default(options.threads, 1);
  if (options.n_cores < 0 || (options.n_cores > 0 && (!options.cores || options.n_cores < cpu.threads)) ||
      (options.n_cores == 0 && options.cores)) {
    refuse(DFX_ARGUMENT, "options.cores: expected one for each of " + std::to_string(cpu.threads) +
                             " threads, found " + std::to_string(options.n_cores));
  }
  cpu.cores = options.n_cores ? options.cores : nullptr;
  for (int32_t i = 0; i < options.n_cores; ++i) {
    if (options.cores[i] < 0)
      refuse(DFX_ARGUMENT, "options.cores: found " + std::to_string(options.cores[i]));
  }
  cpu.isa = options.isa;
  const int64_t elements = int64_t{horizon_} * depth_;
  mask_.resize(elements);
  other_mask_.resize(elements);
  inpaint_.resize(situations_ * elements);
  if (situations_ > 1) inpaints_.resize(count_ * elements);
  timed_.resize(horizon_);
  x_.resize(count_ * elements);
  noised_.resize(count_ * elements);
  moved_.resize(situations_ * elements);
  all_rows_.resize(bundle.rows());
  std::iota(all_rows_.begin(), all_rows_.end(), 0);
  values_.resize(count_);
  order_.resize(count_);
  char error[256] = "";
  engine_ = df_open(&loop, &cpu, error, sizeof error);
  // All else has been checked: what is left is what this machine has not, cores and instruction sets, or memory.
  if (!engine_) refuse(std::strstr(error, "alloc") ? DFX_MEMORY : DFX_UNSUPPORTED, error);
  groups_ = df_groups(engine_);
  rows_.assign(int64_t{groups_} * bundle.rows(), -1);
  ran_ = rows_;
  cost_.resize(bundle.menu_rows());
  alone_cost_.resize(bundle.menu_rows());
  costs_ = Costs({loop.guide_steps, loop.guide_steps + loop.rows}, cpu.threads);
  schedule_.cost = cost_.data();
  schedule_.alone_cost = alone_cost_.data();
  schedule_.rows = rows_.data();
  schedule_.most = bundle.rows();
  schedule_.ran = ran_.data();
  expected_.resize(groups_);
  schedule_.expected = expected_.data();
  if (options.flags & DFX_LOCK_MEMORY) {
    locked_ = lock_memory(bundle.memory(), bundle.bytes()) && df_lock(engine_);
    if (!locked_) {
      const std::string why = std::strerror(errno);
      df_close(engine_);
      refuse(DFX_SYSTEM, "options.flags: memory cannot be locked (" + why + "); raise the limit `ulimit -l`");
    }
  }
}

Planner::~Planner() { df_close(engine_); }

bool Planner::hold() {
  const uint32_t now = fork_generation();
  uint32_t seen = held_.load(std::memory_order_relaxed);
  return seen != now && held_.compare_exchange_strong(seen, now, std::memory_order_acquire);
}

dfx_status Planner::say(dfx_status status, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(error_, sizeof error_, format, arguments);
  va_end(arguments);
  return status;
}

dfx_status Planner::inpaint(const dfx_condition& c, int32_t index, uint8_t* mask, float* values,
                            uint32_t* notes) {
  const int32_t t = c.time < 0 ? c.time + horizon_ : c.time, o = bundle_.observation_dim();
  const int64_t at = int64_t{t} * depth_ + bundle_.size(kSizeObservationsAt);
  if (t < 0 || t >= horizon_) {
    return say(DFX_ARGUMENT, "conditions[%d].time: %d is outside the horizon %d", index, c.time, horizon_);
  }
  if (timed_[t]) return say(DFX_ARGUMENT, "conditions[%d].time: %d is there twice", index, c.time);
  if (!c.observation) return say(DFX_ARGUMENT, "conditions[%d].observation: NULL", index);
  timed_[t] = 1;
  for (int32_t d = 0; d < o; ++d) {
    if (c.given && !c.given[d]) continue;
    const double x = c.observation[d];
    if (!std::isfinite(x)) return say(DFX_ARGUMENT, "conditions[%d].observation[%d]: not finite", index, d);
    if (bundle_.observations.outside(d, x)) *notes |= DFX_CLIPPED;
    const double normal = bundle_.observations.normalize(d, x);
    if (!(std::fabs(normal) <= FLT_MAX)) {
      return say(DFX_ARGUMENT,
                 "conditions[%d].observation[%d]: %.3g is too large for float32 once normalised", index, d,
                 x);
    }
    mask[at + d] = 1;
    values[at + d] = static_cast<float>(normal);
  }
  return DFX_OK;
}

dfx_status Planner::inpaint(const dfx_condition* conditions, int32_t n, uint32_t* notes) {
  std::fill(mask_.begin(), mask_.end(), 0);
  std::fill(inpaint_.begin(), inpaint_.end(), 0.0f);
  const int64_t elements = int64_t{horizon_} * depth_;
  const char* at = reinterpret_cast<const char*>(conditions);
  uint32_t stride = 0;
  for (int64_t i = 0; i < int64_t{n} * situations_; ++i, at += stride) {
    const int32_t situation = static_cast<int32_t>(i / n);
    uint8_t* const mask = situation == 0 ? mask_.data() : other_mask_.data();
    if (i % n == 0) {
      std::fill(timed_.begin(), timed_.end(), 0);
      if (situation > 0) std::fill(other_mask_.begin(), other_mask_.end(), 0);
    }
    uint32_t size;
    std::memcpy(&size, at, sizeof size);
    if (i > 0 && size != stride)
      return say(DFX_ARGUMENT, "conditions[%lld].struct_size: not that of the first",
                 static_cast<long long>(i));
    const dfx_condition c =
        taken(reinterpret_cast<const dfx_condition*>(at), sizeof(dfx_condition), "condition");
    stride = c.struct_size;
    float* const values = inpaint_.data() + situation * elements;
    const dfx_status status = inpaint(c, static_cast<int32_t>(i), mask, values, notes);
    if (status != DFX_OK) return status;
    if (situation > 0 && i % n == n - 1 && mask_ != other_mask_)
      return say(DFX_ARGUMENT, "conditions: situation %d has others than the first", situation);
  }
  return DFX_OK;
}

dfx_status Planner::fits(const dfx_plan& plan) {
  const size_t steps = static_cast<size_t>(count_) * horizon_;
  const struct {
    const char* name;
    const float* given;
    size_t found, needed;
  } all[] = {{"actions", plan.actions, plan.n_actions, steps * bundle_.action_dim()},
             {"observations", plan.observations, plan.n_observations, steps * bundle_.observation_dim()},
             {"values", plan.values, plan.n_values, static_cast<size_t>(count_)},
             {"ran", reinterpret_cast<const float*>(plan.ran), plan.n_ran, ran_.size()},
             {"last", plan.last, plan.n_last, moved_.size()}};
  for (const auto& one : all) {
    if (one.given && one.found < one.needed) {
      return say(DFX_ARGUMENT, "plan.n_%s: found %zu, expected at least %zu", one.name, one.found,
                 one.needed);
    }
  }
  return DFX_OK;
}

dfx_status Planner::plan(const dfx_request& request, const dfx_condition* conditions, dfx_plan* plan) {
  const int64_t started = now_ns();
  const FloatingPoint mode;
  if (request.n_conditions < 0 || request.n_conditions > horizon_) {
    return say(DFX_ARGUMENT, "request.n_conditions: found %d, expected 0 to %d", request.n_conditions,
               horizon_);
  }
  if (request.n_conditions && !conditions) return say(DFX_ARGUMENT, "request.conditions: NULL");
  if (const dfx_status status = fits(*plan); status != DFX_OK) return status;
  uint32_t notes = 0;
  if (const dfx_status status = inpaint(conditions, request.n_conditions, &notes); status != DFX_OK)
    return status;
  if (const dfx_status status = freeze(request, &notes); status != DFX_OK) return status;
  if (const dfx_status status = starts(request); status != DFX_OK) return status;
  if (const dfx_status status = choose(request); status != DFX_OK) return status;
  const int64_t began = now_ns();
  if (choice_ == kShifted) {
    shifted(request);
  } else {
    const int64_t deadline = request.deadline_ns ? ends_by(request.deadline_ns) : 0;
    const float* const x = request.last ? noised(request) : nullptr;
    const dfx_status status = run(request.seed, request.number, deadline, x);
    if (status != DFX_OK) return status;
  }
  const bool judged = request.deadline_ns && choice_ != kShifted;
  if (judged) learn(static_cast<double>(now_ns() - began) * 1e-9);
  for (const float value : values_) {
    if (!std::isfinite(value)) return say(DFX_NOT_FINITE, "the value of a plan is not finite");
  }
  give(*plan);
  restore(request, *plan);
  ended(plan);
  plan->notes = notes;
  plan->started_ns = started;
  plan->ended_ns = now_ns();
  plan->deadline_met = request.deadline_ns == 0 || plan->ended_ns <= request.deadline_ns;
  if (judged) answered(plan->ended_ns);
  return DFX_OK;
}

dfx_status Planner::run(uint64_t seed, uint32_t number, int64_t deadline, const float* x) {
  schedule_.deadline = deadline;
  if (deadline) {
    costs_.nanoseconds(Costs::kShared, cost_.data());
    costs_.nanoseconds(Costs::kAlone, alone_cost_.data());
    schedule_.once = static_cast<int64_t>(costs_.once() * 1e9);
  }
  dissolved_ = df_dissolved(engine_);
  df_args args{};
  args.mask = mask_.data();
  args.inpaint_values = inpaint_.data();
  args.inpaint_batch = 1;
  if (situations_ > 1) {
    const int64_t elements = int64_t{horizon_} * depth_;
    for (int32_t n = 0; n < count_; ++n)
      std::copy_n(inpaint_.data() + n / batch_ * elements, elements, inpaints_.data() + n * elements);
    args.inpaint_values = inpaints_.data();
    args.inpaint_batch = count_;
  }
  args.seed = seed;
  args.plan = number;
  args.candidates = batch_;
  args.x = x;
  args.schedule = &schedule_;
  args.x_out = x_.data();
  args.values = values_.data();
  args.order = order_.data();
  int32_t step;
  const char* sentence;
  const int32_t status = df_plan(engine_, &args, &step, &sentence);
  if (status == DF_CANCELLED) return say(DFX_CANCELLED, "cancelled between two denoising steps");
  if (status == DF_NOT_FINITE)
    return say(DFX_NOT_FINITE, "denoising step %d: the plan is no longer finite", step);
  if (status != DF_OK) return say(static_cast<dfx_status>(status), "%s", sentence ? sentence : "");
  return DFX_OK;
}

// Sorted, and in physical units.
void Planner::give(const dfx_plan& plan) {
  const int32_t a = bundle_.action_dim(), o = bundle_.observation_dim();
  const int64_t acting = bundle_.size(kSizeActionsAt), observing = bundle_.size(kSizeObservationsAt);
  const int64_t elements = int64_t{horizon_} * depth_;
  const bool whole = bundle_.size(kSizeClipArray) != 0;
  bool actions_beyond = false, observations_beyond = false;  // any plan's
  for (int32_t b = 0; whole && b < count_; ++b) {
    const float* const x = x_.data() + b * elements;
    actions_beyond |= bundle_.actions.beyond(x + acting, horizon_, depth_);
    observations_beyond |= bundle_.observations.beyond(x + observing, horizon_, depth_);
  }
  for (int32_t b = 0; b < count_; ++b) {
    const int64_t best = b / batch_ * batch_ + order_[b];
    const float* const x = x_.data() + best * elements;
    if (plan.actions) {
      const bool clip = whole ? actions_beyond : bundle_.actions.beyond(x + acting, horizon_, depth_);
      bundle_.actions.unnormalize(x + acting, horizon_, depth_, clip,
                                  plan.actions + int64_t{b} * horizon_ * a);
    }
    if (plan.observations) {
      const bool clip =
          whole ? observations_beyond : bundle_.observations.beyond(x + observing, horizon_, depth_);
      bundle_.observations.unnormalize(x + observing, horizon_, depth_, clip,
                                       plan.observations + int64_t{b} * horizon_ * o);
    }
    if (plan.values) plan.values[b] = values_[best];
    if (plan.last && b % batch_ == 0) std::copy_n(x, elements, plan.last + b / batch_ * elements);
  }
}

dfx_planner_info Planner::info() const {
  dfx_planner_info found{};
  found.batch = batch_;
  found.horizon = horizon_;
  found.action_dim = bundle_.action_dim();
  found.observation_dim = bundle_.observation_dim();
  found.threads = df_threads(engine_);
  found.locked = locked_;
  found.dissolved = df_dissolved(engine_);
  found.isa = df_isa(engine_);
  found.replay = static_cast<int32_t>(ran_.size());
  found.groups = groups_;
  found.situations = situations_;
  return found;
}

}  // namespace df

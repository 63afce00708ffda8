// The control thread's part of an executor: when a plan is begun, from which step on it is used, what is done meanwhile.
#include "executor.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>

#include "../cpu/floating_point.h"
#include "../cpu/pool.h"
#include "refused.h"
#include "structs.h"

namespace df {
namespace {

constexpr int32_t kMinRows = 4;
constexpr int64_t kMostPeriod = 3'600'000'000'000;  // an hour

void expect(bool good, const char* what, int64_t found, const char* expected) {
  if (good) return;
  refuse(DFX_ARGUMENT,
         std::string("options.") + what + ": found " + std::to_string(found) + ", expected " + expected);
}

}  // namespace

Executor::Executor(Planner& planner, const Bundle& bundle, const dfx_executor_options& options)
    : planner_(planner),
      bundle_(bundle),
      options_(options),
      horizon_(planner.info().horizon),
      a_(bundle.action_dim()),
      o_(bundle.observation_dim()),
      follows_(options.follows != 0),
      freeze_(options.freeze),
      delay_(options.delay),
      budget_(options.budget_ns) {
  if (planner.info().situations != 1)
    refuse(DFX_ARGUMENT, "planner: it plans for several situations, an executor for one");
  expect(delay_ >= 0 && delay_ < horizon_, "delay", delay_, "0 to H - 1");
  expect(options.period_ns >= 0 && options.period_ns <= kMostPeriod, "period_ns", options.period_ns,
         "0 to an hour");
  const bool found = delay_ == 0 || budget_ == -1;
  expect(options.period_ns > 0 || !found, "period_ns", 0,
         "the time of a control step, for delay 0 or budget_ns -1");
  expect(budget_ >= -1 && budget_ <= kMostPeriod, "budget_ns", budget_, "-1, 0 or nanoseconds");
  expect(options.min_rows >= 0, "min_rows", options.min_rows, "0 or more");
  expect(options.replan >= 0, "replan", options.replan, "0 or more");
  expect(freeze_ >= DFX_FREEZE_AUTO && freeze_ <= DFX_FREEZE_NONE, "freeze", freeze_, "one of dfx_freeze");
  expect(options.warm_rows >= 0 && options.warm_rows <= bundle.rows(), "warm_rows", options.warm_rows,
         "0 to R");
  expect(options.watchdog >= 0, "watchdog", options.watchdog, "0 or more");
  if (!(options.max_seam >= 0)) refuse(DFX_ARGUMENT, "options.max_seam: expected 0 or more");
  if (options.thread) {
    thread_options_ = taken(options.thread, sizeof(dfx_thread), "options.thread");
    options_.thread = &thread_options_;
  }
  if (options_.min_rows == 0) options_.min_rows = kMinRows;
  if (options_.replan == 0) options_.replan = 1;
  if (freeze_ == DFX_FREEZE_AUTO) freeze_ = follows_ ? DFX_FREEZE_STATES : DFX_FREEZE_ACTIONS;
  // All that steps and plans will need.
  const size_t h = horizon_;
  for (Made& made : plans_) {
    made.actions.resize(h * a_);
    made.observations.resize(h * o_);
    made.seams.resize(h);
  }
  const size_t batch = planner.info().batch;
  all_actions_.resize(batch * h * a_);
  all_observations_.resize(batch * h * o_);
  last_.resize(h * bundle.depth());
  asked_conditions_.resize(h);
  request_.values.resize(h * o_);
  request_.given.resize(h * o_);
  request_.times.resize(h);
  request_.prefix.resize(h * std::max(a_, o_));
  conditions_.reserve(h * o_);
  conditions_given_.reserve(h * o_);
  conditions_at_.reserve(h);
}

dfx_status Executor::set_conditions(const dfx_condition* conditions, int32_t n) {
  const auto say = [&](const char* what) {
    std::snprintf(error_, sizeof error_, "conditions: %s", what);
    return DFX_ARGUMENT;
  };
  if (n < 0 || n >= horizon_ || (n > 0 && !conditions)) return say("NULL, or not 0 to H - 1 of them");
  const char* at = nullptr;
  uint32_t stride = 0;
  for (int pass = 0; pass < 2; ++pass) {  // a look at all of them before anything is changed
    if (pass == 1) {
      conditions_.clear();
      conditions_given_.clear();
      conditions_at_.clear();
    }
    at = reinterpret_cast<const char*>(conditions);
    for (int32_t k = 0; k < n; ++k, at += stride) {
      uint32_t size;
      std::memcpy(&size, at, sizeof size);
      if (size < sizeof(dfx_condition) || size > kMostStruct || (k > 0 && size != stride))
        return say("struct_size");
      stride = size;
      dfx_condition c;
      std::memcpy(&c, at, sizeof c);
      const int64_t t = c.time < 0 ? int64_t{c.time} + horizon_ : c.time;
      if (t < 1 || t >= horizon_)
        return say("a time that is outside the horizon, or 0, which is the observation's");
      if (std::count(conditions_at_.begin(), conditions_at_.end(), t) && pass == 1)
        return say("a time that is there twice");
      if (!c.observation) return say("an observation that is NULL");
      for (int32_t d = 0; d < o_ && pass == 0; ++d) {
        if ((!c.given || c.given[d]) && !std::isfinite(c.observation[d]))
          return say("a number that is not finite");
      }
      if (pass == 0) continue;
      conditions_at_.push_back(static_cast<int32_t>(t));
      for (int32_t d = 0; d < o_; ++d) {
        const bool given = !c.given || c.given[d];
        conditions_given_.push_back(given);
        conditions_.push_back(given ? c.observation[d] : 0.0);
      }
    }
  }
  return DFX_OK;
}

// What is given of the plan begins there, but for its beginning.
int64_t Executor::free_until() const {
  int64_t found = horizon_;
  for (const int32_t t : conditions_at_) found = std::min<int64_t>(found, t);
  return found;
}

// The observation, then the conditions there are.
void Executor::fill(const double* observation) {
  Request& r = request_;
  std::copy_n(observation, o_, r.values.begin());
  std::fill_n(r.given.begin(), o_, uint8_t{1});
  r.times[0] = 0;
  std::copy(conditions_.begin(), conditions_.end(), r.values.begin() + o_);
  std::copy(conditions_given_.begin(), conditions_given_.end(), r.given.begin() + o_);
  std::copy(conditions_at_.begin(), conditions_at_.end(), r.times.begin() + 1);
  r.conditions = 1 + static_cast<int32_t>(conditions_at_.size());
}

// What the plan in use will do until the new one is used, as far as it reaches.
void Executor::promise(Request& r) const {
  r.prefix_length = 0;
  if (freeze_ == DFX_FREEZE_NONE) return;
  const bool actions = freeze_ == DFX_FREEZE_ACTIONS;
  const std::vector<float>& rows = actions ? plans_[using_].actions : plans_[using_].observations;
  const int64_t width = actions ? a_ : o_;
  const int64_t from = r.ago + (actions ? 0 : 1);
  const int64_t to = r.ago + (actions ? delay_ : std::min<int64_t>(delay_ + 2, free_until()));
  r.prefix_at = actions ? 0 : 1;
  r.prefix_length = static_cast<int32_t>(std::max<int64_t>(std::min<int64_t>(to, horizon_) - from, 0));
  std::copy_n(rows.begin() + from * width, r.prefix_length * width, r.prefix.begin());
}

void Executor::begin(int64_t i, const double* observation) {
  if (horizon_ <= delay_ + 1) return;
  fill(observation);
  Request& r = request_;
  r.ago = i - plans_[using_].step;
  r.old = &plans_[using_];
  r.warm_rows = options_.warm_rows;
  r.shift = static_cast<int32_t>(std::min<int64_t>(i - made_of_, horizon_));
  if (r.ago < horizon_) {
    promise(r);
  } else {
    r.prefix_length = 0;
  }
  Made& made = plans_[1 - using_];
  made.step = pending_step_ = i;
  made.number = number_++;
  pending_ = true;
  asked_at_ = i;
  asking_.store(++asked_, std::memory_order_release);
  wake(asking_);
}

void Executor::receive() {
  const Made& made = plans_[1 - using_];
  counts_.longest_ns = std::max(counts_.longest_ns, made.took);
  if (made.status != DFX_OK) {
    ++counts_.failed;
    counts_.error = made.status;
    std::snprintf(error_, sizeof error_, "%s", made.error);
    pending_ = false;
    shifting_ = true;
    return;
  }
  made_of_ = made.step;
  waiting_ = true;
}

// Uses the plan that has come, at its step; later if it came late. The seam, if it is used now.
double Executor::take_over(int64_t i) {
  const double none = std::numeric_limits<double>::quiet_NaN();
  const Made& made = plans_[1 - using_];
  if (!waiting_ || i < made.step + delay_) return none;
  waiting_ = pending_ = false;
  const int64_t row = i - made.step;
  const bool late = row > delay_;
  const double seam = made.seams[std::min<int64_t>(row, horizon_ - 1)];
  if (row >= horizon_ || (late && options_.max_seam > 0 && seam > options_.max_seam)) {
    ++counts_.dropped;
    shifting_ = true;
    return none;
  }
  ++counts_.used;
  counts_.late += late;
  using_ = 1 - using_;
  shifting_ = false;
  return seam;
}

dfx_status Executor::step(const double* observation, dfx_step* out) {
  if (!started_) {
    std::snprintf(error_, sizeof error_, "executor: dfx_executor_start comes first");
    return DFX_ARGUMENT;
  }
  if (process_ != fork_generation()) {
    std::snprintf(error_, sizeof error_, "executor: it belongs to the process that started it");
    return DFX_UNSUPPORTED;
  }
  const int64_t i = ++i_;
  bool seen = observation != nullptr;
  for (int32_t d = 0; d < o_ && seen; ++d) seen = std::isfinite(observation[d]);
  if (!seen) ++counts_.observations_not_taken;
  dfx_step s{};
  s.began = s.came = -1;
  if (pending_ && !waiting_ && answered_.load(std::memory_order_acquire) == asked_) {
    s.came = plans_[1 - using_].number;
    s.came_status = plans_[1 - using_].status;
    receive();
  }
  s.seam = take_over(i);
  const int64_t late = pending_ ? std::max<int64_t>(i - pending_step_ - delay_, 0) : 0;
  if (late) {
    shifting_ = true;
    if (late == options_.watchdog) {
      ++counts_.watchdog;
      planner_.cancel();
    }
  }
  if (!pending_ && seen && i > 0 && i - asked_at_ >= options_.replan) {
    begin(i, observation);
    if (pending_) s.began = plans_[1 - using_].number;
  }
  const Made& plan = plans_[using_];
  const int64_t age = i - plan.step;
  s.source = age >= horizon_ ? DFX_SOURCE_HOLD : shifting_ ? DFX_SOURCE_SHIFTED : DFX_SOURCE_PLAN;
  s.index = static_cast<int32_t>(std::min<int64_t>(age, horizon_ - 1));
  s.age = static_cast<int32_t>(std::min<int64_t>(age, INT32_MAX));
  s.late = static_cast<int32_t>(std::min<int64_t>(late, INT32_MAX));
  s.number = plan.number;
  s.actions = plan.actions.data();
  s.observations = plan.observations.data();
  s.action = s.actions + int64_t{s.index} * a_;
  ++counts_.by_source[s.source];
  given_back(s, out);
  return DFX_OK;
}

dfx_executor_info Executor::info() const {
  dfx_executor_info found = counts_;
  found.delay = delay_;
  found.budget_ns = std::max<int64_t>(budget_, 0);
  return found;
}

}  // namespace df

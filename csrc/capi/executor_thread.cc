// The planning thread of an executor, and the plan that start makes before there is one.
#include <signal.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "../cpu/clock.h"
#include "../cpu/floating_point.h"
#include "../cpu/pool.h"
#include "executor.h"
#include "refused.h"
#include "thread.h"

namespace df {
namespace {

constexpr int kTimed = 3;                  // plans that are timed where the delay is to be found
constexpr double kMargin = 1.25;           // of the longest of them
constexpr int64_t kMostRest = 50'000'000;  // nanoseconds, before each plan of a calibration
constexpr int64_t kNap = 10'000'000;       // while a thread that has been cancelled ends

}  // namespace

// What `work` does with the planner, which nobody else has meanwhile, and what the planner says if it is not DFX_OK.
template <class Work, size_t size>
dfx_status Executor::held(Work&& work, char (&error)[size]) {
  dfx_status status = DFX_BUSY;
  const char* text = dfx_status_string(status);
  const bool free = planner_.hold();
  if (free) {
    status = work();
    text = planner_.error();
  }
  if (status != DFX_OK) std::snprintf(error, size, "%s", text);
  if (free) planner_.release();
  return status;
}

// Plans of the best; its rows, and how far it departs from the one before.
void Executor::make(const Request& request, Made& made) {
  const FloatingPoint mode;
  const int64_t began = now_ns();
  made.status = held([&] { return plan(request, made); }, made.error);
  made.took = now_ns() - began;
  if (made.status == DFX_OK && request.old) find_seams(request, made);
}

dfx_status Executor::plan(const Request& r, Made& made) {
  for (int32_t k = 0; k < r.conditions; ++k) {
    asked_conditions_[k] = {sizeof(dfx_condition), r.times[k], r.values.data() + int64_t{k} * o_,
                            r.given.data() + int64_t{k} * o_};
  }
  dfx_request asked{};
  asked.struct_size = sizeof asked;
  asked.n_conditions = r.conditions;
  asked.seed = options_.seed;
  asked.number = static_cast<uint32_t>(made.number);
  if (budget_ > 0) {
    asked.deadline_ns = now_ns() + budget_;
    asked.min_rows = options_.min_rows;
  }
  if (r.prefix_length > 0) {
    (freeze_ == DFX_FREEZE_ACTIONS ? asked.prefix_actions : asked.prefix_observations) = r.prefix.data();
    asked.prefix_at = r.prefix_at;
    asked.prefix_length = r.prefix_length;
  }
  if (r.warm_rows > 0) {
    asked.last = last_.data();
    asked.n_last = last_.size();
    asked.warm_rows = r.warm_rows;
    asked.shift = r.shift;
  }
  dfx_plan found{};
  found.struct_size = sizeof found;
  found.actions = all_actions_.data();
  found.n_actions = all_actions_.size();
  found.observations = all_observations_.data();
  found.n_observations = all_observations_.size();
  found.last = last_.data();
  found.n_last = last_.size();
  if (const dfx_status status = planner_.plan(asked, asked_conditions_.data(), &found); status != DFX_OK)
    return status;
  std::copy_n(all_actions_.begin(), made.actions.size(), made.actions.begin());
  std::copy_n(all_observations_.begin(), made.observations.size(), made.observations.begin());
  const auto finite = [](float x) { return std::isfinite(x); };
  if (!std::all_of(made.actions.begin(), made.actions.end(), finite) ||
      !std::all_of(made.observations.begin(), made.observations.end(), finite))
    return planner_.say(DFX_NOT_FINITE, "the plan is not finite in physical units");
  return DFX_OK;
}

// For each row that it may be used from: the largest difference in its first row from there on that is not frozen.
void Executor::find_seams(const Request& r, Made& made) const {
  const Normalizer& normalizer = follows_ ? bundle_.observations : bundle_.actions;
  const std::vector<float>&old = follows_ ? r.old->observations : r.old->actions,
        &fresh = follows_ ? made.observations : made.actions;
  const int32_t width = follows_ ? o_ : a_;
  const int32_t frozen = r.prefix_length > 0 ? r.prefix_at + r.prefix_length : 0;
  for (int32_t k = 0; k < horizon_; ++k) {
    const int64_t row = std::min(std::max(k, frozen), horizon_ - 1);
    const int64_t before = std::min<int64_t>(row + r.ago, horizon_ - 1);
    double most = 0;
    for (int32_t d = 0; d < width; ++d) {
      most = std::max(most, std::fabs(normalizer.normalize(d, fresh[row * width + d]) -
                                      normalizer.normalize(d, old[before * width + d])));
    }
    made.seams[k] = most;
  }
}

void Executor::choose_delay() {
  Made& made = plans_[1 - using_];
  if (delay_ == 0) {
    int64_t longest = 0;
    for (int n = 0; n <= kTimed; ++n) {
      made.number = 0;
      const int64_t budget = budget_;
      budget_ = 0;
      make(request_, made);
      budget_ = budget;
      if (made.status != DFX_OK) refuse(made.status, made.error);
      if (n > 0) longest = std::max(longest, made.took);
    }
    double held = kMargin * static_cast<double>(longest);
    if (budget_ > 0) held = std::min(held, kMargin * static_cast<double>(budget_));
    const double steps = std::ceil(held / static_cast<double>(options_.period_ns));
    delay_ = static_cast<int32_t>(std::clamp(steps, 1.0, static_cast<double>(horizon_ - 1)));
  }
  if (budget_ == -1) budget_ = static_cast<int64_t>(0.9 * static_cast<double>(delay_ * options_.period_ns));
  if (budget_ > 0 && !planner_.calibrated()) {
    char error[sizeof Made::error];
    const auto calibrate = [&] { return planner_.calibrate(std::min(options_.period_ns, kMostRest)); };
    if (const dfx_status status = held(calibrate, error); status != DFX_OK) refuse(status, error);
  }
}

void Executor::start(const double* observation, const dfx_condition* conditions, int32_t n) {
  stop();
  started_ = false;
  if (!observation) refuse(DFX_ARGUMENT, "observation: NULL");
  for (int32_t d = 0; d < o_; ++d) {
    if (!std::isfinite(observation[d]))
      refuse(DFX_ARGUMENT, "observation[" + std::to_string(d) + "]: not finite");
  }
  if (const dfx_status status = set_conditions(conditions, n); status != DFX_OK) refuse(status, error_);
  counts_ = dfx_executor_info{};
  error_[0] = 0;
  pending_ = waiting_ = shifting_ = false;
  made_of_ = asked_at_ = 0;
  i_ = -1;
  number_ = 1;
  fill(observation);
  request_.ago = 0;
  request_.old = nullptr;
  request_.prefix_length = request_.warm_rows = 0;
  choose_delay();
  Made& first = plans_[1 - using_];
  first.step = first.number = 0;
  make(request_, first);
  if (first.status != DFX_OK) refuse(first.status, first.error);
  using_ = 1 - using_;

  process_ = fork_generation();
  stopping_.store(false);
  refused_[0] = 0;
  // It ends with `answered` at what was asked: begun so, and waited for below.
  answered_.store(asked_ - 1);
  asking_.store(asked_);
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const int failed = pthread_create(&thread_, nullptr, main, this);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (failed) refuse(DFX_SYSTEM, std::string("the planning thread: ") + std::strerror(failed));
  running_ = true;
  while (answered_.load(std::memory_order_acquire) != asked_) sleep_while(answered_, asked_ - 1, kNap);
  if (refused_[0]) {
    stop();
    refuse(DFX_SYSTEM, std::string("options.") + refused_);
  }
  started_ = true;
}

void Executor::stop() {
  if (!running_) return;
  running_ = started_ = false;
  if (process_ != fork_generation()) return;  // a forked child has no such thread
  stopping_.store(true, std::memory_order_release);
  asking_.store(++asked_, std::memory_order_release);
  wake(asking_);
  // It sets `answered` when it has ended. A plan may begin after it was cancelled: again.
  for (uint32_t seen; (seen = answered_.load(std::memory_order_acquire)) != asked_;) {
    planner_.cancel();
    sleep_while(answered_, seen, kNap);
  }
  pthread_join(thread_, nullptr);
}

void* Executor::main(void* executor) {
  static_cast<Executor*>(executor)->work();
  return nullptr;
}

void Executor::work() {
#if defined(__linux__)
  pthread_setname_np(pthread_self(), "dfx-planning");
#endif
  if (options_.thread) {
    try {
      apply(*options_.thread);
    } catch (const Refused& refused) {
      std::snprintf(refused_, sizeof refused_, "%s", refused.text.c_str());
    }
  }
  uint32_t done = asking_.load(std::memory_order_acquire);
  answered_.store(done, std::memory_order_release);
  wake(answered_);  // start waits for it
  for (;;) {
    while (asking_.load(std::memory_order_acquire) == done) sleep_while(asking_, done, -1);
    done = asking_.load(std::memory_order_acquire);
    if (stopping_.load(std::memory_order_acquire)) break;
    // The control thread changes using_ when it has received this one, not before.
    make(request_, request_.old == &plans_[0] ? plans_[1] : plans_[0]);
    answered_.store(done, std::memory_order_release);
  }
  answered_.store(done, std::memory_order_release);
  wake(answered_);  // stop does
}

}  // namespace df

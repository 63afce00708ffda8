// Which denoising steps a plan begins with, and what became of it (diffuser_fast/planner/budget.py).
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <numeric>

#include "../cpu/clock.h"
#include "../cpu/floating_point.h"
#include "ops.gen.h"
#include "planner.h"

namespace df {
namespace {

constexpr int kTimed = 3;                    // plans of each kind that is measured
constexpr int kLearnt = 16;                  // of the least: what a plan takes beside its rows
constexpr int64_t kLongest = 2'000'000'000;  // nanoseconds of measuring, but for rests, of a large network

void sleep_ns(int64_t ns) {
  const int64_t until = now_ns() + ns;
  const timespec at{static_cast<time_t>(until / 1000000000), static_cast<long>(until % 1000000000)};
#if defined(__linux__)
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, nullptr) == EINTR) continue;
#else
  (void)at;
  const timespec left{static_cast<time_t>(ns / 1000000000), static_cast<long>(ns % 1000000000)};
  nanosleep(&left, nullptr);
#endif
}

}  // namespace

// Of a plan from noise those of the bundle; of one that starts on the way its own denoising steps, then what leads from the
// first of them to the end in fewer.
int32_t Planner::choices() const {
  if (start_ == 0) return choices_.count;
  return 1 + schedule_.first_path[start_ + 1] - schedule_.first_path[start_];
}

Planner::Rows Planner::choice(int32_t i) const {
  if (start_ == 0) return {choices_.all + choices_.at[i], choices_.at[i + 1] - choices_.at[i]};
  if (i == 0) return {all_rows_.data() + start_, bundle_.rows() - start_};
  const int32_t path = schedule_.first_path[start_] + i - 1;
  return {schedule_.path_rows + schedule_.path_at[path],
          schedule_.path_at[path + 1] - schedule_.path_at[path]};
}

void Planner::begin_with(int32_t i) {
  const Rows begun = choice(i);
  std::copy_n(begun.rows, begun.n, rows_.begin());
  std::fill(rows_.begin() + begun.n, rows_.begin() + bundle_.rows(), -1);
  schedule_.n_schedules = 1;
  schedule_.skipped = start_;
  choice_ = i;
}

// The best that fits into so many nanoseconds, else the cheapest that may be begun with; and whether any could be run in that
// time, in the end: the shortest path of its first row.
bool Planner::choice_for(double left, int32_t min_rows, int32_t* found) const {
  *found = 0;
  const int32_t all = choice(0).n;
  for (int32_t i = 0; i < choices(); ++i) {
    const Rows rows = choice(i);
    if (i > 0 && (rows.n < min_rows || (start_ > 0 && rows.n >= all))) continue;
    *found = i;
    if (cost(rows) <= left) return true;
  }
  return cost(least()) <= left;
}

// The shortest path from where a plan starts.
Planner::Rows Planner::least() const {
  const int32_t* const at = schedule_.path_at + schedule_.first_path[start_ + 1] - 1;
  return {schedule_.path_rows + at[0], at[1] - at[0]};
}

int32_t Planner::guide_steps(Rows rows) const {
  return std::accumulate(rows.rows, rows.rows + rows.n, 0,
                         [&](int32_t sum, int32_t row) { return sum + guide_steps_[row]; });
}

double Planner::cost(Rows rows) const { return costs_.plan(rows.n, guide_steps(rows), mode_); }

dfx_status Planner::choose(const dfx_request& request) {
  if (request.min_rows < 0) return say(DFX_ARGUMENT, "request.min_rows: found %d", request.min_rows);
  if (request.deadline_ns < 0) return say(DFX_ARGUMENT, "request.deadline_ns: negative");
  if (request.replay) return replay(request);
  if (!request.deadline_ns) {
    begin_with(0);
    return DFX_OK;
  }
  if (!costs_.known())
    return say(DFX_ARGUMENT, "request.deadline_ns: dfx_planner_calibrate has to be called first");
  mode_ = df_intra_op(engine_) && !df_shares(engine_) ? Costs::kAlone : Costs::kShared;
  const int64_t left = ends_by(request.deadline_ns) - now_ns();
  int32_t found;
  const bool fits = choice_for(static_cast<double>(left) * 1e-9, std::max(request.min_rows, 1), &found);
  begin_with(found);
  if (!fits && request.last) choice_ = kShifted;
  return DFX_OK;
}

// When the rows of a plan should be expected to end, for its answer to be there by the deadline.
int64_t Planner::ends_by(int64_t deadline) const {
  return std::max<int64_t>(deadline - static_cast<int64_t>(costs_.reserve(mode_) * 1e9), 1);
}

dfx_status Planner::replay(const dfx_request& request) {
  const size_t most = bundle_.rows();
  if (request.deadline_ns)
    return say(DFX_ARGUMENT, "request.replay: it says what is run; no deadline with it");
  if (request.n_replay != ran_.size())
    return say(DFX_ARGUMENT, "request.n_replay: found %zu, expected %zu", request.n_replay, ran_.size());
  std::copy_n(request.replay, request.n_replay, rows_.begin());
  for (int32_t& row : rows_) {  // the engine refuses what is not of the menu
    if (row < -1 || row >= bundle_.menu_rows()) return say(DFX_ARGUMENT, "request.replay: found %d", row);
  }
  schedule_.n_schedules = groups_;
  schedule_.skipped = start_;
  choice_ = kReplay;
  if (request.last && std::all_of(rows_.begin(), rows_.end(), [](int32_t row) { return row == -1; })) {
    choice_ = kShifted;
    return DFX_OK;
  }
  for (size_t at = 0; at < rows_.size(); at += most) {
    if (rows_[at] == -1) return say(DFX_ARGUMENT, "request.replay: no denoising step");
  }
  return DFX_OK;
}

int32_t Planner::finish_of(const int32_t* ran, int32_t n) const {
  const auto is = [&](int32_t i) {
    const Rows rows = choice(i);
    return rows.n == n && std::equal(ran, ran + n, rows.rows);
  };
  if (choice_ == kReplay ? is(0) : is(choice_)) return choice_ > 0 ? DFX_STRIDED : DFX_FULL;
  for (int32_t i = 1; choice_ == kReplay && i < choices(); ++i) {
    if (is(i)) return DFX_STRIDED;
  }
  const int32_t last = ran[n - 1];
  const bool clean = last >= bundle_.rows() && columns_[int64_t{last} * kColumns + kColumnB] == 0;
  const bool jumps = clean && training_steps_[last] > 0;
  return n == 1 || jumps ? DFX_FINISHING : DFX_RESTRIDED;
}

void Planner::ended(dfx_plan* plan) const {
  const int32_t most = bundle_.rows();
  plan->rows = choice_ == kShifted ? 0 : most;
  plan->finish = choice_ == kShifted ? DFX_SHIFTED : DFX_FULL;
  for (int32_t g = 0; g < groups_ && choice_ != kShifted; ++g) {
    const int32_t* const ran = ran_.data() + int64_t{g} * most;
    const int32_t n = static_cast<int32_t>(std::find(ran, ran + most, -1) - ran);
    plan->rows = std::min(plan->rows, n);
    plan->finish = std::max(plan->finish, finish_of(ran, n));  // the better first
  }
  if (plan->ran) std::copy(ran_.begin(), ran_.end(), plan->ran);
  plan->exactness = plan->finish == DFX_FULL && start_ == 0
                        ? static_cast<int32_t>(bundle_.size(kSizeExactness))
                        : DFX_APPROXIMATE;
}

void Planner::learn(double seconds) {
  if (groups_ != 1 || df_dissolved(engine_) != dissolved_) return;
  const int32_t n = static_cast<int32_t>(std::find(ran_.begin(), ran_.end(), -1) - ran_.begin());
  costs_.learn(ran_.data(), n, seconds, mode_);
}

// The answer is there.
void Planner::answered(int64_t at) {
  const int64_t expected = *std::max_element(expected_.begin(), expected_.end());
  costs_.answered(static_cast<double>(at - expected) * 1e-9, mode_);
}

dfx_status Planner::calibrate(int64_t rest_ns) {
  const FloatingPoint mode;
  const bool briefly = rest_ns == DFX_BRIEFLY;
  if ((rest_ns < 0 && !briefly) || rest_ns > 60'000'000'000)
    return say(DFX_ARGUMENT, "rest_ns: expected 0 to a minute, or DFX_BRIEFLY");
  if (briefly) rest_ns = 0;
  std::fill(mask_.begin(), mask_.end(), 0);
  start_ = 0;
  // The shortest (but of one row), some in between, the longest strided, and all denoising steps.
  std::vector<int32_t> kinds;
  for (int32_t i = choices() - 1; i >= 0; --i) {
    const int32_t n = choice(i).n;
    if ((n >= 2 && n <= 8 && kinds.size() < 4) || i <= 1) kinds.push_back(i);
  }
  if (kinds.empty()) kinds.push_back(0);
  if (briefly) kinds = {choices() - 1};  // the least
  const int times = briefly ? 1 : kTimed, learnt = briefly ? 0 : kLearnt;
  std::vector<Measured> measured;
  const int64_t began = now_ns();
  begin_with(kinds[0]);
  if (const dfx_status status = run(0, 0, 0, nullptr); status != DFX_OK) return status;  // touches its memory
  for (const int32_t kind : kinds) {
    int64_t took[kTimed];
    begin_with(kind);
    for (int i = 0; i < times; ++i) {
      if (rest_ns) sleep_ns(rest_ns);
      const int64_t start = now_ns();
      if (const dfx_status status = run(0, 0, 0, nullptr); status != DFX_OK) return status;
      took[i] = now_ns() - start;
    }
    std::sort(took, took + times);
    const Rows rows = choice(kind);
    measured.push_back({static_cast<double>(rows.n), static_cast<double>(guide_steps(rows)),
                        static_cast<double>(took[times / 2]) * 1e-9});
    if (now_ns() - began > kLongest + 20 * kTimed * rest_ns && measured.size() > 2) break;
  }
  if (briefly) {  // of one kind alone it is not known what it costs to begin: nothing
    const Measured& m = measured[0];
    measured.push_back({2 * m.rows, 2 * m.guide_steps, 2 * m.seconds});
  }
  costs_ = Costs({guide_steps_, guide_steps_ + bundle_.menu_rows()}, df_threads(engine_));
  costs_.fit(measured);
  // What it takes beside its rows is learnt from plans that are as late as can be.
  const int64_t learning = now_ns();
  begin_with(kinds[0]);
  for (int i = 0; i < learnt && now_ns() - learning <= kLongest + kLearnt * rest_ns; ++i) {
    if (rest_ns) sleep_ns(rest_ns);
    const int64_t start = now_ns();
    if (const dfx_status status = timed(1); status != DFX_OK) return status;
    const int64_t end = now_ns();
    learn(static_cast<double>(end - start) * 1e-9);
    answered(end);
  }
  return DFX_OK;
}

// The plan at hand, from noise, under the conditions at hand, by a deadline.
dfx_status Planner::timed(int64_t deadline) {
  mode_ = df_intra_op(engine_) && !df_shares(engine_) ? Costs::kAlone : Costs::kShared;
  return run(0, 0, deadline, nullptr);
}

}  // namespace df

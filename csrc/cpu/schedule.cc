#include "schedule.h"

#include <algorithm>

#include "clock.h"

namespace df {

void Schedule::begin(const df_schedule& given, int group, int left) {
  given_ = &given;
  const int32_t* const rows = given.rows + (given.n_schedules == 1 ? 0 : group) * int64_t{given.most};
  steps_.store(static_cast<int>(std::find(rows, rows + given.most, -1) - rows), std::memory_order_relaxed);
  std::copy_n(rows, steps(), rows_.data());
  if (given.deadline) {
    const int64_t start = now(0);
    deadline_ = start + (given.deadline - start) / left;
  }
}

void Schedule::follow(const df_schedule& given, const Schedule& other) {
  given_ = &given;
  deadline_ = other.deadline_;
  expected_ = other.expected_;
  steps_.store(other.steps(), std::memory_order_relaxed);
  std::copy_n(other.rows_.data(), steps(), rows_.data());
}

int64_t Schedule::now(int i) const {
  return given_->clock ? given_->clock(given_->clock_argument, i) : now_ns();
}

int64_t Schedule::cost(const int32_t* rows, int steps, bool alone) const {
  const int64_t* const of = alone ? given_->alone_cost : given_->cost;
  int64_t sum = 0;
  for (int i = 0; i < steps; ++i) sum += of[rows[i]];
  return sum;
}

void Schedule::decide(int i, bool alone) {
  if (!given_->deadline) return;
  const int64_t from = now(i) + (i == 0 ? given_->once : 0), left = deadline_ - from;
  const int64_t rest = cost(rows_.data() + i, steps() - i, alone);
  if (i == 0 || steps() - i > 1) expected_ = from + rest;
  if (rest <= left) return;
  const int32_t k = rows_[i];
  for (int path = given_->first_path[k]; path < given_->first_path[k + 1]; ++path) {
    const int32_t* const rows = given_->path_rows + given_->path_at[path];
    const int count = given_->path_at[path + 1] - given_->path_at[path];
    if (count > steps() - i) continue;
    const bool shortest = path + 1 == given_->first_path[k + 1];
    const int64_t other = cost(rows, count, alone);
    if (!shortest && other > left) continue;
    if (count < steps() - i || other < rest) expected_ = from + other;
    std::copy_n(rows, count, rows_.data() + i);
    steps_.store(i + count, std::memory_order_relaxed);
    return;
  }
}

void Schedule::tell(int group) const {
  if (given_->deadline && given_->expected) given_->expected[group] = expected_;
  if (!given_->ran) return;
  int32_t* const ran = given_->ran + group * int64_t{given_->most};
  std::copy_n(rows_.data(), steps(), ran);
  std::fill(ran + steps(), ran + given_->most, -1);
}

const char* wrong_schedule(const df_schedule& s, int rows, int groups, int most) {
  const auto outside = [&](int32_t row) { return row < 0 || row >= rows; };
  if (!s.rows || s.most < 1 || s.most > most) return "schedule: rows: NULL, or not 1 .. R of them";
  if (s.skipped < 0) return "schedule: skipped: negative";
  if (s.n_schedules != 1 && s.n_schedules != groups) return "schedule: must be one, or one for each group";
  for (int g = 0; g < s.n_schedules; ++g) {
    const int32_t* const own = s.rows + g * int64_t{s.most};
    const int32_t* const end = std::find(own, own + s.most, -1);
    if (end == own || std::any_of(own, end, outside)) return "schedule: a row is not one of the loop's";
  }
  if (!s.deadline) return nullptr;
  if (!s.cost || !s.alone_cost || !s.first_path || !s.path_at || !s.path_rows)
    return "schedule: a deadline without costs or paths";
  if (s.first_path[0] != 0 || s.path_at[0] != 0) return "schedule: paths do not begin at 0";
  if (s.once < 0) return "schedule: once: negative";
  for (int k = 0; k < rows; ++k) {
    if (s.cost[k] < 0 || s.alone_cost[k] < 0) return "schedule: a cost is negative";
    if (s.first_path[k + 1] < s.first_path[k] || s.first_path[k + 1] > s.n_paths)
      return "schedule: first_path";
  }
  for (int p = 0; p < s.n_paths; ++p) {
    if (s.path_at[p + 1] <= s.path_at[p] || s.path_at[p + 1] > s.n_path_rows) return "schedule: path_at";
  }
  if (std::any_of(s.path_rows, s.path_rows + s.n_path_rows, outside)) return "schedule: path_rows";
  return nullptr;
}

}  // namespace df

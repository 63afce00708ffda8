#include "costs.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace df {
namespace {

static_assert(kCostWindow == 64, "kMostPlans");

// The least squares of equations x = results in the unknowns that are used, by elimination of the normal equations.
void solve(const double (&a)[3][3], const double (&b)[3], const bool (&used)[3], double (&x)[3]) {
  double m[3][3], r[3];
  for (int i = 0; i < 3; ++i) {
    for (int j = 0; j < 3; ++j) m[i][j] = used[i] && used[j] ? a[i][j] : i == j;
    r[i] = used[i] ? b[i] : 0;
  }
  for (int i = 0; i < 3; ++i) {
    for (int j = i + 1; j < 3; ++j) {
      const double factor = m[j][i] / m[i][i];
      for (int k = i; k < 3; ++k) m[j][k] -= factor * m[i][k];
      r[j] -= factor * r[i];
    }
  }
  for (int i = 2; i >= 0; --i) {
    for (int k = i + 1; k < 3; ++k) r[i] -= m[i][k] * x[k];
    x[i] = r[i] / m[i][i];
  }
}

double median(std::vector<double> x) {
  std::sort(x.begin(), x.end());
  return (x[(x.size() - 1) / 2] + x[x.size() / 2]) / 2;
}

}  // namespace

Costs::Costs(std::vector<int32_t> guide_steps, int threads)
    : guide_steps_(std::move(guide_steps)),
      scale_{1, static_cast<double>(threads)},
      margin_{kCostLeastMargin, kCostLeastMargin} {}

void Costs::fit(const std::vector<Measured>& measured) {
  double a[3][3] = {}, b[3] = {};
  std::vector<double> each;
  for (const Measured& m : measured) {
    const double x[3] = {1 / m.seconds, m.rows / m.seconds, m.guide_steps / m.seconds};
    for (int i = 0; i < 3; ++i) {
      for (int j = 0; j < 3; ++j) a[i][j] += x[i] * x[j];
      b[i] += x[i];
    }
    each.push_back(m.seconds / m.rows);
  }
  const double alike = kCostAlike / median(each);
  a[1][1] += alike * alike;
  a[2][2] += alike * alike;
  a[1][2] -= alike * alike;
  a[2][1] -= alike * alike;
  for (int i = 0; i < 3; ++i) a[i][i] *= 1 + 1e-12;
  bool used[3] = {true, true, true};
  double x[3] = {};
  for (;;) {
    solve(a, b, used, x);
    const int worse = x[0] < x[2] ? 0 : 2;  // once and gradient are not negative
    if (x[worse] >= 0) break;
    used[worse] = false;
  }
  once_ = x[0];
  row_ = std::max(x[1], *std::min_element(each.begin(), each.end()) * kCostFloor);
  gradient_ = x[2];
  const auto [fewest, most] = std::minmax_element(guide_steps_.begin(), guide_steps_.end());
  least_ = row_ + gradient_ * *fewest;
  dearest_ = row_ + gradient_ * *most;
  for (int mode = 0; mode < kModes; ++mode) spread_[mode] = kCostFirstSpread * least_ * scale_[mode];
}

void Costs::nanoseconds(Mode mode, int64_t* out) const {
  for (size_t i = 0; i < guide_steps_.size(); ++i) {
    const double seconds = (row_ + gradient_ * guide_steps_[i]) * factor(mode);
    out[i] = static_cast<int64_t>(std::min(std::ceil(seconds * 1e9), 1e15));
  }
}

double Costs::reserve(Mode mode) const { return std::max(mean_[mode] + spread_[mode], 0.0); }

void Costs::learn(const int32_t* rows, int n, double seconds, Mode mode) {
  double known = 0;
  for (int i = 0; i < n; ++i) known += row_ + gradient_ * guide_steps_[rows[i]];
  const double predicted = once_ + known * scale_[mode], ratio = seconds / predicted;
  double* const beyond = beyond_[mode];
  beyond[seen_[mode]++ % kCostWindow] = std::max(ratio - 1, 0.0);
  const int plans = std::min(seen_[mode], kCostWindow);
  if (seen_[mode] == 2 * kCostWindow) seen_[mode] = kCostWindow;
  double sorted[kCostWindow];
  std::copy_n(beyond, plans, sorted);
  const int at = static_cast<int>(std::ceil(kCostQuantile * (plans - 1)));
  std::nth_element(sorted, sorted + at, sorted + plans);
  margin_[mode] = std::min(std::max(sorted[at], kCostLeastMargin), kCostMostMargin);
  const double wrong =
      kCostRate * (std::min(std::max(ratio, 0.5), 1.5) - 1) * predicted / (least_ * least_ + known * known);
  once_ = std::max(once_ + wrong * (least_ * least_), 0.0);
  scale_[mode] = std::max(scale_[mode] + wrong * known, 1e-3);
}

void Costs::answered(double beyond, Mode mode) {
  const double mean = met_[mode] ? mean_[mode] : beyond;
  const double away = beyond - mean, most = dearest_ * scale_[mode] + std::max(mean, 0.0);
  met_[mode] = true;
  mean_[mode] = mean + kCostRate * std::min(std::max(away, -most), most);
  const double kept = spread_[mode] * (1 - kCostForget);
  spread_[mode] = away > most ? kept : std::max(kept, std::min(kCostSafety * away, most));
}

}  // namespace df

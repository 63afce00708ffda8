#include "costs.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace df {
namespace {

constexpr double kLeastMargin = 0.05, kMostMargin = 0.5;  // of the cost; diffuser_fast/core/costs.py says why
constexpr double kRate = 1.0 / 8;                         // of the newest plan in the running mean

// The solution of a x = b, both overwritten, by elimination; a is symmetric and made definite by its caller.
void solve(double (&a)[3][3], double (&b)[3]) {
  for (int i = 0; i < 3; ++i) {
    for (int j = i + 1; j < 3; ++j) {
      const double factor = a[j][i] / a[i][i];
      for (int k = i; k < 3; ++k) a[j][k] -= factor * a[i][k];
      b[j] -= factor * b[i];
    }
  }
  for (int i = 2; i >= 0; --i) {
    for (int k = i + 1; k < 3; ++k) b[i] -= a[i][k] * b[k];
    b[i] /= a[i][i];
  }
}

}  // namespace

Costs::Costs(std::vector<int32_t> guide_steps, int threads)
    : guide_steps_(std::move(guide_steps)), scale_{1, static_cast<double>(threads)} {}

void Costs::fit(const std::vector<Measured>& measured) {
  double a[3][3] = {}, b[3] = {}, floor = std::numeric_limits<double>::max();
  for (const Measured& m : measured) {
    const double x[3] = {1, m.rows, m.guide_steps};
    for (int i = 0; i < 3; ++i) {
      for (int j = 0; j < 3; ++j) a[i][j] += x[i] * x[j];
      b[i] += x[i] * m.ns;
    }
    floor = std::min(floor, m.ns / m.rows / 10);  // no fit of noisy times may say that rows are free
  }
  const double ridge = 1e-9 * (a[0][0] + a[1][1] + a[2][2]);
  for (int i = 0; i < 3; ++i) a[i][i] += ridge;
  solve(a, b);
  once_ = std::max(b[0], 0.0);
  row_ = std::max(b[1], floor);
  gradient_ = std::max(b[2], 0.0);
}

double Costs::margin(Mode mode) const {
  const int n = std::min(seen_[mode], kWindow);
  if (n == 0) return kLeastMargin;
  float sorted[kWindow];
  std::copy_n(beyond_[mode], n, sorted);
  const int at = std::min(n - 1, static_cast<int>(std::ceil(0.9 * (n - 1))));
  std::nth_element(sorted, sorted + at, sorted + n);
  return std::clamp(static_cast<double>(sorted[at]), kLeastMargin, kMostMargin);
}

void Costs::rows(Mode mode, int64_t* out) const {
  const double factor = scale_[mode] * (1 + margin(mode));
  for (size_t i = 0; i < guide_steps_.size(); ++i)
    out[i] = static_cast<int64_t>(std::min(std::ceil((row_ + gradient_ * guide_steps_[i]) * factor), 1e15));
}

int64_t Costs::plan(const int32_t* rows, int n, const int64_t* costs) const {
  int64_t sum = static_cast<int64_t>(once_);
  for (int i = 0; i < n; ++i) sum += costs[rows[i]];
  return sum;
}

double Costs::of(const int32_t* rows, int n) const {
  double sum = 0;
  for (int i = 0; i < n; ++i) sum += row_ + gradient_ * guide_steps_[rows[i]];
  return sum;
}

void Costs::learn(const int32_t* rows, int n, double ns, Mode mode) {
  const double ratio = std::max(ns - once_, 0.0) / (of(rows, n) * scale_[mode]);
  beyond_[mode][seen_[mode]++ % kWindow] = static_cast<float>(std::max(ratio - 1, 0.0));
  if (seen_[mode] == 2 * kWindow) seen_[mode] = kWindow;
  // One plan that was held up says nothing about the next: that is what the margin is for.
  scale_[mode] *= 1 + kRate * (std::clamp(ratio, 0.5, 1.5) - 1);
}

}  // namespace df

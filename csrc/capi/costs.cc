#include "costs.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace df {
namespace {

// diffuser_fast/core/costs.py says what they are.
constexpr double kLeastMargin = 0.05, kMostMargin = 0.5, kRate = 1.0 / 8, kLate = 1e-3, kFirstReserve = 0.5,
                 kReserveStep = 0.25, kAlike = 0.1;

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
      reserve_{kFirstReserve, kFirstReserve},
      scale_{1, static_cast<double>(threads)} {}

void Costs::fit(const std::vector<Measured>& measured) {
  double a[3][3] = {}, b[3] = {};
  std::vector<double> each;
  for (const Measured& m : measured) {
    const double x[3] = {1 / m.ns, m.rows / m.ns, m.guide_steps / m.ns};
    for (int i = 0; i < 3; ++i) {
      for (int j = 0; j < 3; ++j) a[i][j] += x[i] * x[j];
      b[i] += x[i];
    }
    each.push_back(m.ns / m.rows);
  }
  const double alike = kAlike / median(each);
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
  row_ =
      std::max(x[1], *std::min_element(each.begin(), each.end()) / 5);  // no noise may say that rows are free
  gradient_ = x[2];
  least_ = row_ + gradient_ * *std::min_element(guide_steps_.begin(), guide_steps_.end());
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
  const double known = of(rows, n), predicted = once_ + known * scale_[mode], ratio = ns / predicted;
  beyond_[mode][seen_[mode]++ % kWindow] = static_cast<float>(std::max(ratio - 1, 0.0));
  if (seen_[mode] == 2 * kWindow) seen_[mode] = kWindow;
  const double wrong =
      kRate * (std::clamp(ratio, 0.5, 1.5) - 1) * predicted / (least_ * least_ + known * known);
  once_ = std::max(once_ + wrong * least_ * least_, 0.0);
  scale_[mode] = std::max(scale_[mode] + wrong * known, 1e-3);
}

void Costs::ended(bool late, Mode mode) {
  reserve_[mode] = std::clamp(reserve_[mode] + kReserveStep * ((late ? 1.0 : 0.0) - kLate), 0.0, 1.0);
}

}  // namespace df

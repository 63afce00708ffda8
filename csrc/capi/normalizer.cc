#include "normalizer.h"

#include <algorithm>
#include <cmath>

#include "bundle.gen.h"
#include "refused.h"

namespace df {
namespace {

constexpr double kTolerance = 1e-4;  // LIMITS_TOLERANCE

// numpy.interp: linear between the points, the ends' values beyond them.
double interpolated(double at, const double* x, const double* y, int64_t n) {
  if (at > x[n - 1]) return y[n - 1];
  const int64_t j = std::upper_bound(x, x + n, at) - x - 1;  // the last point that is not beyond `at`
  if (j < 0) return y[0];
  if (j == n - 1 || x[j] == at) return y[j];
  const double slope = (y[j + 1] - y[j]) / (x[j + 1] - x[j]);
  const double found = slope * (at - x[j]) + y[j];
  if (!std::isnan(found)) return found;
  const double other = slope * (at - x[j + 1]) + y[j + 1];
  return std::isnan(other) && y[j] == y[j + 1] ? y[j] : other;
}

void check(bool good, const std::string& name, const char* what) {
  if (!good) refuse(DFX_FILE, name + ": " + what);
}

bool ascending(const double* x, int64_t n) {
  for (int64_t i = 1; i < n; ++i) {
    if (!(x[i] > x[i - 1])) return false;
  }
  return true;
}

}  // namespace

Normalizer::Normalizer(const Tensors& tensors, const std::string& name, int64_t kind, int dim)
    : kind_(kind), dim_(dim) {
  check(kind >= 0 && kind < kNormalizerKinds, name, "an unknown kind");
  int64_t numbers = dim;
  if (kind == kNormalizerCdf) {
    const int64_t* const lengths = tensors.i64(name + ".lengths", dim);
    first_ = tensors.f64(name + ".first", -1, &numbers);
    second_ = tensors.f64(name + ".second", numbers);
    int64_t at = 0;
    for (int d = 0; d < dim; ++d) {
      check(lengths[d] >= 1 && lengths[d] <= numbers - at, name, "its lengths are not those of its curves");
      curves_.push_back({first_ + at, second_ + at, lengths[d]});
      at += lengths[d];
    }
    check(at == numbers, name, "its lengths are not those of its curves");
  } else {
    first_ = tensors.f64(name + ".first", dim);
    second_ = tensors.f64(name + ".second", dim);
    const bool limited = kind == kNormalizerAffine && tensors.find(name + ".third");
    if (limited) limit_ = tensors.f64(name + ".third", dim);
  }
  for (int64_t i = 0; i < numbers; ++i)
    check(std::isfinite(first_[i]) && std::isfinite(second_[i]), name, "a number that is not finite");
  for (int d = 0; d < dim && limit_; ++d)
    check(std::isfinite(limit_[d]), name, "a number that is not finite");
  for (int d = 0; d < dim && kind == kNormalizerAffine; ++d) check(first_[d] != 0, name, "a scale of 0");
  for (const Curve& curve : curves_) {
    check(ascending(curve.x, curve.length) && ascending(curve.y, curve.length) && curve.y[0] >= 0 &&
              curve.y[curve.length - 1] <= 1,
          name, "a curve that does not ascend");
  }
  for (int d = 0; d < dim && kind == kNormalizerGaussian; ++d)
    check(second_[d] > 0, name, "a standard deviation that is not positive");
  for (int d = 0; d < dim && kind == kNormalizerLimits; ++d)
    check(second_[d] > first_[d], name, "a largest value that is not above the smallest");
}

double Normalizer::normalize(int dim, double x) const {
  switch (kind_) {
    case kNormalizerGaussian:
      return (x - first_[dim]) / second_[dim];
    case kNormalizerLimits:
      return 2 * (x - first_[dim]) / (second_[dim] - first_[dim]) - 1;
    case kNormalizerAffine:
      return x * first_[dim] + second_[dim];
    default: {
      const Curve& curve = curves_[dim];
      return curve.length > 1 ? 2 * interpolated(x, curve.x, curve.y, curve.length) - 1 : x;
    }
  }
}

bool Normalizer::outside(int dim, double x) const {
  if (kind_ == kNormalizerLimits) return std::fabs(normalize(dim, x)) > 1 + kTolerance;
  if (kind_ == kNormalizerAffine) return limit_ && std::fabs(x) > limit_[dim] * (1 + kTolerance);
  if (kind_ != kNormalizerCdf || curves_[dim].length == 1) return false;
  return x < curves_[dim].x[0] || x > curves_[dim].x[curves_[dim].length - 1];
}

double Normalizer::unnormalize(int dim, double x, bool clip) const {
  switch (kind_) {
    case kNormalizerGaussian:
      return x * second_[dim] + first_[dim];
    case kNormalizerLimits:
      if (clip) x = std::min(std::max(x, -1.0), 1.0);
      return (x + 1) / 2 * (second_[dim] - first_[dim]) + first_[dim];
    case kNormalizerAffine:
      x = (x - second_[dim]) / first_[dim];
      return limit_ ? std::min(std::max(x, -limit_[dim]), limit_[dim]) : x;
    default: {
      const Curve& curve = curves_[dim];
      return curve.length > 1 ? interpolated((x + 1) / 2, curve.y, curve.x, curve.length) : x;
    }
  }
}

void Normalizer::unnormalize(const float* x, int length, int64_t stride, bool clip, float* out) const {
  for (int t = 0; t < length; ++t) {
    for (int d = 0; d < dim_; ++d) *out++ = static_cast<float>(unnormalize(d, x[t * stride + d], clip));
  }
}

bool Normalizer::beyond(const float* x, int length, int64_t stride) const {
  if (kind_ != kNormalizerLimits) return false;
  for (int t = 0; t < length; ++t) {
    for (int d = 0; d < dim_; ++d) {
      if (std::fabs(static_cast<double>(x[t * stride + d])) > 1 + kTolerance) return true;
    }
  }
  return false;
}

}  // namespace df

// What a plan is given besides conditions: rows that have been promised, and an earlier plan to start from
// (diffuser_fast/core/prefix.py, diffuser_fast/planner/start.py).
#include <algorithm>
#include <cfloat>
#include <cmath>

#include "planner.h"

namespace df {

dfx_status Planner::freeze(const char* name, const double* given, const Normalizer& normalizer, int32_t width,
                           int64_t column, const dfx_request& request, uint32_t* notes) {
  if (!given) return DFX_OK;
  const int64_t elements = int64_t{horizon_} * depth_;
  for (int64_t k = 0; k < int64_t{situations_} * request.prefix_length; ++k) {
    const int32_t i = static_cast<int32_t>(k % request.prefix_length);
    const int64_t at = int64_t{request.prefix_at + i} * depth_ + column;
    float* const values = inpaint_.data() + k / request.prefix_length * elements + at;
    for (int32_t d = 0; d < width; ++d) {
      const double x = given[k * width + d];
      if (!std::isfinite(x)) return say(DFX_ARGUMENT, "request.prefix_%s: row %d is not finite", name, i);
      if (mask_[at + d])
        return say(DFX_ARGUMENT, "request.prefix_%s: row %d is given by conditions already", name, i);
      if (normalizer.outside(d, x)) *notes |= DFX_CLIPPED;
      const double normal = normalizer.normalize(d, x);
      if (!(std::fabs(normal) <= FLT_MAX)) {
        return say(DFX_ARGUMENT, "request.prefix_%s: %.3g is too large for float32 once normalised", name, x);
      }
      values[d] = static_cast<float>(normal);
    }
  }
  for (int32_t i = 0; i < request.prefix_length; ++i) {
    const int64_t at = int64_t{request.prefix_at + i} * depth_ + column;
    std::fill_n(mask_.begin() + at, width, uint8_t{1});
  }
  return DFX_OK;
}

dfx_status Planner::freeze(const dfx_request& request, uint32_t* notes) {
  if (!request.prefix_actions && !request.prefix_observations) return DFX_OK;
  if (request.prefix_at < 0 || request.prefix_length < 0 ||
      request.prefix_at > horizon_ - request.prefix_length) {
    return say(DFX_ARGUMENT,
               "request.prefix_at, prefix_length: found %d and %d, expected rows of the horizon %d",
               request.prefix_at, request.prefix_length, horizon_);
  }
  const dfx_status status = freeze("actions", request.prefix_actions, bundle_.actions, bundle_.action_dim(),
                                   bundle_.size(kSizeActionsAt), request, notes);
  if (status != DFX_OK) return status;
  return freeze("observations", request.prefix_observations, bundle_.observations, bundle_.observation_dim(),
                bundle_.size(kSizeObservationsAt), request, notes);
}

// The rows that were given, as they were given, in every plan.
void Planner::restore(const dfx_request& request, const dfx_plan& plan) const {
  const auto put = [&](const double* given, int32_t width, float* out) {
    if (!given || !out) return;
    const int64_t count = int64_t{request.prefix_length} * width;
    for (int32_t b = 0; b < count_; ++b) {
      float* const row = out + (int64_t{b} * horizon_ + request.prefix_at) * width;
      const double* const own = given + b / batch_ * count;
      for (int64_t i = 0; i < count; ++i) row[i] = static_cast<float>(own[i]);
    }
  };
  put(request.prefix_actions, bundle_.action_dim(), plan.actions);
  put(request.prefix_observations, bundle_.observation_dim(), plan.observations);
}

dfx_status Planner::starts(const dfx_request& request) {
  start_ = 0;
  const int64_t elements = int64_t{situations_} * horizon_ * depth_;
  if (!request.last) {
    if (request.warm_rows == 0) return DFX_OK;
    return say(DFX_ARGUMENT, "request.warm_rows: without `last` there is nothing to start from");
  }
  if (request.n_last < static_cast<size_t>(elements))
    return say(DFX_ARGUMENT, "request.n_last: found %zu, expected %lld", request.n_last,
               static_cast<long long>(elements));
  if (request.warm_rows < 1 || request.warm_rows > bundle_.rows())
    return say(DFX_ARGUMENT, "request.warm_rows: found %d, expected 1 to %d", request.warm_rows,
               bundle_.rows());
  if (request.shift < 0) return say(DFX_ARGUMENT, "request.shift: found %d", request.shift);
  for (int64_t i = 0; i < elements; ++i) {
    if (!std::isfinite(request.last[i]))
      return say(DFX_ARGUMENT, "request.last[%lld]: not finite", static_cast<long long>(i));
  }
  start_ = bundle_.rows() - request.warm_rows;
  return DFX_OK;
}

// The last plan, moved on: row t is its row t + shift, or its last one.
void Planner::move(const dfx_request& request, float* out) const {
  for (int32_t e = 0; e < situations_; ++e) {
    const int64_t first = int64_t{e} * horizon_;
    for (int32_t t = 0; t < horizon_; ++t) {
      const int64_t from = first + std::min<int64_t>(int64_t{t} + request.shift, horizon_ - 1);
      std::copy_n(request.last + from * depth_, depth_, out + (first + t) * depth_);
    }
  }
}

// Noised to the entry of denoising step start_ (Ho et al. 2020, equation 4).
const float* Planner::noised(const dfx_request& request) {
  const double keep = entries_[2 * start_], noise = entries_[2 * start_ + 1];
  const int64_t elements = int64_t{horizon_} * depth_;
  move(request, moved_.data());
  for (int32_t b = 0; b < count_; ++b) {
    float* const x = noised_.data() + b * elements;
    const float* const moved = moved_.data() + b / batch_ * elements;
    df_noise(engine_, request.seed, request.number + b / batch_, 0, b % batch_, x);
    for (int64_t i = 0; i < elements; ++i)
      x[i] = static_cast<float>(keep * double{moved[i]} + noise * double{x[i]});
  }
  return noised_.data();
}

// No denoising step: the last plan, moved on, under the new conditions.
void Planner::shifted(const dfx_request& request) {
  move(request, moved_.data());
  const int64_t elements = int64_t{horizon_} * depth_;
  for (int64_t i = 0; i < situations_ * elements; ++i) {
    if (mask_[i % elements]) moved_[i] = inpaint_[i];
  }
  for (int32_t b = 0; b < count_; ++b) {
    std::copy_n(moved_.begin() + b / batch_ * elements, elements, x_.begin() + b * elements);
    values_[b] = 0;
    order_[b] = b % batch_;
  }
  std::fill(ran_.begin(), ran_.end(), -1);
}

}  // namespace df

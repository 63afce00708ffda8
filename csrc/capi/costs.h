// What denoising steps take on this machine: measured once, and again with every plan (diffuser_fast/core/costs.py). After
// calibration nothing is allocated.
#pragma once
#include <cstdint>
#include <vector>

namespace df {

struct Measured {
  double rows, guide_steps, ns;  // of one plan
};

class Costs {
 public:
  enum Mode { kShared, kAlone, kModes };  // threads share every op of a row, where they do; or one goes alone

  // guide_steps: of every row.
  Costs(std::vector<int32_t> guide_steps, int threads);

  bool known() const { return row_ > 0; }
  // A row costs base + guide steps * gradient, a plan `once` beside its rows; fitted by relative errors.
  void fit(const std::vector<Measured>& measured);
  // Nanoseconds of each row and of a plan, with a margin: the 90th percentile of what plans took beyond their cost.
  void rows(Mode mode, int64_t* out) const;
  int64_t plan(const int32_t* rows, int n, const int64_t* costs) const;
  // Nanoseconds before its deadline that a plan should end: its last row cannot be cut.
  int64_t reserve(Mode mode) const { return static_cast<int64_t>(reserve_[mode] * least_ * scale_[mode]); }
  int64_t once() const { return static_cast<int64_t>(once_); }
  // Of a plan that was run.
  void learn(const int32_t* rows, int n, double ns, Mode mode);
  // Of one that could have been in time.
  void ended(bool late, Mode mode);

 private:
  static constexpr int kWindow = 64;
  double margin(Mode mode) const;
  double of(const int32_t* rows, int n) const;

  std::vector<int32_t> guide_steps_;
  double once_ = 0, row_ = 0, gradient_ = 0, least_ = 0;  // nanoseconds; of the cheapest row
  double reserve_[kModes];                                // in cheapest rows
  double scale_[kModes];  // a running mean of what plans took over what was predicted
  float beyond_[kModes][kWindow] = {};
  int seen_[kModes] = {};
};

}  // namespace df

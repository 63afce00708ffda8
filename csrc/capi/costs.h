// What denoising steps take on this machine: measured once, and again with every plan. diffuser_fast/core/costs.py says how
// and why; this is the same, to the bit. After calibration nothing is allocated.
#pragma once
#include <cstdint>
#include <vector>

#include "bundle.gen.h"

namespace df {

struct Measured {
  double rows, guide_steps, seconds;  // of one plan
};

class Costs {
 public:
  enum Mode { kShared, kAlone, kModes };  // threads share every op of a row, where they do; or one goes alone

  // guide_steps: of every row.
  Costs(std::vector<int32_t> guide_steps, int threads);

  bool known() const { return row_ > 0; }
  // A row costs row + guide steps * gradient, a plan `once` beside its rows; fitted by relative errors.
  void fit(const std::vector<Measured>& measured);
  // Of each row, with a margin: the 90th percentile of what plans took beyond their cost.
  void nanoseconds(Mode mode, int64_t* out) const;
  double margin(Mode mode) const { return margin_[mode]; }
  double once() const { return once_; }
  // Seconds of a plan of so many rows, with so many guide steps in all.
  double plan(int rows, int guide_steps, Mode mode) const {
    return once_ + (rows * row_ + guide_steps * gradient_) * factor(mode);
  }
  // Seconds before the answer's deadline that its last row should be expected to end.
  double reserve(Mode mode) const;
  // Of a plan that was run.
  void learn(const int32_t* rows, int n, double seconds, Mode mode);
  // Of one whose answer came so many seconds after its rows were expected to end, when that could last be changed.
  void answered(double beyond, Mode mode);

 private:
  double factor(Mode mode) const { return scale_[mode] * (1 + margin_[mode]); }

  std::vector<int32_t> guide_steps_;
  double once_ = 0, row_ = 0, gradient_ = 0;  // seconds
  double least_ = 0, dearest_ = 0;            // of a row
  double scale_[kModes];                      // a running mean of what rows took over what was measured
  double margin_[kModes];
  double mean_[kModes] = {}, spread_[kModes] = {};  // the reserve
  bool met_[kModes] = {};                           // there is a mean
  double beyond_[kModes][kCostWindow] = {};
  int seen_[kModes] = {};
};

}  // namespace df

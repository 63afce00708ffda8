// Between physical units and the network's: core/normalizers.py, in the same arithmetic (float64, each operation rounded
// once), so that C and Python agree to the bit. FloatingPoint (cpu/floating_point.h) must be in force.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "tensors.h"

namespace df {

class Normalizer {
 public:
  Normalizer() = default;
  // kind: NormalizerKind; name: of its tensors. Refused where its numbers are none.
  Normalizer(const Tensors& tensors, const std::string& name, int64_t kind, int dim);

  double normalize(int dim, double x) const;
  // Whether a physical number does not come back as it was.
  bool outside(int dim, double x) const;
  // A trajectory's columns [length, dim], `stride` numbers apart, to dense physical ones. clip: as beyond() said.
  void unnormalize(const float* x, int length, int64_t stride, bool clip, float* out) const;
  // Whether such columns have to be clipped, as a whole.
  bool beyond(const float* x, int length, int64_t stride) const;

 private:
  struct Curve {
    const double *x, *y;
    int64_t length;
  };
  double unnormalize(int dim, double x, bool clip) const;

  int64_t kind_ = 0;
  int dim_ = 0;
  const double *first_ = nullptr,
               *second_ = nullptr;  // means and stds, mins and maxs, or scale and offset, [dim]
  const double* limit_ = nullptr;   // of affine: what comes back is at most so far from 0, [dim]; or NULL
  std::vector<Curve> curves_;       // of cdf: distinct values, and the share of the data up to each
};

}  // namespace df

// Linear attention (Shen et al. 2021; as in the original's temporal U-Net): keys are normalised over time.
//
//   context[d, e] = sum_t softmax(k)[t, d] v[t, e];  out[t, e] = sum_d q_scale context[d, e] q[t, d]
#pragma once

#include "act.cuh"
#include "view.cuh"

namespace df {
namespace cuda {

constexpr int kKeyTimes = 16;  // times whose exponentials are held together

DF_HOST_DEVICE int attention_floats(const Stage& s) {
  const int width = s.co / s.heads;
  return width * (width + kKeyTimes + 2);
}

// Heads first / width .. of x = [times, 3, heads, width].
template <bool exact>
DF_DEVICE void attention(const Context& c, const Stage& s, const Tiling& tiling, int first) {
  const int width = s.co / s.heads, end = min_of(first + tiling.columns, s.co);
  const View x = c.view(s.x, s.x_ld, s.h), y = c.view(s.y, s.y_ld, s.h);
  float* top = c.room;                      // of the keys, [width]
  float* total = top + width;               // of their exponentials, [width]
  float* context = total + width;           // [width, width]
  float* weight = context + width * width;  // [kKeyTimes, width]
  for (int item = 0; item < c.samples * (end - first) / width; ++item) {
    const int n = item % c.samples, q = first + item / c.samples * width, k = q + s.co, v = k + s.co;
    for (int d = thread(); d < width; d += kThreads) {
      float most = x(n, 0, k + d);
      for (int t = 1; t < s.h; ++t) most = fmaxf(most, x(n, t, k + d));
      top[d] = most;
      total[d] = 0.0f;
    }
    for (int i = thread(); i < width * width; i += kThreads) context[i] = 0.0f;
    for (int begin = 0; begin < s.h; begin += kKeyTimes) {
      const int times = min_of(kKeyTimes, s.h - begin);
      sync_block();  // top is there; of the times before, weights are no longer read
      for (int i = thread(); i < times * width; i += kThreads)
        weight[i] =
            exponential<exact>(fmaxf(x(n, begin + i / width, k + i % width) - top[i % width], -87.3f));
      sync_block();
      for (int i = thread(); i < width * width; i += kThreads) {
        float sum = context[i];
        for (int t = 0; t < times; ++t)
          sum = fmaf(weight[t * width + i / width], x(n, begin + t, v + i % width), sum);
        context[i] = sum;
      }
      for (int d = thread(); d < width; d += kThreads)
        for (int t = 0; t < times; ++t) total[d] += weight[t * width + d];
    }
    sync_block();
    for (int i = thread(); i < s.h * width; i += kThreads) {
      const int t = i / width, e = i % width;
      float sum = 0.0f;
      for (int d = 0; d < width; ++d)
        sum = fmaf(context[d * width + e] * (s.scalar / total[d]), x(n, t, q + d), sum);
      y.tell(n, t, q + e, sum);
    }
    sync_block();  // the next head's numbers go where these are
  }
}

}  // namespace cuda
}  // namespace df

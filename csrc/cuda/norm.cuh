// GroupNorm and its gradient over numbers that somebody else holds: means of a (sample, group) by a team of warps.
//
// Every lane of a team has the same numbers of its group in every pass, so between passes nothing has to be ordered.
// The variance is the mean square about the mean: as a difference of squares it would be lost where the mean is large.
#pragma once

#include "act.cuh"
#include "tiling.h"

namespace df {
namespace cuda {

// Sums over a team of `team` warps (a power of two), two numbers at a time. Everyone of the block takes part.
// room: 2 * 2 * kWarps floats of shared memory; turn: which half, so that one barrier is enough.
struct Team {
  float* room;
  int team;
  int turn = 0;

  DF_DEVICE void sum(float* a, float* b) {
    for (int mask = 16; mask; mask /= 2) {
      *a += shuffle_xor(*a, mask);
      *b += shuffle_xor(*b, mask);
    }
    if (team == 1) return;
    float* mine = room + turn * 2 * kWarps;
    turn ^= 1;
    if (lane() == 0) {
      mine[2 * warp()] = *a;
      mine[2 * warp() + 1] = *b;
    }
    sync_block();
    const int first = warp() / team * team;
    *a = *b = 0.0f;
    for (int i = 0; i < team; ++i) {
      *a += mine[2 * (first + i)];
      *b += mine[2 * (first + i) + 1];
    }
  }
};

// What a norm is over: `samples` times groups of `width` channels at `length` times, `groups` of them from channel
// `first` of the result on.
struct Groups {
  int samples, length, groups, width, first;
};

// For every number of those groups, out(sample, time, channel, value), value being act(norm(u)), norm(u), or the
// gradient of one of these at u. u and dy: functions of (sample, time, channel), channel one of the result's. first: is
// called before them, once for each number and by the lane that will ask for it, and gives u.
template <bool exact, class First, class U, class Dy, class Out>
DF_DEVICE void normalised(const Groups& g, int tail, int act, float eps, const float* gamma,
                          const float* beta, Team team, First first, U u, Dy dy, Out out) {
  const int teams = kWarps / team.team, mine = warp() / team.team;
  const int member = thread() % (32 * team.team), members = 32 * team.team;
  const int count = g.length * g.width, items = g.samples * g.groups;
  const float whole = static_cast<float>(count);
  for (int round = 0; round * teams < items; ++round) {
    const int item = round * teams + mine, n = item / g.groups, channel = g.first + item % g.groups * g.width;
    const int end = item < items ? count : 0;  // teams beyond the last take part in barriers alone
    float mean = 0.0f, square = 0.0f, none = 0.0f;
    for (int e = member; e < end; e += members) mean += first(n, e / g.width, channel + e % g.width);
    team.sum(&mean, &none);
    mean /= whole;
    for (int e = member; e < end; e += members) {
      const float d = u(n, e / g.width, channel + e % g.width) - mean;
      square += d * d;
    }
    team.sum(&square, &none);
    const float r = 1.0f / sqrtf(square / whole + eps);
    if (tail == kTailNorm || tail == kTailNormAct) {
      for (int e = member; e < end; e += members) {
        const int t = e / g.width, c = channel + e % g.width;
        const float z = (u(n, t, c) - mean) * r * gamma[c] + beta[c];
        out(n, t, c, tail == kTailNorm ? z : activation<exact>(act, z));
      }
      continue;
    }
    // r (d - mean(d) - x mean(d x)), x the normalised u, d = gamma times the gradient behind the activation.
    auto pulled = [&](int t, int c, float x) {
      const float d = dy(n, t, c);
      return gamma[c] * (tail == kTailNormVjp ? d : d * slope<exact>(act, x * gamma[c] + beta[c]));
    };
    float straight = 0.0f, along = 0.0f;
    for (int e = member; e < end; e += members) {
      const int t = e / g.width, c = channel + e % g.width;
      const float x = (u(n, t, c) - mean) * r, d = pulled(t, c, x);
      straight += d;
      along += d * x;
    }
    team.sum(&straight, &along);
    straight /= whole;
    along /= whole;
    for (int e = member; e < end; e += members) {
      const int t = e / g.width, c = channel + e % g.width;
      const float x = (u(n, t, c) - mean) * r;
      out(n, t, c, r * (pulled(t, c, x) - straight - x * along));
    }
  }
}

}  // namespace cuda
}  // namespace df

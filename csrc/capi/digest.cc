#include "digest.h"

#include <algorithm>
#include <cstring>

#include "bundle.gen.h"

namespace df {
namespace {

uint64_t mixed(uint64_t lane, uint64_t word) {
  const uint64_t x = lane ^ word;
  return (x << kDigestTurn | x >> (64 - kDigestTurn)) * kDigestMultiplier;
}

}  // namespace

uint64_t digest(const uint8_t* data, int64_t size) {
  uint64_t lanes[kDigestLanes];
  for (int i = 0; i < kDigestLanes; ++i) lanes[i] = static_cast<uint64_t>(i + 1) * kDigestMultiplier;
  const int64_t words = size / 8;
  for (int64_t at = 0; at < words; at += kDigestLanes) {
    const int n = static_cast<int>(std::min<int64_t>(kDigestLanes, words - at));
    uint64_t row[kDigestLanes];
    std::memcpy(row, data + at * 8, sizeof(uint64_t) * n);
    for (int i = 0; i < n; ++i) lanes[i] = mixed(lanes[i], row[i]);
  }
  uint64_t found = static_cast<uint64_t>(words);
  for (uint64_t lane : lanes) found = mixed(found, lane);
  return found ^ found >> 32;
}

}  // namespace df

#include "digest.h"

#include <algorithm>
#include <cstring>

namespace df {
namespace {

uint64_t mixed(uint64_t lane, uint64_t word) {
  const uint64_t x = lane ^ word;
  return (x << kDigestTurn | x >> (64 - kDigestTurn)) * kDigestMultiplier;
}

}  // namespace

Digest::Digest(const uint8_t* data, int64_t size) : data_(data), words_(size / 8) {
  for (int i = 0; i < kDigestLanes; ++i) lanes_[i] = static_cast<uint64_t>(i + 1) * kDigestMultiplier;
}

// Up to a word: whole rows of lanes, but for the last.
void Digest::rows(int64_t end) {
  for (; at_ < end; at_ += kDigestLanes) {
    const int n = static_cast<int>(std::min<int64_t>(kDigestLanes, words_ - at_));
    uint64_t row[kDigestLanes];
    std::memcpy(row, data_ + at_ * 8, sizeof(uint64_t) * n);
    for (int i = 0; i < n; ++i) lanes_[i] = mixed(lanes_[i], row[i]);
  }
}

void Digest::come(int64_t bytes) { rows(std::min(bytes / 8, words_) / kDigestLanes * kDigestLanes); }

uint64_t Digest::value() {
  rows(words_);
  uint64_t found = static_cast<uint64_t>(words_);
  for (uint64_t lane : lanes_) found = mixed(found, lane);
  return found ^ found >> 32;
}

}  // namespace df

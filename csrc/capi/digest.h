// 64 bits that name a file and find damage (diffuser_fast/bundle/tensors.py has the same in numpy). No signature.
#pragma once
#include <cstdint>

#include "bundle.gen.h"

namespace df {

// Of `size` bytes, a multiple of 8, while they come: each piece is looked at as long as it is in the cache.
class Digest {
 public:
  Digest(const uint8_t* data, int64_t size);
  // So many of them are there by now.
  void come(int64_t bytes);
  // All are.
  uint64_t value();

 private:
  void rows(int64_t end);

  const uint8_t* const data_;
  const int64_t words_;
  int64_t at_ = 0;  // words that have been looked at
  uint64_t lanes_[kDigestLanes];
};

inline uint64_t digest(const uint8_t* data, int64_t size) { return Digest(data, size).value(); }

}  // namespace df

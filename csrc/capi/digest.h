// 64 bits that name a file and find damage (diffuser_fast/bundle/tensors.py has the same in numpy). No signature.
#pragma once
#include <cstdint>

namespace df {

// size: a multiple of 8.
uint64_t digest(const uint8_t* data, int64_t size);

}  // namespace df

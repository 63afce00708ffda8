// Structs that cross the border: each begins with its size as its user knows it, older ones being shorter.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include "refused.h"

namespace df {

constexpr uint32_t kMostStruct = 4096;  // bytes: more is no size

// What the user's struct says, zeros where theirs is older. `least`: the size that it had first.
template <class T>
T taken(const T* given, size_t least, const char* name) {
  uint32_t size;
  std::memcpy(&size, given, sizeof size);
  if (size < least || size > kMostStruct)
    refuse(DFX_ARGUMENT,
           std::string(name) + ".struct_size: found " + std::to_string(size) + ", expected sizeof");
  T found{};
  std::memcpy(&found, given, size < sizeof found ? size : sizeof found);
  const unsigned char* const bytes = reinterpret_cast<const unsigned char*>(given);
  for (size_t i = sizeof found; i < size; ++i) {
    if (bytes[i])
      refuse(DFX_UNSUPPORTED,
             std::string(name) + ": of a newer header, and this library cannot do all of it");
  }
  return found;
}

// As much of it as the user has; struct_size stays theirs.
template <class T>
void given_back(const T& found, T* out) {
  uint32_t size;
  std::memcpy(&size, out, sizeof size);
  T copy = found;
  copy.struct_size = size;
  std::memcpy(out, &copy, size < sizeof copy ? size : sizeof copy);
}

}  // namespace df

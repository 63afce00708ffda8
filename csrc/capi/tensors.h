// The tensors of a safetensors file, by name. Nothing is copied: they point into the caller's memory. A file may come from
// anywhere, so Refused says what is wrong with it, and what is given out lies inside of it.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace df {

enum class Type { kU8, kI32, kI64, kU64, kF32, kF64 };

struct Tensor {
  std::string_view name;
  Type type;
  std::vector<int64_t> shape;
  int64_t elements;
  const uint8_t* data;  // at a multiple of 64 bytes
};

class Tensors {
 public:
  // data: at a multiple of 64 bytes. digest: of all but the last 64 of them.
  Tensors(const uint8_t* data, int64_t size, uint64_t digest);

  const Tensor* find(std::string_view name) const;  // NULL: there is none
  // Of this type, refused if there is none, or if `elements` (unless negative) is not how many it has.
  const uint8_t* data(const std::string& name, Type type, int64_t elements, int64_t* found = nullptr) const;

  const int32_t* i32(const std::string& name, int64_t elements, int64_t* found = nullptr) const {
    return reinterpret_cast<const int32_t*>(data(name, Type::kI32, elements, found));
  }
  const int64_t* i64(const std::string& name, int64_t elements, int64_t* found = nullptr) const {
    return reinterpret_cast<const int64_t*>(data(name, Type::kI64, elements, found));
  }
  const float* f32(const std::string& name, int64_t elements, int64_t* found = nullptr) const {
    return reinterpret_cast<const float*>(data(name, Type::kF32, elements, found));
  }
  const double* f64(const std::string& name, int64_t elements, int64_t* found = nullptr) const {
    return reinterpret_cast<const double*>(data(name, Type::kF64, elements, found));
  }

  uint64_t digest() const { return digest_; }

 private:
  std::vector<Tensor> all_;  // by name
  uint64_t digest_;
};

}  // namespace df

// Memory at a cache line, in large pages where the system has them; zeros at first.
#pragma once
#include <cstdint>

namespace df {

class Memory {
 public:
  explicit Memory(int64_t floats = 0);
  ~Memory();
  Memory(Memory&& o) noexcept : base_(o.base_), data_(o.data_), size_(o.size_) { o.base_ = nullptr; }
  Memory& operator=(Memory&&) = delete;
  float* data() { return data_; }
  bool lock() const;  // its pages stay in memory; false: refused, see errno
  const float* data() const { return data_; }
  int64_t size() const { return size_; }

 private:
  void* base_ = nullptr;
  float* data_ = nullptr;
  int64_t size_;
};

// The pages that these bytes lie in stay in memory. False: refused, see errno.
bool lock_memory(const void* data, int64_t bytes);

// Bytes of a core's L2 cache, or of a small one where the system does not say.
int64_t l2_cache();

}  // namespace df

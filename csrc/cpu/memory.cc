#include "memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

namespace df {
namespace {

constexpr int64_t kLargePage = 2 << 20;

}  // namespace

Memory::Memory(int64_t floats) : data_(nullptr), size_(floats) {
  const int64_t bytes = floats * static_cast<int64_t>(sizeof(float));
  const int64_t align = bytes >= kLargePage ? kLargePage : 64;
  const int64_t size = std::max<int64_t>((bytes + align - 1) / align * align, align);
  data_ = static_cast<float*>(std::aligned_alloc(align, size));
  if (!data_) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
  if (align == kLargePage) madvise(data_, size, MADV_HUGEPAGE);  // a hint
#endif
  std::memset(data_, 0, size);
}

Memory::~Memory() { std::free(data_); }

}  // namespace df

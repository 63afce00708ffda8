#include "memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

namespace df {
namespace {

constexpr int64_t kLeastPage = 4096, kLargePage = 2 << 20;
constexpr int64_t kMapped = 64 << 10;  // bytes: from here on memory comes from the system and goes back to it

int64_t bytes_of(int64_t floats) { return floats * static_cast<int64_t>(sizeof(float)); }

// Bytes that are mapped: enough to begin at a large page where it is worth one.
int64_t mapped(int64_t bytes) { return bytes >= kLargePage ? bytes + kLargePage : bytes; }

}  // namespace

Memory::Memory(int64_t floats) : size_(floats) {
  const int64_t bytes = bytes_of(floats);
  if (bytes < kMapped) {
    base_ = std::aligned_alloc(64, std::max<int64_t>((bytes + 63) / 64 * 64, 64));
    if (!base_) throw std::bad_alloc();
    data_ = static_cast<float*>(base_);
    std::memset(data_, 0, bytes);
  } else {
    base_ = mmap(nullptr, mapped(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base_ == MAP_FAILED) throw std::bad_alloc();
    uintptr_t at = reinterpret_cast<uintptr_t>(base_);
    if (bytes >= kLargePage) {
      at = (at + kLargePage - 1) / kLargePage * kLargePage;
#if defined(MADV_HUGEPAGE)
      madvise(reinterpret_cast<void*>(at), bytes, MADV_HUGEPAGE);  // a hint
#endif
    }
    data_ = reinterpret_cast<float*>(at);
    // They are zeros already; touched, so that they are there before the first plan.
    volatile char* const pages = reinterpret_cast<char*>(at);
    for (int64_t i = 0; i < bytes; i += kLeastPage) pages[i] = 0;
  }
}

Memory::~Memory() {
  if (!base_) return;
  if (bytes_of(size_) < kMapped) {
    std::free(base_);
  } else {
    munmap(base_, mapped(bytes_of(size_)));
  }
}

bool lock_memory(const void* data, int64_t bytes) { return bytes == 0 || mlock(data, bytes) == 0; }

int64_t l2_cache() {
#if defined(_SC_LEVEL2_CACHE_SIZE)
  static const int64_t found = sysconf(_SC_LEVEL2_CACHE_SIZE);
  if (found > 0) return found;
#endif
  return 512 << 10;
}

bool Memory::lock() const { return lock_memory(data_, bytes_of(size_)); }

}  // namespace df

#include "dispatch.h"

#include <cstring>

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__x86_64__)
#include <cpuid.h>
#endif

namespace df {
namespace {

#if defined(__aarch64__) && defined(DF_NEON_EXTENDED)
// Linux tells a process what its CPU has; elsewhere nothing is assumed. (Old headers lack the names.)
#if defined(__linux__)
constexpr unsigned long kDot = 1ul << 20, kBf16 = 1ul << 14;  // HWCAP_ASIMDDP, HWCAP2_BF16
bool has_dot() { return (getauxval(AT_HWCAP) & kDot) != 0; }
bool has_bf16() { return (getauxval(AT_HWCAP2) & kBf16) != 0; }
#else
bool has_dot() { return false; }
bool has_bf16() { return false; }
#endif
#endif

#if defined(DF_AVX2_VNNI)
bool has_avx_vnni() {  // compilers' own question came later than the instructions
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1);
}
#endif

bool has(const KernelTable& kernels) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (&kernels == &avx2::kernel_table) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#if defined(DF_AVX2_VNNI)
  if (&kernels == &avx2_vnni::kernel_table) return has(avx2::kernel_table) && has_avx_vnni();
#endif
  if (&kernels == &avx512::kernel_table) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("fma");
  }
  if (&kernels == &avx512_vnni::kernel_table)
    return has(avx512::kernel_table) && __builtin_cpu_supports("avx512vnni");
  if (&kernels == &avx512_bf16::kernel_table)
    return has(avx512_vnni::kernel_table) && __builtin_cpu_supports("avx512bf16");
#elif defined(__aarch64__)
  if (&kernels == &neon::kernel_table) return true;
#if defined(DF_NEON_EXTENDED)
  if (&kernels == &neon_dot::kernel_table) return has_dot();
  if (&kernels == &neon_bf16::kernel_table) return has_dot() && has_bf16();
#endif
#endif
  return &kernels == &scalar::kernel_table;
}

const KernelTable* const kKernelTables[] = {
    &scalar::kernel_table,
#if defined(__x86_64__)
    &avx2::kernel_table,
#if defined(DF_AVX2_VNNI)
    &avx2_vnni::kernel_table,
#endif
    &avx512::kernel_table,    &avx512_vnni::kernel_table, &avx512_bf16::kernel_table,
#elif defined(__aarch64__)
    &neon::kernel_table,
#if defined(DF_NEON_EXTENDED)
    &neon_dot::kernel_table,
    &neon_bf16::kernel_table,
#endif
#endif
};

}  // namespace

const KernelTable* kernel_table_at(int i) {
  for (const KernelTable* kernels : kKernelTables) {
    if (has(*kernels) && i-- == 0) return kernels;
  }
  return nullptr;
}

const KernelTable* kernel_table_named(const char* isa) {
  const KernelTable* widest = nullptr;
  for (const KernelTable* kernels : kKernelTables) {
    if (!has(*kernels)) continue;
    if (isa && std::strcmp(isa, kernels->name) == 0) return kernels;
    widest = kernels;
  }
  return isa ? nullptr : widest;
}

}  // namespace df

extern "C" const char* df_isa_name(int32_t i) {
  const df::KernelTable* kernels = df::kernel_table_at(i);
  return kernels ? kernels->name : nullptr;
}

extern "C" int32_t df_function(const char* isa, int32_t which, const float* x, float* y, int64_t n) {
  const df::KernelTable* kernels = df::kernel_table_named(isa);
  if (!kernels || which < 0 || which > 2 * df::kActs) return false;
  kernels->function(which, x, y, n);
  return true;
}

extern "C" int32_t df_philox(const char* isa, uint64_t seed, const uint32_t* counter, uint32_t* words,
                             int64_t n) {
  const df::KernelTable* kernels = df::kernel_table_named(isa);
  if (kernels) kernels->philox(seed, counter, words, n);
  return kernels != nullptr;
}

extern "C" int32_t df_normals(const char* isa, const uint32_t* words, float* normals, int64_t n) {
  const df::KernelTable* kernels = df::kernel_table_named(isa);
  if (kernels) kernels->normals(words, normals, n);
  return kernels != nullptr;
}

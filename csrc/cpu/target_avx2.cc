// The kernels for AVX2 with FMA. System headers come before the pragma: their inline functions must stay baseline.
#if defined(__x86_64__)
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernel_table.h"

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")  // to the end of the file: templates are instantiated there
#endif
#define DF_TARGET avx2
#define DF_NAME kIsaAvx2
#include "simd_avx2.h"
#include "kernels.inl.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif

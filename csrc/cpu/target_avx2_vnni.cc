// The kernels for AVX2 with FMA and products of bytes (AVX-VNNI). System headers come before the pragma: their inline functions must stay baseline.
#if defined(__x86_64__)
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernel_table.h"

#if defined(DF_AVX2_VNNI)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,avxvnni"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,avxvnni")  // to the end of the file: templates are instantiated there
#endif
#define DF_TARGET avx2_vnni
#define DF_NAME kIsaAvx2Vnni
#define DF_VNNI
#include "simd_avx2.h"
#include "kernels.inl.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
#endif

// The kernels for AVX-512 with products of bytes. System headers come before the pragma: their inline functions must stay baseline.
#if defined(__x86_64__)
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernel_table.h"

#if defined(__clang__)
#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma"))), apply_to = function)
#else
#pragma GCC target( \
    "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")  // to the end of the file: templates are instantiated there
#endif
#define DF_TARGET avx512_vnni
#define DF_NAME kIsaAvx512Vnni
#define DF_VNNI
#include "simd_avx512.h"
#include "kernels.inl.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif

// The kernels for AArch64 with products of bytes. System headers come before the pragma: their inline functions must stay baseline.
#if defined(__aarch64__)
#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>

#include "kernel_table.h"

#if defined(DF_NEON_EXTENDED)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("dotprod"))), apply_to = function)
#else
#pragma GCC target("arch=armv8.2-a+dotprod")  // to the end of the file: templates are instantiated there
#endif
#define DF_TARGET neon_dot
#define DF_NAME kIsaNeonDot
#define DF_DOT
#include "simd_neon.h"
#include "kernels.inl.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
#endif

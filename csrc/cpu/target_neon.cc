// The kernels for AArch64, every one of which has these vectors: no target pragma.
#if defined(__aarch64__)
#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>

#include "kernel_table.h"

#define DF_TARGET neon
#define DF_NAME kIsaNeon
#include "simd_neon.h"
#include "kernels.inl.h"
#endif

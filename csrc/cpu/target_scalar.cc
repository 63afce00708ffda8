// The kernels for any CPU.
#include <stddef.h>
#include <stdint.h>

#include "kernel_table.h"

#define DF_TARGET scalar
#define DF_NAME kIsaScalar
#include "simd_scalar.h"
#include "kernels.inl.h"

// Everything that is compiled once per target, in order of use.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // conv.inl.h's totals, and intrinsics' own headers
#pragma GCC diagnostic ignored "-Wuninitialized"        // the latter
#endif
#include "lanes.inl.h"
#include "act.inl.h"
#include "conv.inl.h"
#include "dot_adjoint.inl.h"
#include "packed_inputs.inl.h"
#include "packed_bf16.inl.h"
#include "int8.inl.h"
#include "winograd.inl.h"
#include "norm.inl.h"
#include "pointwise.inl.h"
#include "attention.inl.h"
#include "noise.inl.h"
#include "update.inl.h"
#include "run_op.inl.h"

// The plan that was recorded when a bundle was written (diffuser_fast/bundle/selftest.py), made again.
#pragma once
#include "bundle.h"

namespace df {

// Refused with DFX_DIFFERS, and the first number that does, or with what went wrong.
void self_test(const Bundle& bundle);

}  // namespace df

// Which kernel table this CPU takes.
#pragma once
#include "kernel_table.h"

namespace df {

// The i-th instruction set of this CPU, narrowest first; NULL past the end.
const KernelTable* kernel_table_at(int i);
// By name, or the widest for NULL; NULL if this CPU does not have it.
const KernelTable* kernel_table_named(const char* isa);

}  // namespace df

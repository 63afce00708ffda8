// Which table of functions this CPU takes.
#pragma once
#include "table.h"

namespace df {

// The i-th instruction set of this CPU, narrowest first; NULL past the end.
const Table* table_at(int i);
// By name, or the widest for NULL; NULL if this CPU does not have it.
const Table* table_named(const char* isa);

}  // namespace df

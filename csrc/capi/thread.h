// What a thread that plans on time asks of the system: a core, a priority, its stack in memory.
#pragma once
#include "diffuser_fast.h"

namespace df {

// To the calling thread. Refused says what was not had, after all else has been done.
void apply(const dfx_thread& thread);

}  // namespace df

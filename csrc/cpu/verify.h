// What an engine is opened with, checked before anything of it is used.
#pragma once
#include <string>

#include "../api.h"

namespace df {

// A sentence that names what is wrong, or nothing. `name`: what the program is called there.
std::string verify(const df_program& program, const char* name);
std::string verify(const df_loop& loop);
std::string verify(const df_cpu_options& options);

}  // namespace df

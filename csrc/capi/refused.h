// Why something was not done, inside of this library: thrown, and caught where C begins.
#pragma once
#include <string>

#include "diffuser_fast.h"

namespace df {

struct Refused {
  dfx_status status;
  std::string text;
};

[[noreturn]] inline void refuse(dfx_status status, const std::string& text) { throw Refused{status, text}; }

}  // namespace df

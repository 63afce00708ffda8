// What a Costs says after each of the lines that it is told, for a comparison with diffuser_fast/core/costs.py:
//   costs_trace THREADS GUIDE_STEPS...      of every row
//   m ROWS GUIDE_STEPS SECONDS              a plan that was timed; all before the first of the others
//   l MODE SECONDS ROW...                   learn
//   a MODE SECONDS                          answered
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "capi/costs.h"

int main(int argc, char** argv) {
  std::vector<int32_t> guide_steps;
  for (int i = 2; i < argc; ++i) guide_steps.push_back(std::atoi(argv[i]));
  df::Costs costs(guide_steps, std::atoi(argv[1]));
  std::vector<df::Measured> measured;
  std::vector<int64_t> rows(guide_steps.size());
  for (std::string line, word; std::getline(std::cin, line);) {
    std::istringstream words(line);
    char kind;
    words >> kind;
    const auto number = [&] {  // streams do not read hexadecimal floating point
      words >> word;
      return std::strtod(word.c_str(), nullptr);
    };
    if (kind == 'm') {
      const double n = number(), guides = number();
      measured.push_back({n, guides, number()});
      continue;
    }
    if (!costs.known()) costs.fit(measured);
    const auto mode = static_cast<df::Costs::Mode>(static_cast<int>(number()));
    const double seconds = number();
    if (kind == 'l') {
      std::vector<int32_t> ran;
      for (int32_t row; words >> row;) ran.push_back(row);
      costs.learn(ran.data(), static_cast<int>(ran.size()), seconds, mode);
    } else {
      costs.answered(seconds, mode);
    }
    costs.nanoseconds(mode, rows.data());
    std::printf("%a %a %a %a", costs.once(), costs.margin(mode), costs.reserve(mode), costs.plan(3, 5, mode));
    for (const int64_t row : rows) std::printf(" %lld", static_cast<long long>(row));
    std::printf("\n");
  }
  return 0;
}

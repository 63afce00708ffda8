// Mutated bundles: each is opened, and planned with if it is taken; whatever happens, by a status. Sanitizers say whether
// memory was respected, and a limit on time whether it ended.
//   fuzz_bundle N FIRST BUNDLE...     mutations FIRST .. FIRST + N - 1, of the bundles in turn
// Prints a count of each status, and the slowest; a mutation's number is all it takes to repeat it.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "capi/bundle.gen.h"
#include "capi/digest.h"
#include "diffuser_fast.h"

namespace {

using Bytes = std::vector<uint8_t>;
using Random = std::mt19937_64;

constexpr int64_t kMostWork = 20000000;  // floats of a plan's answer and rows: more would take too long

Bytes read(const char* path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

uint64_t below(Random& random, uint64_t n) { return n ? random() % n : 0; }

// Where the header ends, and where some tensor's numbers lie that are not weights: most of the file is weights, and a
// change there means nothing.
struct Map {
  explicit Map(const Bytes& data) {
    uint64_t length;
    std::memcpy(&length, data.data(), sizeof length);
    body = 8 + length;
    const std::string header(data.begin() + 8, data.begin() + body);
    size_t at = 0;
    while ((at = header.find("\"data_offsets\":[", at)) != std::string::npos) {
      const size_t quote = header.rfind("\":{", at), name = header.rfind('"', quote - 1);
      at += 16;
      const uint64_t begin = std::strtoull(header.c_str() + at, nullptr, 10);
      const uint64_t end = std::strtoull(header.c_str() + header.find(',', at) + 1, nullptr, 10);
      const std::string called = header.substr(name + 1, quote - name - 1);
      if (called.compare(0, 8, "weights.") != 0 && called.compare(0, 4, "pad.") != 0 && end > begin)
        numbers.push_back({body + begin, body + end});
    }
  }
  uint64_t body;
  std::vector<std::pair<uint64_t, uint64_t>> numbers;
};

template <class T>
void put(Bytes& data, uint64_t at, T value) {
  if (at + sizeof value <= data.size()) std::memcpy(data.data() + at, &value, sizeof value);
}

// A number that a program may trip over.
int64_t interesting(Random& random) {
  const int64_t numbers[] = {0,   1,    2,       3,         4,         5,         7,         8,
                             15,  16,   17,      31,        32,        64,        128,       255,
                             256, 4096, 65536,   1 << 20,   1 << 24,   1 << 27,   -1,        -2,
                             -16, -128, 1 << 30, INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN, 1LL << 40};
  return numbers[below(random, std::size(numbers))];
}

// One change: of numbers of a tensor, of the header's text, of anything, of the length.
void mutate(Bytes& data, const Map& map, Random& random) {
  if (data.size() < 256) return;
  const auto [begin, end] = map.numbers[below(random, map.numbers.size())];
  const uint64_t at = begin + below(random, end - begin) / 4 * 4;
  switch (below(random, 16)) {
    case 0:
    case 1:
    case 2:
      return put(data, at, static_cast<int32_t>(interesting(random)));
    case 3:
      return put(data, begin + (at - begin) / 8 * 8, interesting(random));
    case 4:
    case 5: {  // a little more or less
      int32_t value = 0;
      if (at + 4 <= data.size()) std::memcpy(&value, data.data() + at, 4);
      const int32_t steps[] = {-16, -1, 1, 16, 2, 64};
      return put(data, at, static_cast<int32_t>(int64_t{value} + steps[below(random, 6)]));
    }
    case 6: {  // another number of the same tensor
      int32_t value = 0;
      const uint64_t from = begin + below(random, end - begin) / 4 * 4;
      if (from + 4 <= data.size()) std::memcpy(&value, data.data() + from, 4);
      return put(data, at, value);
    }
    case 7:
      return put(data, at, static_cast<uint32_t>(random()));
    case 8:
      return put(data, begin + (at - begin) / 8 * 8, random());
    case 9:  // the header's text
    case 10: {
      const char text[] = "0123456789,:[]{}\"\\ -.eFUI";
      const uint64_t where = 8 + below(random, std::min<uint64_t>(map.body, data.size()) - 8);
      data[where] = static_cast<uint8_t>(text[below(random, sizeof text - 1)]);
      return;
    }
    case 11: {  // a piece of the header, elsewhere in it
      const uint64_t size = std::min<uint64_t>(map.body, data.size()), n = 1 + below(random, 64);
      if (size < 200) return;
      std::memmove(data.data() + 8 + below(random, size - 8 - n),
                   data.data() + 8 + below(random, size - 8 - n), n);
      return;
    }
    case 12:
      data[below(random, data.size())] ^= static_cast<uint8_t>(1 << below(random, 8));
      return;
    case 13: {  // two tensors exchanged
      const auto [other, stop] = map.numbers[below(random, map.numbers.size())];
      const uint64_t n = std::min(end - begin, stop - other);
      if (std::max(begin, other) + n > data.size() || (begin < other + n && other < begin + n)) return;
      std::swap_ranges(data.begin() + begin, data.begin() + begin + n, data.begin() + other);
      return;
    }
    case 14:
      return put(
          data, 0,
          below(random, 2) ? static_cast<uint64_t>(interesting(random)) : random() % (2 * data.size()));
    default:
      data.resize(below(random, 2) ? below(random, data.size()) / 64 * 64 : below(random, data.size()));
  }
}

void sign(Bytes& data) {
  if (data.size() < 64 || data.size() % 8) return;
  put(data, data.size() - 64, df::digest(data.data(), static_cast<int64_t>(data.size()) - 64));
}

// The last status that was said.
dfx_status tried(const Bytes& data, bool late, std::string* text) {
  char error[256] = "";
  dfx_bundle* bundle = nullptr;
  dfx_status status = dfx_bundle_open_memory(data.data(), data.size(), error, sizeof error, &bundle);
  dfx_planner* planner = nullptr;
  dfx_options options{};
  options.struct_size = sizeof options;
  options.batch = 1;
  options.isa = "scalar";
  dfx_planner_info info{};
  info.struct_size = sizeof info;
  dfx_bundle_info about{};
  about.struct_size = sizeof about;
  if (status == DFX_OK) status = dfx_bundle_get_info(bundle, &about);
  if (status == DFX_OK) status = dfx_planner_open(bundle, &options, error, sizeof error, &planner);
  if (status == DFX_OK) status = dfx_planner_get_info(planner, &info);
  const int64_t step = int64_t{info.horizon} * (int64_t{info.action_dim} + info.observation_dim);
  if (status == DFX_OK && about.rows <= 16 && step * about.rows < kMostWork) {
    std::vector<double> now(info.observation_dim, 0.1);
    std::vector<float> actions(int64_t{info.horizon} * info.action_dim),
        observations(int64_t{info.horizon} * info.observation_dim), values(1);
    dfx_condition condition{sizeof condition, 0, now.data(), nullptr};
    dfx_request request{};
    request.struct_size = sizeof request;
    request.conditions = &condition;
    request.n_conditions = 1;
    dfx_plan plan{};
    plan.struct_size = sizeof plan;
    plan.actions = actions.data();
    plan.observations = observations.data();
    plan.values = values.data();
    plan.n_actions = actions.size();
    plan.n_observations = observations.size();
    plan.n_values = values.size();
    status = dfx_planner_plan(planner, &request, &plan);
    if (status == DFX_OK && late) {  // with a deadline that has passed: other rows of the menu
      status = dfx_planner_calibrate(planner, 0);
      request.deadline_ns = dfx_now() + 1000000;
      if (status == DFX_OK) status = dfx_planner_plan(planner, &request, &plan);
    }
    if (status != DFX_OK) std::snprintf(error, sizeof error, "%s", dfx_planner_error(planner));
  }
  if (status == DFX_OK) status = dfx_bundle_self_test(bundle, error, sizeof error);
  dfx_planner_close(planner);
  dfx_bundle_close(bundle);
  *text = error;
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: fuzz_bundle N FIRST BUNDLE...\n");
    return 2;
  }
  const uint64_t n = std::strtoull(argv[1], nullptr, 10), first = std::strtoull(argv[2], nullptr, 10);
  std::vector<Bytes> bundles;
  for (int i = 3; i < argc; ++i) bundles.push_back(read(argv[i]));
  for (const Bytes& bundle : bundles) {
    std::string text;
    if (tried(bundle, true, &text) != DFX_OK) {
      std::fprintf(stderr, "not a sound bundle to begin with: %s\n", text.c_str());
      return 2;
    }
  }
  std::map<int, uint64_t> counts;
  int64_t slowest = 0;
  uint64_t which = 0;
  FILE* const at = std::getenv("FUZZ_AT") ? std::fopen(std::getenv("FUZZ_AT"), "w") : nullptr;
  for (uint64_t i = first; i < first + n; ++i) {
    if (at) {  // a crash leaves its number there
      std::rewind(at);
      std::fprintf(at, "%llu\n", static_cast<unsigned long long>(i));
      std::fflush(at);
    }
    Random random(i);
    Bytes data = bundles[i % bundles.size()];
    const Map map(data);
    const uint64_t changes = 1 + below(random, 3);
    for (uint64_t k = 0; k < changes; ++k) mutate(data, map, random);
    if (below(random, 16)) sign(data);  // else its digest is wrong, too
    const int64_t began = dfx_now();
    std::string text;
    const dfx_status status = tried(data, i % 8 == 0, &text);
    ++counts[status];
    if (status != DFX_OK && text.empty()) {
      std::fprintf(stderr, "mutation %llu: a status without a text\n", static_cast<unsigned long long>(i));
      return 1;
    }
    if (n == 1) std::printf("%s\n", text.c_str());
    if (const int64_t took = dfx_now() - began; took > slowest) {
      slowest = took;
      which = i;
    }
  }
  for (const auto& [status, count] : counts) {
    std::printf("%8llu  %s\n", static_cast<unsigned long long>(count),
                dfx_status_string(static_cast<dfx_status>(status)));
  }
  std::printf("the slowest took %.0f ms: mutation %llu\n", static_cast<double>(slowest) * 1e-6,
              static_cast<unsigned long long>(which));
  return 0;
}

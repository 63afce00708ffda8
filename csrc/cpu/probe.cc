// One program by itself, and the time of each op: for tests and measurements.
#include <algorithm>

#include "affinity.h"
#include "engine.h"
#include "floating_point.h"

namespace df {
namespace {

struct Probe {
  Role role;
  const float* const* inputs;
  const float* table_row;
  int64_t samples;
  float* const* outputs;
  float fill;
};

// Between [N, C, H] and a view, as far as the group goes.
template <class F>
void each_element(const View& view, const Group& group, F&& f) {
  for (int b = 0; b < group.n(); ++b) {
    for (int c = 0; c < view.channels; ++c) {
      for (int t = 0; t < view.length; ++t) {
        f((static_cast<int64_t>(group.first + b) * view.channels + c) * view.length + t, view.row(b, t) + c);
      }
    }
  }
}

bool run(Engine& e, const Group& group, Space& space, int thread, bool, void* argument) {
  const Probe& probe = *static_cast<Probe*>(argument);
  const Compiled& c = group.networks->compiled[probe.role];
  float* const arena = space.arena.data();
  if (!wait_for_all(e.barrier(), group.threads())) return false;
  std::fill_n(space.own[thread].data(), space.own[thread].size(), probe.fill);
  if (thread == 0) {
    std::fill_n(arena, space.arena.size(), probe.fill);
    for (size_t i = 0; i < c.inputs.size(); ++i) {
      each_element(c.inputs[i], group,
                   [&](int64_t dense, int64_t at) { arena[at] = probe.inputs[i][dense]; });
    }
  }
  if (!wait_for_all(e.barrier(), group.threads())) return false;
  const df_program* const p = program_of(e.desc, probe.role);
  const int64_t stride = probe.samples > 1 ? p->table_width : 0;
  const float* const row = probe.table_row ? probe.table_row + group.first * stride : nullptr;
  if (!e.evaluate(probe.role, group, space, thread, {row, stride})) return false;
  if (!wait_for_all(e.barrier(), group.threads())) return false;
  if (thread != 0) return true;
  for (size_t i = 0; i < c.outputs.size(); ++i) {
    each_element(c.outputs[i], group,
                 [&](int64_t dense, int64_t at) { probe.outputs[i][dense] = arena[at]; });
  }
  return true;
}

}  // namespace
}  // namespace df

extern "C" int32_t df_run(df_engine* handle, int32_t program, const float* const* inputs,
                          const float* table_row, int32_t samples, float* const* outputs, float fill) {
  df::Engine* const engine = reinterpret_cast<df::Engine*>(handle);
  if (!engine || program < 0 || program >= df::kRoles || !inputs || !outputs) return DF_ARGUMENT;
  const df_program* const found = df::program_of(engine->desc, program);
  if (!found || (found->table_width > 0 && !table_row)) return DF_ARGUMENT;
  if (samples != 1 && samples != engine->desc.batch) return DF_ARGUMENT;
  if (!engine->hold()) return DF_BUSY;
  {
    const df::FloatingPoint mode;
    const df::Pinned pinned(engine->cores.empty() ? -1 : engine->cores[0]);
    df::Probe probe{static_cast<df::Role>(program), inputs, table_row, samples, outputs, fill};
    engine->run(df::run, &probe);
  }
  engine->release();
  return DF_OK;
}

extern "C" int32_t df_profile(df_engine* handle, int32_t program, int64_t* ns, int32_t n) {
  const std::vector<int64_t> times =
      reinterpret_cast<df::Engine*>(handle)->take_times(static_cast<df::Role>(program));
  std::copy_n(times.begin(), std::min<size_t>(n, times.size()), ns);
  return static_cast<int32_t>(times.size());
}

// One program by itself, and the time of each op: for tests and measurements.
#include <algorithm>

#include "engine.h"

namespace df {
namespace {

struct Probe {
  Role role;
  const float* const* inputs;
  const float* table_row;
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

void run(Engine& e, const Group& group, Space& space, int thread, void* argument) {
  const Probe& probe = *static_cast<Probe*>(argument);
  const Compiled& c = group.networks->compiled[probe.role];
  float* const arena = space.arena.data();
  wait_for_all(&e.barrier, group.threads());
  std::fill_n(space.own[thread].data(), space.own[thread].size(), probe.fill);
  if (thread == 0) {
    std::fill_n(arena, space.arena.size(), probe.fill);
    for (size_t i = 0; i < c.inputs.size(); ++i) {
      each_element(c.inputs[i], group,
                   [&](int64_t dense, int64_t at) { arena[at] = probe.inputs[i][dense]; });
    }
  }
  wait_for_all(&e.barrier, group.threads());
  e.evaluate(probe.role, group, space, thread, probe.table_row);
  wait_for_all(&e.barrier, group.threads());
  if (thread != 0) return;
  for (size_t i = 0; i < c.outputs.size(); ++i) {
    each_element(c.outputs[i], group,
                 [&](int64_t dense, int64_t at) { probe.outputs[i][dense] = arena[at]; });
  }
}

}  // namespace
}  // namespace df

extern "C" void df_run(df_engine* handle, int32_t program, const float* const* inputs, const float* table_row,
                       float* const* outputs, float fill) {
  df::Probe probe{static_cast<df::Role>(program), inputs, table_row, outputs, fill};
  reinterpret_cast<df::Engine*>(handle)->for_each_group(df::run, &probe);
}

extern "C" int32_t df_profile(df_engine* handle, int32_t program, int64_t* ns, int32_t n) {
  const std::vector<int64_t> times =
      reinterpret_cast<df::Engine*>(handle)->take_times(static_cast<df::Role>(program));
  std::copy_n(times.begin(), std::min<size_t>(n, times.size()), ns);
  return static_cast<int32_t>(times.size());
}

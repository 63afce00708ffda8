// The functions of include/diffuser_fast.h for executors.
#include "handles.h"
#include "structs.h"

using df::guarded;
using df::is;
using df::told;

extern "C" {

dfx_status dfx_executor_open(dfx_planner* planner, const dfx_executor_options* options, char* error,
                             size_t error_size, dfx_executor** executor) {
  if (executor) *executor = nullptr;
  if (!is(planner)) return told(DFX_ARGUMENT, "planner: NULL, or none", error, error_size);
  if (!options) return told(DFX_ARGUMENT, "options: NULL", error, error_size);
  if (!executor) return told(DFX_ARGUMENT, "executor: NULL", error, error_size);
  return guarded(error, error_size, [&] {
    const dfx_executor_options chosen = df::taken(options, sizeof *options, "options");
    *executor = new dfx_executor{df::kExecutorHandle, {planner->planner, planner->bundle->bundle, chosen}};
  });
}

void dfx_executor_close(dfx_executor* executor) {
  if (!is(executor)) return;
  executor->executor.stop();
  executor->magic = 0;
  delete executor;
}

dfx_status dfx_executor_start(dfx_executor* executor, const double* observation,
                              const dfx_condition* conditions, int32_t n_conditions, char* error,
                              size_t error_size) {
  if (!is(executor)) return told(DFX_ARGUMENT, "executor: NULL, or none", error, error_size);
  return guarded(error, error_size, [&] { executor->executor.start(observation, conditions, n_conditions); });
}

dfx_status dfx_executor_set_conditions(dfx_executor* executor, const dfx_condition* conditions,
                                       int32_t n_conditions) {
  if (!is(executor)) return DFX_ARGUMENT;
  return executor->executor.set_conditions(conditions, n_conditions);
}

dfx_status dfx_executor_step(dfx_executor* executor, const double* observation, dfx_step* step) {
  if (!is(executor) || !step || step->struct_size < sizeof *step || step->struct_size > df::kMostStruct)
    return DFX_ARGUMENT;
  return executor->executor.step(observation, step);
}

int32_t dfx_executor_idle(const dfx_executor* executor) { return is(executor) && executor->executor.idle(); }

void dfx_executor_stop(dfx_executor* executor) {
  if (is(executor)) executor->executor.stop();
}

dfx_status dfx_executor_get_info(const dfx_executor* executor, dfx_executor_info* info) {
  if (!is(executor) || !info) return DFX_ARGUMENT;
  return guarded(nullptr, 0, [&] {
    df::taken(info, sizeof *info, "info");
    df::given_back(executor->executor.info(), info);
  });
}

const char* dfx_executor_error(const dfx_executor* executor) {
  return is(executor) ? executor->executor.error() : "executor: NULL, or none";
}

}  // extern "C"

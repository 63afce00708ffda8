// What handles point to, and how whatever goes wrong inside becomes a status.
#pragma once
#include <cstring>
#include <new>
#include <utility>

#include "bundle.h"
#include "diffuser_fast.h"
#include "executor.h"
#include "planner.h"
#include "refused.h"

namespace df {

// What a handle begins with, so that another pointer is told apart, and one that was closed, mostly.
constexpr uint64_t kBundleHandle = 0x646678'62756e646cULL, kPlannerHandle = 0x646678'706c616e6eULL,
                   kExecutorHandle = 0x646678'65786563ULL;

}  // namespace df

struct dfx_bundle {
  uint64_t magic = df::kBundleHandle;
  df::Bundle bundle;
};

struct dfx_planner {
  uint64_t magic = df::kPlannerHandle;
  const dfx_bundle* bundle;
  df::Planner planner;
};

struct dfx_executor {
  uint64_t magic = df::kExecutorHandle;
  df::Executor executor;
};

namespace df {

inline bool is(const dfx_bundle* bundle) { return bundle && bundle->magic == kBundleHandle; }
inline bool is(const dfx_planner* planner) { return planner && planner->magic == kPlannerHandle; }
inline bool is(const dfx_executor* executor) { return executor && executor->magic == kExecutorHandle; }

inline dfx_status told(dfx_status status, const char* text, char* error, size_t error_size) {
  if (error && error_size > 0) {
    std::strncpy(error, text, error_size - 1);
    error[error_size - 1] = 0;
  }
  return status;
}

// What `work` does; whatever it throws becomes a status and a text.
template <class Work>
dfx_status guarded(char* error, size_t error_size, Work&& work) {
  try {
    work();
    return DFX_OK;
  } catch (const Refused& refused) {
    return told(refused.status, refused.text.c_str(), error, error_size);
  } catch (const std::bad_alloc&) {
    return told(DFX_MEMORY, "there is not enough memory", error, error_size);
  } catch (const std::exception& e) {
    return told(DFX_SYSTEM, e.what(), error, error_size);
  } catch (...) {
    return told(DFX_SYSTEM, "unknown", error, error_size);
  }
}

}  // namespace df

// The functions of include/diffuser_fast.h: handles and pointers checked, nothing thrown.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

#include "../cpu/clock.h"
#include "diffuser_fast.h"
#include "digest.h"
#include "handles.h"
#include "refused.h"
#include "self_test.h"
#include "structs.h"
#include "thread.h"

#ifndef DFX_LIBRARY_VERSION
#define DFX_LIBRARY_VERSION "unknown"
#endif

using df::guarded;
using df::is;
using df::told;

namespace {

void release(const dfx_bundle* bundle) {
  if (bundle->bundle.references.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  const_cast<dfx_bundle*>(bundle)->magic = 0;
  delete bundle;
}

df::Memory memory_for(int64_t size) {
  constexpr int64_t kMost = int64_t{1} << 36;
  if (size < 1 || size > kMost) df::refuse(DFX_FILE, "no bundle: it has " + std::to_string(size) + " bytes");
  return df::Memory((size + 3) / 4);
}

// A file's contents, and the digest of all but its last line.
struct Contents {
  df::Memory memory;
  int64_t size;
  uint64_t digest;
};

int64_t signed_bytes(int64_t size) { return std::max<int64_t>(size - df::kLine, 0) / 8 * 8; }

// It is read and not mapped: who shortens it later shall not take our memory away.
Contents contents(const char* path) {
  struct File {
    ~File() {
      if (number >= 0) close(number);
    }
    int number;
  };
  constexpr int64_t kPiece = 256 << 10;  // bytes that a cache holds
  const auto failed = [] { df::refuse(DFX_FILE, std::strerror(errno)); };
  const File file{open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.number < 0) failed();
  struct stat status;
  if (fstat(file.number, &status) != 0) failed();
  if (!S_ISREG(status.st_mode)) df::refuse(DFX_FILE, "not a file");
  const int64_t size = status.st_size;
  df::Memory memory = memory_for(size);
  char* const data = reinterpret_cast<char*>(memory.data());
  df::Digest digest(reinterpret_cast<const uint8_t*>(data), signed_bytes(size));
  for (int64_t at = 0; at < size;) {
    const ssize_t got = read(file.number, data + at, std::min(kPiece, size - at));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) failed();
    if (got == 0) df::refuse(DFX_FILE, "cut short while it was read");
    at += got;
    digest.come(at);
  }
  return {std::move(memory), size, digest.value()};
}

dfx_bundle* opened(Contents c) {
  return new dfx_bundle{df::kBundleHandle, {std::move(c.memory), c.size, c.digest}};
}

}  // namespace

extern "C" {

const char* dfx_status_string(dfx_status status) {
  switch (status) {
    case DFX_OK:
      return "done";
    case DFX_BUSY:
      return "another thread is planning with this planner";
    case DFX_ARGUMENT:
      return "an argument is wrong";
    case DFX_NOT_FINITE:
      return "a number of the plan was not finite";
    case DFX_FILE:
      return "the file cannot be read, or is no bundle, or is damaged";
    case DFX_MEMORY:
      return "there is not enough memory";
    case DFX_SYSTEM:
      return "the system refused something";
    case DFX_UNSUPPORTED:
      return "this library, CPU or bundle cannot do it";
    case DFX_CANCELLED:
      return "the plan was cancelled";
    case DFX_DIFFERS:
      return "another plan than the recorded one";
  }
  return "an unknown status";
}

uint32_t dfx_abi(void) { return DFX_ABI; }

const char* dfx_version(void) { return DFX_LIBRARY_VERSION; }

int64_t dfx_now(void) { return df::now_ns(); }

dfx_status dfx_bundle_open(const char* path, char* error, size_t error_size, dfx_bundle** bundle) {
  if (bundle) *bundle = nullptr;
  if (!path) return told(DFX_ARGUMENT, "path: NULL", error, error_size);
  if (!bundle) return told(DFX_ARGUMENT, "bundle: NULL", error, error_size);
  return guarded(error, error_size, [&] {
    try {
      *bundle = opened(contents(path));
    } catch (const df::Refused& refused) {
      df::refuse(refused.status, std::string(path) + ": " + refused.text);
    }
  });
}

dfx_status dfx_bundle_open_memory(const void* data, size_t size, char* error, size_t error_size,
                                  dfx_bundle** bundle) {
  if (bundle) *bundle = nullptr;
  if (!data) return told(DFX_ARGUMENT, "data: NULL", error, error_size);
  if (!bundle) return told(DFX_ARGUMENT, "bundle: NULL", error, error_size);
  return guarded(error, error_size, [&] {
    const int64_t bytes = size > INT64_MAX ? INT64_MAX : static_cast<int64_t>(size);
    df::Memory memory = memory_for(bytes);
    std::memcpy(memory.data(), data, size);
    const uint64_t digest = df::digest(static_cast<const uint8_t*>(data), signed_bytes(bytes));
    *bundle = opened({std::move(memory), bytes, digest});
  });
}

void dfx_bundle_close(dfx_bundle* bundle) {
  if (is(bundle)) release(bundle);
}

dfx_status dfx_bundle_get_info(const dfx_bundle* bundle, dfx_bundle_info* info) {
  if (!is(bundle) || !info) return DFX_ARGUMENT;
  return guarded(nullptr, 0, [&] {
    dfx_bundle_info found = df::taken(info, sizeof *info, "info");
    const df::Bundle& b = bundle->bundle;
    const auto size = [&](int field) { return static_cast<int32_t>(b.size(field)); };
    found.action_dim = b.action_dim();
    found.observation_dim = b.observation_dim();
    found.batch = size(df::kSizeBatch);
    found.horizon = b.variants[0].horizon;
    found.rows = b.rows();
    found.training_steps = size(df::kSizeTrainingSteps);
    found.guided = b.guided();
    found.exactness = size(df::kSizeExactness);
    found.variants = static_cast<int32_t>(b.variants.size());
    found.digest = b.tensors().digest();
    df::given_back(found, info);
  });
}

dfx_status dfx_bundle_variant(const dfx_bundle* bundle, int32_t variant, int32_t* batch, int32_t* horizon) {
  if (!is(bundle) || !batch || !horizon || variant < 0) return DFX_ARGUMENT;
  if (variant >= static_cast<int32_t>(bundle->bundle.variants.size())) return DFX_ARGUMENT;
  *batch = bundle->bundle.variants[variant].batch;
  *horizon = bundle->bundle.variants[variant].horizon;
  return DFX_OK;
}

dfx_status dfx_bundle_self_test(const dfx_bundle* bundle, char* error, size_t error_size) {
  if (!is(bundle)) return told(DFX_ARGUMENT, "bundle: NULL, or none", error, error_size);
  return guarded(error, error_size, [&] { df::self_test(bundle->bundle); });
}

dfx_status dfx_planner_open(const dfx_bundle* bundle, const dfx_options* options, char* error,
                            size_t error_size, dfx_planner** planner) {
  if (planner) *planner = nullptr;
  if (!is(bundle)) return told(DFX_ARGUMENT, "bundle: NULL, or none", error, error_size);
  if (!planner) return told(DFX_ARGUMENT, "planner: NULL", error, error_size);
  return guarded(error, error_size, [&] {
    const dfx_options chosen = options ? df::taken(options, sizeof *options, "options") : dfx_options{};
    *planner = new dfx_planner{df::kPlannerHandle, bundle, {bundle->bundle, chosen}};
    bundle->bundle.references.fetch_add(1, std::memory_order_relaxed);
  });
}

void dfx_planner_close(dfx_planner* planner) {
  if (!is(planner)) return;
  const dfx_bundle* const bundle = planner->bundle;
  planner->magic = 0;
  delete planner;
  release(bundle);
}

dfx_status dfx_planner_plan(dfx_planner* planner, const dfx_request* request, dfx_plan* plan) {
  if (!is(planner)) return DFX_ARGUMENT;
  df::Planner& p = planner->planner;
  if (!p.hold()) return DFX_BUSY;
  dfx_status status = DFX_OK;
  char error[256];
  const dfx_status thrown = guarded(error, sizeof error, [&] {
    if (!request) return void(status = p.say(DFX_ARGUMENT, "request: NULL"));
    if (!plan) return void(status = p.say(DFX_ARGUMENT, "plan: NULL"));
    const dfx_request asked = df::taken(request, sizeof *request, "request");
    dfx_plan found = df::taken(plan, sizeof *plan, "plan");
    status = p.plan(asked, asked.conditions, &found);
    if (status == DFX_OK) df::given_back(found, plan);
  });
  if (thrown != DFX_OK) status = p.say(thrown, "%s", error);
  p.release();
  return status;
}

dfx_status dfx_planner_calibrate(dfx_planner* planner, int64_t rest_ns) {
  if (!is(planner)) return DFX_ARGUMENT;
  df::Planner& p = planner->planner;
  if (!p.hold()) return DFX_BUSY;
  dfx_status status = DFX_OK;
  char error[256];
  const dfx_status thrown = guarded(error, sizeof error, [&] { status = p.calibrate(rest_ns); });
  if (thrown != DFX_OK) status = p.say(thrown, "%s", error);
  p.release();
  return status;
}

void dfx_planner_cancel(dfx_planner* planner) {
  if (is(planner)) planner->planner.cancel();
}

const char* dfx_planner_error(const dfx_planner* planner) {
  return is(planner) ? planner->planner.error() : "planner: NULL, or none";
}

dfx_status dfx_planner_get_info(const dfx_planner* planner, dfx_planner_info* info) {
  if (!is(planner) || !info) return DFX_ARGUMENT;
  return guarded(nullptr, 0, [&] {
    df::taken(info, sizeof *info, "info");
    df::given_back(planner->planner.info(), info);
  });
}

dfx_status dfx_thread_apply(const dfx_thread* thread, char* error, size_t error_size) {
  if (!thread) return told(DFX_ARGUMENT, "thread: NULL", error, error_size);
  return guarded(error, error_size, [&] { df::apply(df::taken(thread, sizeof *thread, "thread")); });
}

}  // extern "C"

// A planner of a bundle: an engine, and memory for one plan's conditions and answer.
#pragma once
#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "api.h"
#include "bundle.h"
#include "diffuser_fast.h"

namespace df {

class Planner {
 public:
  // Refused says why not. The bundle outlives it.
  Planner(const Bundle& bundle, const dfx_options& options);
  ~Planner();
  Planner(const Planner&) = delete;
  Planner& operator=(const Planner&) = delete;

  // One thread at a time. A plan that a fork has cut off holds nothing in the child.
  bool hold();
  void release() { held_.store(0, std::memory_order_release); }

  // Held. Says what was wrong by say().
  dfx_status plan(const dfx_request& request, const dfx_condition* conditions, dfx_plan* plan);
  void cancel() { df_cancel(engine_); }
  dfx_status say(dfx_status status, const char* format, ...) __attribute__((format(printf, 3, 4)));
  const char* error() const { return error_; }
  dfx_planner_info info() const;

 private:
  dfx_status inpaint(const dfx_condition* conditions, int32_t n, uint32_t* notes);
  dfx_status inpaint(const dfx_condition& condition, int32_t index, uint32_t* notes);
  dfx_status fits(const dfx_plan& plan);
  void give(const dfx_plan& plan);

  const Bundle& bundle_;
  const int32_t batch_, horizon_, depth_;
  df_engine* engine_ = nullptr;
  bool locked_ = false;
  std::vector<uint8_t> mask_;      // [H, D]
  std::vector<float> inpaint_;     // [H, D]
  std::vector<uint8_t> timed_;     // [H]: there is a condition
  std::vector<float> x_, values_;  // [B, H, D], [B]
  std::vector<int64_t> order_;     // [B]
  std::atomic<uint32_t> held_{0};
  char error_[256] = "";
};

}  // namespace df

// A planner of a bundle: an engine, and memory for one plan's conditions and answer.
#pragma once
#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "api.h"
#include "bundle.h"
#include "costs.h"
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
  static constexpr int32_t kReplay = -1, kShifted = -2;  // instead of a choice
  // Held. Measures the costs that a deadline needs.
  dfx_status calibrate(int64_t rest_ns);
  bool calibrated() const { return costs_.known(); }
  void cancel() { df_cancel(engine_); }
  dfx_status say(dfx_status status, const char* format, ...) __attribute__((format(printf, 3, 4)));
  const char* error() const { return error_; }
  dfx_planner_info info() const;

 private:
  dfx_status inpaint(const dfx_condition* conditions, int32_t n, uint32_t* notes);
  dfx_status inpaint(const dfx_condition& condition, int32_t index, uint8_t* mask, float* values,
                     uint32_t* notes);
  // start.cc: rows that are given, and an earlier plan to start from.
  dfx_status freeze(const dfx_request& request, uint32_t* notes);
  dfx_status freeze(const char* name, const double* given, const Normalizer& normalizer, int32_t width,
                    int64_t column, const dfx_request& request, uint32_t* notes);
  void restore(const dfx_request& request, const dfx_plan& plan) const;
  dfx_status starts(const dfx_request& request);
  void move(const dfx_request& request, float* out) const;
  const float* noised(const dfx_request& request);
  void shifted(const dfx_request& request);
  dfx_status fits(const dfx_plan& plan);
  // What is to be run: all denoising steps, those of a replay, or what fits until the deadline.
  dfx_status choose(const dfx_request& request);
  dfx_status replay(const dfx_request& request);
  // A schedule that a plan may begin with; choice 0 has all denoising steps.
  struct Rows {
    const int32_t* rows;
    int32_t n;
  };
  int32_t choices() const;
  Rows choice(int32_t i) const;
  void begin_with(int32_t choice);
  // Seconds that are left. false: nothing fits.
  bool choice_for(double left, int32_t min_rows, int32_t* found) const;
  Rows least() const;
  int32_t guide_steps(Rows rows) const;
  double cost(Rows rows) const;
  int64_t ends_by(int64_t deadline) const;
  // x: at entry of the first of them, or NULL.
  dfx_status run(uint64_t seed, uint32_t number, int64_t deadline, const float* x);
  void ended(dfx_plan* plan) const;
  int32_t finish_of(const int32_t* ran, int32_t n) const;
  void learn(double seconds);
  void answered(int64_t at);
  dfx_status timed(int64_t deadline);
  void give(const dfx_plan& plan);

  const Bundle& bundle_;
  const int32_t situations_, batch_, count_, horizon_, depth_;  // E, B, E B, H, D
  df_engine* engine_ = nullptr;
  bool locked_ = false;
  std::vector<uint8_t> mask_, other_mask_;  // [H, D]
  std::vector<float> inpaint_, inpaints_;   // [E, H, D]; of several situations [E B, H, D]
  std::vector<uint8_t> timed_;              // [H]: there is a condition
  std::vector<float> x_, values_;           // [E B, H, D], [E B]
  std::vector<int64_t> order_;              // [E B]: of each situation
  // Where a plan starts from an earlier one: at denoising step start_, moved on [E, H, D], and with noise [E B, H, D].
  int32_t start_ = 0;
  std::vector<float> moved_, noised_;
  const double* const entries_;    // [R, 2]: of x0 and of noise, at entry of each denoising step
  std::vector<int32_t> all_rows_;  // 0 .. R - 1
  // The schedule, and what is known of its cost.
  const Bundle::Choices choices_;        // of a plan from noise
  const float* const columns_;           // [R', kColumns]
  const int64_t* const training_steps_;  // [R']
  const int32_t* const guide_steps_;     // [R']
  Costs costs_;
  Costs::Mode mode_ = Costs::kShared;
  df_schedule schedule_;
  std::vector<int32_t> rows_, ran_;         // [groups, R]: to be run, and run; -1 after the last
  std::vector<int64_t> cost_, alone_cost_;  // [R']
  int32_t choice_ = 0, groups_ = 1;
  std::vector<int64_t> expected_;  // [groups]: when each should have ended
  int64_t dissolved_ = 0;          // before the plan
  std::atomic<uint32_t> held_{0};
  char error_[256] = "";
};

}  // namespace df

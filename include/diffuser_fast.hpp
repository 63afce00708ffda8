// diffuser_fast.h for C++17: handles that close themselves, errors as exceptions. Header only.
//
//   dfx::Bundle bundle("planner.dfb");
//   dfx::Planner planner(bundle);
//   dfx::Plan plan(planner);                              // arrays of the right size, to be used again
//   planner.plan({{0, now}, {-1, goal}}, seed, n, plan);  // throws dfx::Error
//
//   dfx::Executor executor(planner, options);             // or acts while it plans
//   executor.start(now, {{-1, goal}});
//   while (acting) act(executor.step(observe().data()).action);
//
// Planner::try_plan and Executor::step are for control loops: they allocate nothing and throw nothing.
#pragma once
#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "diffuser_fast.h"

namespace dfx {

class Error : public std::runtime_error {
 public:
  Error(dfx_status status, const std::string& text)
      : std::runtime_error(text.empty() ? dfx_status_string(status) : text), status_(status) {}
  dfx_status status() const { return status_; }

 private:
  dfx_status status_;
};

// Throws unless there is a plan, or whatever was asked for.
inline void check(dfx_status status, const char* text = "") {
  if (status < 0) throw Error(status, text);
}

template <class T>
T sized() {
  T found{};
  found.struct_size = sizeof found;
  return found;
}

// Something that is closed once, and may be moved.
template <class T, void (*close)(T*)>
class Handle {
 public:
  Handle() = default;
  Handle(Handle&& o) noexcept : handle_(std::exchange(o.handle_, nullptr)) {}
  Handle& operator=(Handle&& o) noexcept {
    std::swap(handle_, o.handle_);
    return *this;
  }
  ~Handle() { close(handle_); }
  T* get() const { return handle_; }

 protected:
  T* handle_ = nullptr;
};

class Bundle : public Handle<dfx_bundle, dfx_bundle_close> {
 public:
  explicit Bundle(const std::string& path) {
    char error[256] = "";
    check(dfx_bundle_open(path.c_str(), error, sizeof error, &handle_), error);
  }
  Bundle(const void* data, size_t size) {
    char error[256] = "";
    check(dfx_bundle_open_memory(data, size, error, sizeof error, &handle_), error);
  }
  dfx_bundle_info info() const {
    auto found = sized<dfx_bundle_info>();
    check(dfx_bundle_get_info(handle_, &found));
    return found;
  }
  void self_test() const {
    char error[256] = "";
    check(dfx_bundle_self_test(handle_, error, sizeof error), error);
  }
};

// observation: [O], and must outlive the call.
struct Condition : dfx_condition {
  Condition(int32_t at, const double* observation, const uint8_t* given = nullptr)
      : dfx_condition{sizeof(dfx_condition), at, observation, given} {}
  Condition(int32_t at, const std::vector<double>& observation) : Condition(at, observation.data()) {}
};

struct Plan;

class Planner : public Handle<dfx_planner, dfx_planner_close> {
 public:
  explicit Planner(const Bundle& bundle, dfx_options options = sized<dfx_options>()) {
    char error[256] = "";
    check(dfx_planner_open(bundle.get(), &options, error, sizeof error, &handle_), error);
  }
  dfx_planner_info info() const {
    auto found = sized<dfx_planner_info>();
    check(dfx_planner_get_info(handle_, &found));
    return found;
  }
  // The plan number `number` of a seed.
  dfx_status try_plan(const Condition* conditions, int32_t n, uint64_t seed, uint32_t number,
                      Plan& plan) noexcept;
  void plan(std::initializer_list<Condition> conditions, uint64_t seed, uint32_t number, Plan& plan) {
    check(try_plan(conditions.begin(), static_cast<int32_t>(conditions.size()), seed, number, plan),
          dfx_planner_error(handle_));
  }
  void cancel() noexcept { dfx_planner_cancel(handle_); }
};

// Physical units, best plan first: actions [B, H, A], observations [B, H, O], values [B]; those of E situations one after
// another.
struct Plan {
  explicit Plan(const Planner& planner) : shape(planner.info()) {
    const size_t plans = static_cast<size_t>(shape.situations) * shape.batch, steps = plans * shape.horizon;
    actions.resize(steps * shape.action_dim);
    observations.resize(steps * shape.observation_dim);
    values.resize(plans);
  }
  const float* action(int32_t t, int32_t plan = 0) const {
    return actions.data() + (int64_t{plan} * shape.horizon + t) * shape.action_dim;
  }
  const float* observation(int32_t t, int32_t plan = 0) const {
    return observations.data() + (int64_t{plan} * shape.horizon + t) * shape.observation_dim;
  }

  dfx_planner_info shape;
  std::vector<float> actions, observations, values;
  dfx_plan result{};  // what else is known of the plan
};

inline dfx_status Planner::try_plan(const Condition* conditions, int32_t n, uint64_t seed, uint32_t number,
                                    Plan& plan) noexcept {
  static_assert(sizeof(Condition) == sizeof(dfx_condition), "an array of one is an array of the other");
  dfx_request request{};
  request.struct_size = sizeof request;
  request.n_conditions = n;
  request.conditions = conditions;
  request.seed = seed;
  request.number = number;
  dfx_plan& out = plan.result;
  out = dfx_plan{};
  out.struct_size = sizeof out;
  out.actions = plan.actions.data();
  out.observations = plan.observations.data();
  out.values = plan.values.data();
  out.n_actions = plan.actions.size();
  out.n_observations = plan.observations.size();
  out.n_values = plan.values.size();
  return dfx_planner_plan(handle_, &request, &out);
}

// Closed before its planner: declare it after.
class Executor : public Handle<dfx_executor, dfx_executor_close> {
 public:
  Executor(const Planner& planner, const dfx_executor_options& options) {
    char error[256] = "";
    check(dfx_executor_open(planner.get(), &options, error, sizeof error, &handle_), error);
  }
  // Plans once, in this thread. conditions: beside the observation, for all plans until others are given.
  void start(const double* observation, std::initializer_list<Condition> conditions = {}) {
    char error[256] = "";
    check(dfx_executor_start(handle_, observation, conditions.begin(),
                             static_cast<int32_t>(conditions.size()), error, sizeof error),
          error);
  }
  void start(const std::vector<double>& observation, std::initializer_list<Condition> conditions = {}) {
    start(observation.data(), conditions);
  }
  void stop() noexcept { dfx_executor_stop(handle_); }
  // observation: [O], or NULL where there is no new one. Its arrays are good until the next step. Before start there is no
  // action in it.
  dfx_step step(const double* observation) noexcept {
    auto found = sized<dfx_step>();
    dfx_executor_step(handle_, observation, &found);
    return found;
  }
  dfx_status set_conditions(std::initializer_list<Condition> conditions) noexcept {
    return dfx_executor_set_conditions(handle_, conditions.begin(), static_cast<int32_t>(conditions.size()));
  }
  bool idle() const noexcept { return dfx_executor_idle(handle_) != 0; }
  dfx_executor_info info() const {
    auto found = sized<dfx_executor_info>();
    check(dfx_executor_get_info(handle_, &found));
    return found;
  }
  const char* error() const noexcept { return dfx_executor_error(handle_); }
};

}  // namespace dfx

// A controller shaped like ros2_control's ControllerInterface: on_configure opens, on_activate makes the first plan,
// update() is called every period and never waits; another thread plans. Copy it into a package and derive from
// controller_interface::ControllerInterface: the names and their meaning are the same.
//
// update() follows the plan in use step by step. A plan of the observation at step i is taken up at step i + delay, at its
// own step `delay`: by number, never by clock, so that a run can be repeated. One that comes later is taken up later.
#pragma once
#include <diffuser_fast.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "mailbox.h"

enum class CallbackReturn { SUCCESS, FAILURE, ERROR };
enum class return_type { OK, ERROR };

class PlanningController {
 public:
  struct Parameters {
    std::string bundle;
    std::vector<double> goal;  // physical, where the plan shall end; empty: nowhere in particular
    int64_t delay = 4;         // control steps from an observation to the first use of its plan
  };

  explicit PlanningController(Parameters parameters) : parameters_(std::move(parameters)) {}
  ~PlanningController() { on_deactivate(); }

  CallbackReturn on_configure() {
    try {
      bundle_.emplace(parameters_.bundle);
      planner_.emplace(*bundle_);
      const dfx_planner_info shape = planner_->info();
      if (!parameters_.goal.empty() && int(parameters_.goal.size()) != shape.observation_dim)
        return fail("goal: not an observation");
      observations_.emplace(Observed{0, std::vector<double>(shape.observation_dim)});
      plans_.emplace(Made{0, dfx::Plan(*planner_)});
      using_.emplace(plans_->newest());
      observation_.assign(shape.observation_dim, 0.0);
      command_.assign(shape.action_dim, 0.0);
    } catch (const dfx::Error& error) {
      return fail(error.what());
    }
    return CallbackReturn::SUCCESS;
  }

  // The robot stands still: this may take as long as it takes.
  CallbackReturn on_activate() {
    step_ = held_ = 0;
    coming_ = false;
    if (make_plan({0, observation_}) != DFX_OK) return fail(dfx_planner_error(planner_->get()));
    plans_->receive();
    *using_ = plans_->newest();
    running_.store(true);
    thread_ = std::thread([this] { plan_for_ever(); });
    return CallbackReturn::SUCCESS;
  }

  CallbackReturn on_deactivate() {
    running_.store(false);
    if (planner_) planner_->cancel();
    if (thread_.joinable()) thread_.join();
    return CallbackReturn::SUCCESS;
  }

  // State interfaces, command interfaces.
  std::vector<double>& observation() { return observation_; }
  const std::vector<double>& command() const { return command_; }
  int64_t age() const { return step_ - using_->step; }  // steps since the observation of the plan in use
  int64_t held() const { return held_; }                // steps without any plan left
  const std::string& error() const { return error_; }

  // No lock, no allocation, no system call.
  return_type update() {
    ++step_;
    Observed& seen = observations_->draft();
    seen.step = step_;
    std::copy(observation_.begin(), observation_.end(), seen.observation.begin());
    observations_->post();
    if (!coming_) coming_ = plans_->receive();
    if (coming_ && step_ >= plans_->newest().step + parameters_.delay) {
      *using_ = plans_->newest();  // of the same size: a copy without an allocation
      coming_ = false;
    }
    int64_t row = step_ - using_->step;
    if (row >= using_->plan.shape.horizon) {
      row = using_->plan.shape.horizon - 1;
      ++held_;
    }
    const float* const action = using_->plan.action(static_cast<int32_t>(row));
    std::copy(action, action + command_.size(), command_.begin());
    return return_type::OK;
  }

 private:
  struct Observed {
    int64_t step;
    std::vector<double> observation;
  };
  struct Made {
    int64_t step;  // of its observation
    dfx::Plan plan;
  };

  CallbackReturn fail(const std::string& why) {
    error_ = why;
    return CallbackReturn::FAILURE;
  }

  dfx_status make_plan(const Observed& seen) {
    const dfx::Condition conditions[] = {{0, seen.observation.data()}, {-1, parameters_.goal.data()}};
    Made& made = plans_->draft();
    const dfx_status status =
        planner_->try_plan(conditions, parameters_.goal.empty() ? 1 : 2, 0, number_++, made.plan);
    if (status != DFX_OK) return status;
    made.step = seen.step;
    plans_->post();
    return status;
  }

  void plan_for_ever() {
    while (running_.load()) {
      if (observations_->receive()) {
        make_plan(observations_->newest());
      } else {
        std::this_thread::sleep_for(std::chrono::microseconds(200));
      }
    }
  }

  const Parameters parameters_;
  std::optional<dfx::Bundle> bundle_;
  std::optional<dfx::Planner> planner_;
  std::optional<Mailbox<Observed>> observations_;
  std::optional<Mailbox<Made>> plans_;
  std::optional<Made> using_;
  std::vector<double> observation_, command_;
  std::thread thread_;
  std::atomic<bool> running_{false};
  std::string error_;
  int64_t step_ = 0, held_ = 0;
  uint32_t number_ = 0;
  bool coming_ = false;
};

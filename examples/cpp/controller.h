// A controller shaped like ros2_control's ControllerInterface: on_configure opens, on_activate makes the first plan,
// update() is called every period and never waits: it reads a mailbox, and another thread plans. Copy it into a package and
// derive from controller_interface::ControllerInterface: the names and their meaning are the same.
#pragma once
#include <diffuser_fast.hpp>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

enum class CallbackReturn { SUCCESS, FAILURE, ERROR };
enum class return_type { OK, ERROR };

class PlanningController {
 public:
  struct Parameters {
    std::string bundle;
    std::vector<double> goal;        // physical, where the plan shall end; empty: nowhere in particular
    int64_t period_ns = 20'000'000;  // of update()
    int32_t delay = 0;  // periods from an observation to the first use of its plan; 0: to be found
    int32_t fifo = 0;   // priority of the planning thread, below that of the control thread
  };

  explicit PlanningController(Parameters parameters) : parameters_(std::move(parameters)) {}

  CallbackReturn on_configure() {
    return done([this] {
      bundle_.emplace(parameters_.bundle);
      planner_.emplace(*bundle_);
      const dfx_planner_info shape = planner_->info();
      if (!parameters_.goal.empty() && int(parameters_.goal.size()) != shape.observation_dim)
        throw dfx::Error(DFX_ARGUMENT, "goal: not an observation");
      auto thread = dfx::sized<dfx_thread>();
      thread.fifo = parameters_.fifo;
      auto options = dfx::sized<dfx_executor_options>();
      options.period_ns = parameters_.period_ns;
      options.delay = parameters_.delay;
      options.thread = &thread;
      executor_.emplace(*planner_, options);
      observation_.assign(shape.observation_dim, 0.0);
      command_.assign(shape.action_dim, 0.0);
    });
  }

  // The robot stands still: this may take as long as it takes.
  CallbackReturn on_activate() {
    return done([this] {
      if (parameters_.goal.empty())
        executor_->start(observation_);
      else
        executor_->start(observation_, {{-1, parameters_.goal}});
    });
  }

  CallbackReturn on_deactivate() {
    if (executor_) executor_->stop();
    return CallbackReturn::SUCCESS;
  }

  // State interfaces, command interfaces; what there is to be published.
  std::vector<double>& observation() { return observation_; }
  const std::vector<double>& command() const { return command_; }
  const dfx_step& step() const { return step_; }
  dfx_executor_info info() const { return executor_->info(); }
  const std::string& error() const { return error_; }

  // No lock, no allocation; a system call only to wake the planning thread when a plan is begun.
  return_type update() {
    step_ = executor_->step(observation_.data());
    if (!step_.action) return return_type::ERROR;
    std::copy_n(step_.action, command_.size(), command_.begin());
    return return_type::OK;
  }

 private:
  template <class Work>
  CallbackReturn done(Work work) {
    try {
      work();
      return CallbackReturn::SUCCESS;
    } catch (const dfx::Error& error) {
      error_ = error.what();
      return CallbackReturn::FAILURE;
    }
  }

  const Parameters parameters_;
  std::optional<dfx::Bundle> bundle_;
  std::optional<dfx::Planner> planner_;
  std::optional<dfx::Executor> executor_;
  std::vector<double> observation_, command_;
  dfx_step step_{};
  std::string error_;
};

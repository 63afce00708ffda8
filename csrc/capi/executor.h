// Acting while a thread plans: the rules of diffuser_fast/control/acting.py, in steps, with the same numbers.
#pragma once
#include <pthread.h>

#include <atomic>
#include <cstdint>
#include <vector>

#include "../cpu/futex.h"
#include "diffuser_fast.h"
#include "planner.h"

namespace df {

class Executor {
 public:
  // Refused says why not. The planner outlives it.
  Executor(Planner& planner, const Bundle& bundle, const dfx_executor_options& options);
  ~Executor() { stop(); }
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  // Refused says why not.
  void start(const double* observation, const dfx_condition* conditions, int32_t n);
  void stop();
  // The control thread's.
  dfx_status set_conditions(const dfx_condition* conditions, int32_t n);
  dfx_status step(const double* observation, dfx_step* out);
  bool idle() const { return !pending_ || waiting_ || answered_.load(std::memory_order_acquire) == asked_; }
  dfx_executor_info info() const;
  const char* error() const { return error_; }

 private:
  // A plan in use, or one that is being made.
  struct Made {
    std::vector<float> actions, observations;  // [H, A], [H, O]
    std::vector<double> seams;     // [H]: of this plan used from row k on; the old one is used until then
    int64_t step = 0, number = 0;  // of its observation; of the plan
    int64_t took = 0;              // nanoseconds
    dfx_status status = DFX_OK;
    char error[256] = "";  // a copy: whoever plans next with the planner says something else
  };
  // What the planning thread is asked for. Written by the control thread while the other one waits.
  struct Request {
    std::vector<double> values;  // [1 + conditions, O]: the observation first
    std::vector<uint8_t> given;  // likewise
    std::vector<int32_t> times;
    std::vector<double> prefix;  // [delay + 2, A or O]
    int32_t conditions = 0, prefix_at = 0, prefix_length = 0;
    int32_t warm_rows = 0, shift = 1;
    int64_t ago = 0;  // steps that the plan in use is older; -1: there is none
    const Made* old = nullptr;
  };

  void choose_delay();
  template <class Work, size_t size>
  dfx_status held(Work&& work, char (&error)[size]);
  void begin(int64_t i, const double* observation);
  void fill(const double* observation);
  void promise(Request& request) const;
  void receive();
  double take_over(int64_t i);
  int64_t free_until() const;
  // The planning thread's.
  static void* main(void* executor);
  void work();
  void make(const Request& request, Made& made);
  dfx_status plan(const Request& request, Made& made);
  void find_seams(const Request& request, Made& made) const;

  Planner& planner_;
  const Bundle& bundle_;
  dfx_executor_options options_;
  dfx_thread thread_options_{};
  const int32_t horizon_, a_, o_;
  const bool follows_;
  int32_t freeze_, delay_;
  int64_t budget_;

  // The mailbox. One request at a time: the control thread writes it and raises asked; the planning thread writes the
  // plan that is not in use and sets answered to that number.
  uint32_t asked_ = 0;  // as the control thread knows it
  Word asking_{0}, answered_{0};
  std::atomic<bool> stopping_{false};
  Request request_;
  Made plans_[2];

  // The planning thread's, and start's before there is one.
  std::vector<float> all_actions_, all_observations_, last_;
  std::vector<dfx_condition> asked_conditions_;
  char refused_[256] = "";  // of its thread options

  // The control thread's.
  int using_ = 0;  // which of the plans
  bool started_ = false, pending_ = false, waiting_ = false, shifting_ = false;
  int64_t i_ = 0, made_of_ = 0, asked_at_ = 0, number_ = 0, pending_step_ = 0;
  std::vector<double> conditions_;  // [n, O]
  std::vector<uint8_t> conditions_given_;
  std::vector<int32_t> conditions_at_;
  dfx_executor_info counts_{};
  char error_[256] = "";

  pthread_t thread_{};
  bool running_ = false;
  uint32_t process_ = 0;  // fork_generation() of the one that started it
};

}  // namespace df

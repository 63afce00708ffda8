#include "pool.h"

#include <sched.h>
#include <signal.h>

#include <cstdio>

#include "clock.h"
#include "floating_point.h"

namespace df {
namespace {

constexpr int kIdleSpins = 10000;  // of some 20 ns each, without a job; then a thread sleeps
constexpr int kEndSpins = 2000;    // for the others to leave
constexpr int64_t kNap = 5000000;  // nanoseconds
constexpr size_t kStack = size_t{1} << 20;

std::atomic<Pool*> of_this_process{nullptr};
std::atomic<uint32_t> generation{1};

void in_child() {
  of_this_process.store(nullptr,
                        std::memory_order_relaxed);  // its threads are not here; its memory is left behind
  generation.fetch_add(1, std::memory_order_relaxed);
}

const int registered = pthread_atfork(nullptr, nullptr, in_child);

// Scheduling policy and priority of the calling thread.
void scheduling(int* policy, int* priority) {
  *policy = SCHED_OTHER;
  *priority = 0;
#if defined(__linux__)
  const int found = sched_getscheduler(0);
  if (found < 0) return;
  *policy = found & ~SCHED_RESET_ON_FORK;
  sched_param param{};
  if (*policy != SCHED_OTHER && sched_getparam(0, &param) == 0) *priority = param.sched_priority;
#endif
}

}  // namespace

uint32_t fork_generation() { return generation.load(std::memory_order_relaxed); }

Pool& Pool::of_process() {
  (void)registered;
  Pool* pool = of_this_process.load(std::memory_order_acquire);
  if (pool) return *pool;
  Pool* const made = new Pool;
  if (of_this_process.compare_exchange_strong(pool, made, std::memory_order_acq_rel)) return *made;
  delete made;
  return *pool;
}

bool Pool::claim(int threads, const std::vector<int>& cores) {
  uint32_t free = 0;
  if (!inside_.compare_exchange_strong(free, threads, std::memory_order_acq_rel)) return false;
  job_.fetch_add(1, std::memory_order_acq_rel);
  working_ = threads - 1;
  int policy, priority;
  scheduling(&policy, &priority);
  bool fits = grow(working_);
  const Cores here = cores.empty() ? Cores::of_this_thread() : Cores();
  for (int i = 1; fits && i < threads; ++i) {
    fits = follow(*workers_[i - 1], policy, priority, cores.empty() ? here : Cores::only(cores[i]));
  }
  if (!fits) inside_.store(0, std::memory_order_release);
  return fits;
}

bool Pool::follow(Worker& worker, int policy, int priority, const Cores& cores) {
  if (worker.policy != policy || worker.priority != priority) {
    sched_param param{};
    param.sched_priority = priority;
    if (pthread_setschedparam(worker.thread, policy, &param) != 0) return false;
    worker.policy = policy;
    worker.priority = priority;
  }
  if (worker.cores != cores) {
    if (!cores.put(worker.thread)) return false;
    worker.cores = cores;
  }
  return true;
}

// Threads that take no signals, which are the program's business. Nobody waits for their end: they are there as long as
// the process is.
bool Pool::grow(int workers) {
  while (static_cast<int>(workers_.size()) < workers) {
    auto worker = std::make_unique<Worker>();
    worker->pool = this;
    worker->index = static_cast<int>(workers_.size()) + 1;
    sigset_t all, before;
    sigfillset(&all);
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0) return false;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, kStack);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int error = pthread_create(&worker->thread, &attributes, main, worker.get());
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    pthread_attr_destroy(&attributes);
    if (error) return false;
    workers_.push_back(std::move(worker));
  }
  return true;
}

void Pool::start(Job job, void* argument) {
  for (int i = 0; i < working_; ++i) {
    Worker& worker = *workers_[i];
    worker.job = job;
    worker.argument = argument;
    worker.posted.fetch_add(1, std::memory_order_seq_cst);
    if (worker.asleep.load(std::memory_order_seq_cst)) wake(worker.posted);
  }
}

void* Pool::main(void* argument) {
  Worker& worker = *static_cast<Worker*>(argument);
  Pool& pool = *worker.pool;
#if defined(__linux__)
  char name[16];
  std::snprintf(name, sizeof name, "dfx-%d", worker.index);
  pthread_setname_np(pthread_self(), name);
#endif
  const FloatingPoint mode;
  for (uint32_t seen = 0;; ++seen) {
    for (int i = 0; i < kIdleSpins && worker.posted.load(std::memory_order_acquire) == seen; ++i) pause();
    while (worker.posted.load(std::memory_order_seq_cst) == seen) {
      worker.asleep.store(true, std::memory_order_seq_cst);
      if (worker.posted.load(std::memory_order_seq_cst) == seen) sleep_while(worker.posted, seen, -1);
      worker.asleep.store(false, std::memory_order_relaxed);
    }
    worker.job(worker.argument, worker.index);
    pool.leave();
  }
  return nullptr;
}

void Pool::leave() {
  const uint32_t left = inside_.fetch_sub(1, std::memory_order_acq_rel) - 1;
  if (left == 1) wake(inside_);  // the caller, if it sleeps until then
}

bool Pool::wait_until_alone() {
  for (int i = 0; i < kEndSpins; ++i) {
    if (alone()) return true;
    pause();
  }
  const uint32_t seen = inside_.load(std::memory_order_acquire);
  if (seen != 1) sleep_while(inside_, seen, kNap);
  return alone();
}

void Pool::wait_for(uint32_t job) {
  for (;;) {
    const uint32_t inside = inside_.load(std::memory_order_acquire);
    if (inside == 0 || this->job() != job) return;
    sleep_while(inside_, inside, kNap);
  }
}

}  // namespace df

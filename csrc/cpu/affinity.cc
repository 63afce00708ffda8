#include "affinity.h"

#include <exception>
#include <stdexcept>
#include <string>
#include <thread>

namespace df {

#if defined(__linux__)

Cores Cores::of_this_thread() {
  Cores found;
  pthread_getaffinity_np(pthread_self(), sizeof found.set_, &found.set_);
  return found;
}

Cores Cores::only(int core) {
  Cores made;
  if (core >= 0 && core < CPU_SETSIZE) CPU_SET(core, &made.set_);
  return made;
}

bool Cores::put(pthread_t thread) const { return pthread_setaffinity_np(thread, sizeof set_, &set_) == 0; }

bool Cores::operator==(const Cores& o) const { return CPU_EQUAL(&set_, &o.set_); }

#else

Cores Cores::of_this_thread() { return {}; }
Cores Cores::only(int) { return {}; }
bool Cores::put(pthread_t) const { return true; }
bool Cores::operator==(const Cores&) const { return true; }

#endif

void check_cores(const std::vector<int>& cores) {
#if !defined(__linux__)
  if (!cores.empty()) throw std::runtime_error("cores: threads can be pinned on Linux only");
#endif
  int refused = -1;
  std::thread([&] {
    for (int core : cores) {
      if (refused < 0 && !Cores::only(core).put(pthread_self())) refused = core;
    }
  }).join();
  if (refused >= 0)
    throw std::runtime_error("cores: this process may not use core " + std::to_string(refused));
}

Pinned::Pinned(int core) {
  if (core < 0) return;
  before_ = Cores::of_this_thread();
  const Cores wanted = Cores::only(core);
  moved_ = before_ != wanted && wanted.put(pthread_self());
}

Pinned::~Pinned() {
  if (moved_) before_.put(pthread_self());
}

}  // namespace df

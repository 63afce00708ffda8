#include "thread.h"

#include <pthread.h>
#include <sched.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "../cpu/affinity.h"
#include "../cpu/memory.h"
#include "refused.h"

namespace df {
namespace {

constexpr int kStack = 256 << 10;  // bytes: several times what a plan takes

// Not inlined, so that it is beyond the frames that are there.
__attribute__((noinline)) bool lock_stack() {
  volatile unsigned char stack[kStack];
  for (int i = 0; i < kStack; i += 256) stack[i] = 0;
  return lock_memory(const_cast<unsigned char*>(stack), kStack);
}

}  // namespace

void apply(const dfx_thread& thread) {
  if (thread.flags & ~uint32_t{DFX_PIN | DFX_LOCK_STACK})
    refuse(DFX_ARGUMENT, "thread.flags: an unknown one");
  if (thread.fifo < 0 || thread.fifo > 99)
    refuse(DFX_ARGUMENT, "thread.fifo: found " + std::to_string(thread.fifo) + ", expected 0 to 99");
  const bool pin = thread.flags & DFX_PIN;
  if (pin && (thread.core < 0 || thread.core >= 1024))
    refuse(DFX_ARGUMENT, "thread.core: found " + std::to_string(thread.core) + ", expected 0 to 1023");
  std::string refused;
  const auto say = [&](const std::string& text) { refused += (refused.empty() ? "" : "; ") + text; };
  if (pin && !Cores::only(thread.core).put(pthread_self()))
    say("thread.core: this thread may not be on core " + std::to_string(thread.core));
  if ((thread.flags & DFX_LOCK_STACK) && !lock_stack())
    say(std::string("thread.flags: its stack cannot be locked (") + std::strerror(errno) +
        "); raise the limit `ulimit -l`");
  if (thread.fifo) {
    sched_param param{};
    param.sched_priority = thread.fifo;
    if (const int error = pthread_setschedparam(pthread_self(), SCHED_FIFO, &param))
      say(std::string("thread.fifo: ") + std::strerror(error) +
          "; raise the limit `ulimit -r`, or CAP_SYS_NICE");
  }
  if (!refused.empty()) refuse(DFX_SYSTEM, refused);
}

}  // namespace df

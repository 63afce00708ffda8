// Fibers: stacks that take turns on one thread of the host. On x86-64 a switch is a dozen instructions and no system
// call; elsewhere it is the C library's.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <stdexcept>

#if !defined(__x86_64__) || defined(DF_PORTABLE_FIBERS)
#include <ucontext.h>
#endif

namespace df {
namespace emu {

constexpr size_t kStack = 128 << 10, kPage = 4096;

// Stack number n out of `most`, each ending at a page that cannot be touched. They stay.
inline char* stack(int n, int most) {
  static char* base = [=] {
    void* p = mmap(nullptr, kStack * most, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) throw std::runtime_error("no memory for the fibers' stacks");
    for (int i = 0; i < most; ++i) mprotect(static_cast<char*>(p) + i * kStack, kPage, PROT_NONE);
    return static_cast<char*>(p);
  }();
  return base + n * kStack;
}

#if defined(__x86_64__) && !defined(DF_PORTABLE_FIBERS)

extern "C" void df_emu_switch(void** from, void* to);
asm(R"(.text
.weak df_emu_switch
.hidden df_emu_switch
df_emu_switch:
  pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp
  ret
)");

using Place = void*;  // where a fiber, or the thread itself, goes on

inline void go(Place* from, const Place& to) { df_emu_switch(from, to); }

// A fiber that begins in `main`, which must not return.
inline void prepare(Place* place, char* stack, void (*main)()) {
  void** top = reinterpret_cast<void**>(stack + kStack - 64);
  *--top = nullptr;  // so that the stack is aligned as after a call
  *--top = reinterpret_cast<void*>(main);
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  *place = top;
}

#else

using Place = ucontext_t;

inline void go(Place* from, const Place& to) { swapcontext(from, &to); }

inline void prepare(Place* place, char* stack, void (*main)()) {
  getcontext(place);
  place->uc_stack.ss_sp = stack;
  place->uc_stack.ss_size = kStack;
  place->uc_link = nullptr;
  makecontext(place, main, 0);
}

#endif

}  // namespace emu
}  // namespace df

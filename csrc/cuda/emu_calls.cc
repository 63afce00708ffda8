// What calls the emulator: kernels that are compiled with the sanitizer's calls, and tests.
#include <string>

#include "emu.h"

#define DF_ACCESS(kind, write, bytes)                                                         \
  void __tsan_##kind(void* p) {                                                               \
    df::emu::seen(reinterpret_cast<uintptr_t>(p), bytes, write, __builtin_return_address(0)); \
  }                                                                                           \
  static_assert(true, "so that a semicolon may follow")
#define DF_SEEN(bytes)                  \
  DF_ACCESS(read##bytes, false, bytes); \
  DF_ACCESS(write##bytes, true, bytes)
#define DF_SEEN_UNALIGNED(bytes)                  \
  DF_ACCESS(unaligned_read##bytes, false, bytes); \
  DF_ACCESS(unaligned_write##bytes, true, bytes)

extern "C" {
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
DF_SEEN(1);
DF_SEEN(2);
DF_SEEN(4);
DF_SEEN(8);
DF_SEEN(16);
DF_SEEN_UNALIGNED(2);
DF_SEEN_UNALIGNED(4);
DF_SEEN_UNALIGNED(8);
DF_SEEN_UNALIGNED(16);
void __tsan_read_range(void* p, size_t bytes) {
  df::emu::seen(reinterpret_cast<uintptr_t>(p), bytes, false, __builtin_return_address(0));
}
void __tsan_write_range(void* p, size_t bytes) {
  df::emu::seen(reinterpret_cast<uintptr_t>(p), bytes, true, __builtin_return_address(0));
}
}

// ------------------------------------------------------------------------------------------------- what tests call

extern "C" {

// seed: of the schedule, 0: lock step. disabled: an ordering to leave out, a line of `df_emu_sites`, or "".
void df_emu_settings(unsigned seed, const char* disabled) { df::emu::set(seed, disabled); }

// Global memory to be watched. known: whether all of it has been written.
void df_emu_watch(const char* name, void* p, size_t bytes, int known) {
  df::emu::watch(name, p, bytes, known);
}
void df_emu_forget() { df::emu::forget(); }

// What went wrong since the last call, a line each.
const char* df_emu_report() {
  static std::string text;
  return (text = df::emu::taken_reports()).c_str();
}

// The orderings that have been come by since the last call, a line each: file:line and kind.
const char* df_emu_sites() {
  static std::string text;
  return (text = df::emu::taken_sites()).c_str();
}
}

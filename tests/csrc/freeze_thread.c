// Freezes one thread of another process until standard input ends: freeze_thread TID (Linux, by ptrace). Prints "frozen";
// leaves with 77 where it may not.
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  const pid_t thread = (pid_t)atoi(argv[1]);
  int status;
  if (ptrace(PTRACE_SEIZE, thread, 0, 0) || ptrace(PTRACE_INTERRUPT, thread, 0, 0)) return 77;
  if (waitpid(thread, &status, __WALL) != thread) return 77;
  puts("frozen");
  fflush(stdout);
  while (getchar() != EOF) {
  }
  return ptrace(PTRACE_DETACH, thread, 0, 0) ? 1 : 0;
}

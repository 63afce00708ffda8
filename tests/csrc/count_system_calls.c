// Counts the system calls of a program between two calls of getppid(2), in all its threads, and prints the counts:
// count_system_calls PROGRAM ARGUMENTS... (x86-64 Linux, by ptrace).
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum { kThreads = 64, kCalls = 1024 };
static pid_t threads[kThreads];
static int inside[kThreads];  // of a system call

static int slot(pid_t thread) {
  int i = 0;
  while (i < kThreads - 1 && threads[i] && threads[i] != thread) ++i;
  threads[i] = thread;
  return i;
}

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  const pid_t child = fork();
  if (child == 0) {
    if (ptrace(PTRACE_TRACEME, 0, 0, 0)) _exit(77);  // not allowed here
    raise(SIGSTOP);
    execvp(argv[1], argv + 1);
    _exit(127);
  }
  int status;
  if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status)) return WIFEXITED(status) ? WEXITSTATUS(status) : 77;
  ptrace(PTRACE_SETOPTIONS, child, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL);
  ptrace(PTRACE_SYSCALL, child, 0, 0);
  int counting = 0, counts[kCalls] = {0};
  for (pid_t thread; (thread = waitpid(-1, &status, __WALL)) > 0;) {
    if (WIFEXITED(status) || WIFSIGNALED(status)) {
      if (thread == child) return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
      continue;
    }
    int signal = WSTOPSIG(status);
    if (signal == (SIGTRAP | 0x80)) {
      const int i = slot(thread);
      inside[i] = !inside[i];
      struct user_regs_struct registers;
      if (inside[i] && ptrace(PTRACE_GETREGS, thread, 0, &registers) == 0) {
        const unsigned long long call = registers.orig_rax;
        if (call == SYS_getppid) {
          if (counting) {
            for (int n = 0; n < kCalls; ++n) {
              if (counts[n]) printf("%d %d\n", n, counts[n]);
            }
            printf("end\n");
            fflush(stdout);
            memset(counts, 0, sizeof counts);
          }
          counting = !counting;
        } else if (counting && call < kCalls) {
          ++counts[call];
        }
      }
      signal = 0;
    } else if (signal == SIGTRAP || signal == SIGSTOP) {
      signal = 0;
    }
    ptrace(PTRACE_SYSCALL, thread, 0, signal);
  }
  return 0;
}

/* Hides AVX-512 from every library that a process loads, so that others' engines can be held to AVX2 on a machine with
 * more: not each of them has a switch of its own.
 *
 * usage: LD_AUDIT=cap.so program      (x86-64, glibc; compiled with -DKEPT=7, see peers/__init__.py)
 *
 * Before a program uses AVX-512 it has to ask by the instruction xgetbv whether the system keeps its registers. The
 * dynamic linker shows each library to an auditor when it is mapped and nothing in it has run; here each xgetbv in its
 * code becomes a breakpoint, and the signal's handler answers for the instruction: KEPT, a mask of registers. Nothing
 * else of the program changes, and who asks does it once. */
#define _GNU_SOURCE
#include <link.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

enum { kLength = 3, kBefore = 16 };
static const unsigned char kXgetbv[kLength] = {0x0f, 0x01, 0xd0}, kBreak[kLength] = {0xcc, 0x90, 0x90};

static unsigned kept; /* what this system keeps, of KEPT */

static void answer(int signal, siginfo_t* info, void* context) {
  greg_t* registers = ((ucontext_t*)context)->uc_mcontext.gregs;
  (void)signal, (void)info;
  registers[REG_RAX] = kept; /* and the two nops follow */
  registers[REG_RDX] = 0;
}

/* The bytes may stand in the midst of other instructions: who asks has just set ecx to 0, or to a register that is. */
static int asks(const unsigned char* code, const unsigned char* at) {
  for (const unsigned char* p = at - 2; p >= code && p >= at - kBefore; p--) {
    if ((p[0] == 0x31 || p[0] == 0x33) && p[1] == 0xc9) return 1;                    /* xor ecx, ecx */
    if (p[0] == 0x89 && (p[1] & 0xc7) == 0xc1) return 1;                             /* mov ecx, register */
    if (p + 5 <= at && p[0] == 0xb9 && memcmp(p + 1, "\0\0\0\0", 4) == 0) return 1; /* mov ecx, 0 */
  }
  return 0;
}

static void cap(unsigned char* code, size_t bytes, int protection) {
  const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
  for (unsigned char *at = code, *end = code + bytes; (at = memmem(at, (size_t)(end - at), kXgetbv, kLength)); at++) {
    if (!asks(code, at)) continue;
    const uintptr_t first = (uintptr_t)at & -page, last = ((uintptr_t)at + kLength + page - 1) & -page;
    if (mprotect((void*)first, last - first, PROT_READ | PROT_WRITE | PROT_EXEC) != 0) abort();
    memcpy(at, kBreak, kLength);
    mprotect((void*)first, last - first, protection);
  }
}

unsigned int la_version(unsigned int version) {
  unsigned high;
  __asm__ volatile("xgetbv" : "=a"(kept), "=d"(high) : "c"(0));
  kept &= KEPT;
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = answer, action.sa_flags = SA_SIGINFO | SA_NODEFER;
  if (sigaction(SIGTRAP, &action, NULL) != 0) abort();
  return version < LAV_CURRENT ? version : LAV_CURRENT;
}

unsigned int la_objopen(struct link_map* map, Lmid_t space, uintptr_t* cookie) {
  (void)space, (void)cookie;
  /* The first page of a library is its ELF header; the dynamic linker's own code and the kernel's have asked already. */
  const ElfW(Ehdr)* header = (const ElfW(Ehdr)*)map->l_addr;
  if (map->l_addr == 0 || map->l_name[0] != '/' || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0) return 0;
  const ElfW(Phdr)* segment = (const ElfW(Phdr)*)(map->l_addr + header->e_phoff);
  for (int n = 0; n < header->e_phnum; n++, segment++) {
    if (segment->p_type == PT_LOAD && (segment->p_flags & PF_X)) {
      const int protection = PROT_EXEC | ((segment->p_flags & PF_R) ? PROT_READ : 0);
      cap((unsigned char*)map->l_addr + segment->p_vaddr, segment->p_filesz, protection);
    }
  }
  return 0;
}

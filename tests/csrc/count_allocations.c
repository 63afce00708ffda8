// Preloaded into a program: counts what it allocates and frees.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>
#include <stddef.h>

static atomic_long count;

long allocations(void) { return count; }

#define COUNTED(result, name, parameters, arguments)                   \
  result name parameters {                                             \
    static result(*next) parameters;                                   \
    if (!next) next = (result(*) parameters)dlsym(RTLD_NEXT, #name);   \
    ++count;                                                           \
    return next arguments;                                             \
  }

COUNTED(void*, malloc, (size_t size), (size))
COUNTED(void*, realloc, (void* old, size_t size), (old, size))
COUNTED(void*, aligned_alloc, (size_t align, size_t size), (align, size))
COUNTED(int, posix_memalign, (void** out, size_t align, size_t size), (out, align, size))
COUNTED(void, free, (void* old), (old))

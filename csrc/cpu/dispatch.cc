#include "dispatch.h"

#include <cstring>

namespace df {
namespace {

bool has(const Table& table) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (&table == &avx2::table) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (&table == &avx512::table) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("fma");
  }
  if (&table == &avx512_bf16::table) return has(avx512::table) && __builtin_cpu_supports("avx512bf16");
#endif
  return &table == &scalar::table;
}

const Table* const kTables[] = {
    &scalar::table,
#if defined(__x86_64__)
    &avx2::table,
    &avx512::table,
    &avx512_bf16::table,
#endif
};

}  // namespace

const Table* table_at(int i) {
  for (const Table* table : kTables) {
    if (has(*table) && i-- == 0) return table;
  }
  return nullptr;
}

const Table* table_named(const char* isa) {
  const Table* widest = nullptr;
  for (const Table* table : kTables) {
    if (!has(*table)) continue;
    if (isa && std::strcmp(isa, table->name) == 0) return table;
    widest = table;
  }
  return isa ? nullptr : widest;
}

}  // namespace df

extern "C" const char* df_isa_name(int32_t i) {
  const df::Table* table = df::table_at(i);
  return table ? table->name : nullptr;
}

extern "C" int32_t df_function(const char* isa, int32_t which, const float* x, float* y, int64_t n) {
  const df::Table* table = df::table_named(isa);
  if (table) table->function(which, x, y, n);
  return table != nullptr;
}

extern "C" int32_t df_philox(const char* isa, uint64_t seed, const uint32_t* counter, uint32_t* words,
                             int64_t n) {
  const df::Table* table = df::table_named(isa);
  if (table) table->philox(seed, counter, words, n);
  return table != nullptr;
}

extern "C" int32_t df_normals(const char* isa, const uint32_t* words, float* normals, int64_t n) {
  const df::Table* table = df::table_named(isa);
  if (table) table->normals(words, normals, n);
  return table != nullptr;
}

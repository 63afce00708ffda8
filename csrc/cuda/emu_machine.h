// What the parts of the emulator share: its machine, while a launch runs. See emu.h; compiled without the sanitizer.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "emu.h"
#include "fiber.h"
#include "race.h"

namespace df {
namespace emu {

constexpr int kWarp = 32, kMostThreads = 2048;
constexpr size_t kMostShared = 256 << 10;

struct Barrier {
  const char* what;
  int need = 0, got = 0;
  uint32_t generation = 0;
  Site site{};
  Clock clock, released;
  std::shared_ptr<const Known> known, known_released;
};

struct Fiber {
  Place place{};
  int number = 0, block = 0, thread = 0;  // number: within the wave
  bool done = false;
  const Barrier* waits = nullptr;
  uint32_t since = 0;
};

// What a warp's lanes give each other; two of them, so that the next may begin before all have read.
struct Warp {
  Barrier ordering{"warp barrier"}, collective{"warp collective"};
  uint32_t given[2][kWarp][6];
  float product[2][16][8];
  unsigned turn[kWarp] = {};
};

// Of a block's shared memory, by its place there.
struct Arrivals {
  Barrier barrier{"mbarrier"};
  int64_t bytes = 0;  // that were said and have not come
};

struct Block {
  Barrier barrier{"block barrier"};
  std::map<size_t, Arrivals> arrivals;
  std::vector<Warp> warps;
  unsigned char* shared = nullptr;
  Region* region = nullptr;
  int left = 0;  // threads that have ended
  Clock reached,
      at_end;  // the last access from outside by each thread; what its own threads knew when they ended
};

struct Machine {
  Shape shape;
  int first_block = 0;
  std::vector<Block> blocks;
  std::vector<Fiber> fibers;
  Barrier cluster{"cluster barrier"};
  Fiber* current = nullptr;
  bool progress = false;
  void (*body)(const void*) = nullptr;
  const void* argument = nullptr;
  std::string error;
};

extern Machine* machine;
extern Detector detector;

inline Fiber& me() { return *machine->current; }
inline Block& my_block() { return machine->blocks[me().block]; }
inline Warp& my_warp() { return my_block().warps[me().thread / kWarp]; }

// The scheduler's turn: other fibers go on before this one does.
void yield();

// Whether this ordering is to be left out; it is noted that there is such a one.
bool left_out(Site site, const char* kind);

[[noreturn]] void fail(const std::string& what);

}  // namespace emu
}  // namespace df

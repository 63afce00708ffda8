// Of the emulator: what blocks of a cluster do to each other's shared memory. See emu.h; compiled without the sanitizer.
#include <cstring>
#include <string>

#include "emu_machine.h"

namespace df {
namespace emu {
namespace {

size_t offset_of(const void* p, size_t bytes) {
  const size_t offset = static_cast<const unsigned char*>(p) - my_block().shared;
  if (offset + bytes > static_cast<size_t>(machine->shape.shared_bytes)) fail("a store beyond shared memory");
  return offset;
}

// The block of this rank, whose shared memory is reached into: it must have begun, and not end before that is known.
Block& reached(int rank) {
  Block& there = machine->blocks[rank];
  const int number = me().number;
  if (rank == me().block) return there;
  if (detector.clock(number)[rank * machine->shape.threads] == 0)
    fail("ENTRY: a store into block " + std::to_string(rank) + ", which may not have begun");
  if (there.left == machine->shape.threads)
    fail("EXIT: a store into block " + std::to_string(rank) + ", which has ended");
  there.reached.resize(machine->fibers.size());
  there.reached[number] = detector.clock(number)[number];
  return there;
}

Arrivals& arrivals_of(Block& block, size_t offset) {
  const auto found = block.arrivals.find(offset);
  if (found == block.arrivals.end()) fail("no mbarrier has begun there");
  detector.read(me().number, reinterpret_cast<uintptr_t>(block.shared + offset), 8, nullptr);
  return found->second;
}

void end_phase_if_complete(Arrivals& of) {
  Barrier& b = of.barrier;
  if (b.got < b.need) return;
  if (b.got > b.need || of.bytes < 0) fail("ARRIVALS: more came to an mbarrier than was said");
  if (of.bytes) return;
  b.got = 0;
  ++b.generation;
  b.released.swap(b.clock);
  b.clock.assign(b.released.size(), 0);
  b.known_released = b.known;
  b.known = nullptr;
  machine->progress = true;
}

}  // namespace

void store_remote(float* p, int rank, float v) {
  const size_t offset = offset_of(p, sizeof v);
  Block& there = reached(rank);
  detector.write(me().number, reinterpret_cast<uintptr_t>(there.shared + offset), sizeof v,
                 __builtin_return_address(0));
  memcpy(there.shared + offset, &v, sizeof v);
}

void begin_arrivals(uint64_t* bar, int arrivals) {
  const size_t offset = offset_of(bar, sizeof *bar);
  if (offset % 8) fail("an mbarrier at no multiple of eight bytes");
  detector.write(me().number, reinterpret_cast<uintptr_t>(bar), sizeof *bar, __builtin_return_address(0));
  my_block().arrivals[offset] = Arrivals();
  my_block().arrivals[offset].barrier.need = arrivals;
}

void arrive(uint64_t* bar, int rank, int bytes, Site site) {
  const size_t offset = offset_of(bar, sizeof *bar);
  Arrivals& there = arrivals_of(reached(rank), offset);
  const int number = me().number;
  if (!left_out(site, "release")) {
    join(there.barrier.clock, detector.clock(number));
    there.barrier.known = Detector::merged(there.barrier.known, detector.known(number));
    detector.tick(number);
  }
  there.bytes += bytes;
  ++there.barrier.got;
  end_phase_if_complete(there);
}

void send(float* p, int rank, float v, uint64_t* bar) {
  const size_t offset = offset_of(p, sizeof v), at = offset_of(bar, sizeof *bar);
  Block& there = reached(rank);
  Arrivals& arrivals = arrivals_of(there, at);
  detector.send(me().number, me().block, reinterpret_cast<uintptr_t>(there.shared + offset), sizeof v,
                __builtin_return_address(0), arrivals.barrier.clock);
  memcpy(there.shared + offset, &v, sizeof v);
  arrivals.bytes -= sizeof v;
  end_phase_if_complete(arrivals);
}

void wait(uint64_t* bar, int parity, Site site) {
  Barrier& b = arrivals_of(my_block(), offset_of(bar, sizeof *bar)).barrier;
  if (static_cast<int>(b.generation & 1) == parity) {  // the phase that is not over
    me().waits = &b;
    me().since = b.generation;
    while (b.generation == me().since) yield();
    me().waits = nullptr;
    machine->progress = true;
  }
  if (left_out(site, "acquire")) return;
  join(detector.clock(me().number), b.released);
  detector.learn_all(me().number, b.known_released);
  detector.tick(me().number);
}

}  // namespace emu
}  // namespace df

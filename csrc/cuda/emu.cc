// The emulator's machine: fibers, their schedule, what they wait for, and what a sanitized kernel calls. See emu.h.
// This file is compiled without the sanitizer.
#include <dlfcn.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "emu_machine.h"

namespace df {
namespace emu {

Machine* machine = nullptr;
Detector detector;

namespace {

struct Settings {
  unsigned seed = 0;
  std::string disabled;  // the ordering that is left out
};

struct OrderingSite {
  Site site;
  const char* kind;
  bool disabled;
};

Settings settings;
std::vector<std::string> reports;
std::vector<OrderingSite> sites;
uintptr_t stacks_begin = 0;

Place scheduler;

std::string place(Site site) {
  const char* slash = strrchr(site.file, '/');
  return std::string(slash ? slash + 1 : site.file) + ":" + std::to_string(site.line);
}

}  // namespace

void yield() { go(&machine->current->place, scheduler); }

void fail(const std::string& what) {
  throw std::runtime_error(what + " (block " + std::to_string(machine->first_block + me().block) +
                           ", thread " + std::to_string(me().thread) + ")");
}

bool left_out(Site site, const char* kind) {
  for (const OrderingSite& one : sites)
    if (one.site.line == site.line && !strcmp(one.kind, kind) && !strcmp(one.site.file, site.file))
      return one.disabled;
  const bool disabled = settings.disabled == place(site) + " " + kind;
  sites.push_back({site, kind, disabled});
  return disabled;
}

namespace {

// A block's shared memory is gone when its last thread ends: whoever reached into it must be known to have done so.
void ended() {
  Block& block = my_block();
  join(block.at_end, detector.clock(me().number));
  if (++block.left < machine->shape.threads) return;
  for (size_t i = 0; i < block.reached.size(); ++i)
    if (block.reached[i] > block.at_end[i] && machine->error.empty())
      machine->error = "EXIT: block " + std::to_string(me().block) + " may end before thread " +
                       std::to_string(i % machine->shape.threads) + " of block " +
                       std::to_string(i / machine->shape.threads) + " has stored into its shared memory";
}

void fiber_main() {
  try {
    machine->body(machine->argument);
  } catch (const std::exception& e) {
    if (machine->error.empty()) machine->error = e.what();
  }
  machine->current->done = true;
  machine->progress = true;
  ended();
  yield();
  abort();
}

// Waits until all have come. orders: whether what they wrote is seen afterwards. last: done by the last to come.
template <class Last>
void wait(Barrier& b, Site site, bool orders, Last last) {
  const int number = me().number;
  if (b.got == 0)
    b.site = site;
  else if (b.site.line != site.line || strcmp(b.site.file, site.file))
    fail(std::string("DIVERGENCE: one ") + b.what + " is waited for at " + place(b.site) + " and at " +
         place(site));
  if (orders) {
    join(b.clock, detector.clock(number));
    b.known = Detector::merged(b.known, detector.known(number));
  }
  machine->progress = true;
  if (++b.got == b.need) {
    last();
    b.got = 0;
    ++b.generation;
    if (orders) {
      b.released.swap(b.clock);
      b.clock.assign(b.released.size(), 0);
      b.known_released = b.known;
      b.known = nullptr;
    }
  } else {
    me().waits = &b;
    me().since = b.generation;
    while (b.generation == me().since) yield();
    me().waits = nullptr;
    machine->progress = true;
  }
  if (orders) {
    join(detector.clock(number), b.released);
    detector.learn_all(number, b.known_released);
    detector.tick(number);
  }
}

// What each lane gives, by lane: everyone waits for everyone, and nothing is ordered by it.
template <class Last>
unsigned collect(const uint32_t* words, int n, Site site, Last last) {
  Warp& w = my_warp();
  const int lane = me().thread % kWarp;
  const unsigned turn = w.turn[lane]++ & 1;
  memcpy(w.given[turn][lane], words, n * sizeof *words);
  wait(w.collective, site, false, [&] { last(w, turn); });
  return turn;
}

float half_to_float(uint32_t bits) { return __builtin_bit_cast(_Float16, static_cast<uint16_t>(bits)); }

void multiply(Warp& w, unsigned turn) {
  float a[16][16], b[16][8];
  for (int lane = 0; lane < kWarp; ++lane) {
    const uint32_t* given = w.given[turn][lane];
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; ++i)
      for (int j = 0; j < 2; ++j) a[g + i % 2 * 8][2 * t + j + i / 2 * 8] = half_to_float(given[i] >> 16 * j);
    for (int i = 0; i < 2; ++i)
      for (int j = 0; j < 2; ++j) b[2 * t + j + 8 * i][g] = half_to_float(given[4 + i] >> 16 * j);
  }
  for (int row = 0; row < 16; ++row) {
    float sum[8] = {};
    for (int k = 0; k < 16; ++k)
      for (int n = 0; n < 8; ++n) sum[n] += a[row][k] * b[k][n];
    memcpy(w.product[turn][row], sum, sizeof sum);
  }
}

// ---------------------------------------------------------------------------------------------------------- schedule

unsigned char* shared_memory_end(int block) {
  static std::vector<unsigned char*> ends;
  while (static_cast<int>(ends.size()) <= block) {
    void* p = mmap(nullptr, kMostShared + kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) throw std::runtime_error("no memory for shared memory");
    mprotect(static_cast<unsigned char*>(p) + kMostShared, kPage, PROT_NONE);
    ends.push_back(static_cast<unsigned char*>(p) + kMostShared);
  }
  return ends[block];
}

void step(Fiber& f) {
  if (f.done || (f.waits && f.waits->generation == f.since)) return;
  machine->current = &f;
  go(&scheduler, f.place);
  if (!machine->error.empty()) throw std::runtime_error(machine->error);
}

bool step_warp(int first) {
  machine->progress = false;
  for (int i = 0; i < kWarp; ++i) step(machine->fibers[first + i]);
  return machine->progress;
}

std::string unfinished() {
  std::string text = "DEADLOCK:";
  auto add = [&](const Barrier& b, int block) {
    if (b.got)
      text += " " + std::string(b.what) + " of block " + std::to_string(block) + " at " + place(b.site) +
              " has " + std::to_string(b.got) + " of " + std::to_string(b.need) + ";";
  };
  add(machine->cluster, machine->first_block);
  for (size_t i = 0; i < machine->blocks.size(); ++i) {
    add(machine->blocks[i].barrier, machine->first_block + i);
    for (const auto& [offset, one] : machine->blocks[i].arrivals)
      if (one.barrier.got || one.bytes)
        text += " mbarrier of block " + std::to_string(i) + " has " + std::to_string(one.barrier.got) +
                " of " + std::to_string(one.barrier.need) + " arrivals and misses " +
                std::to_string(one.bytes) + " bytes;";
    for (const Warp& w : machine->blocks[i].warps) {
      add(w.ordering, machine->first_block + i);
      add(w.collective, machine->first_block + i);
    }
  }
  return text;
}

void run_wave(std::mt19937& random) {
  Machine& m = *machine;
  const int warps = m.fibers.size() / kWarp;
  std::vector<int> order(warps);
  for (int i = 0; i < warps; ++i) order[i] = i;
  auto finished = [&] {
    return std::all_of(m.fibers.begin(), m.fibers.end(), [](const Fiber& f) { return f.done; });
  };
  while (!finished()) {
    bool any = false;
    if (settings.seed) std::shuffle(order.begin(), order.end(), random);
    for (int w : order)
      if (settings.seed)
        while (step_warp(w * kWarp)) any = true;
      else
        any |= step_warp(w * kWarp);
    if (!any && !finished()) throw std::runtime_error(unfinished());
  }
}

void start_wave(int first_block) {
  Machine& m = *machine;
  const int blocks = m.shape.cluster, threads = m.shape.threads;
  m.first_block = first_block;
  m.cluster = Barrier{"cluster barrier"};
  m.cluster.need = blocks * threads;
  m.blocks.assign(blocks, Block());
  m.fibers.assign(blocks * threads, Fiber());
  detector.begin_wave(blocks * threads, blocks);
  stacks_begin = reinterpret_cast<uintptr_t>(stack(0, kMostThreads));
  for (int b = 0; b < blocks; ++b) {
    Block& block = m.blocks[b];
    block.barrier.need = threads;
    block.warps.resize(threads / kWarp);
    for (Warp& w : block.warps) w.ordering.need = w.collective.need = kWarp;
    const size_t bytes = (m.shape.shared_bytes + 127) / 128 * 128;
    block.shared = shared_memory_end(b) - bytes;
    memset(block.shared, 0xff, bytes);
    block.region = detector.watch("shared memory", block.shared, bytes, false);
  }
  for (size_t i = 0; i < m.fibers.size(); ++i) {
    Fiber& f = m.fibers[i];
    f.number = i;
    f.block = i / threads;
    f.thread = i % threads;
    prepare(&f.place, stack(i, kMostThreads), fiber_main);
  }
}

}  // namespace

void launch(const Shape& shape, void (*body)(const void*), const void* argument) {
  Machine m;
  m.shape = shape;
  m.body = body;
  m.argument = argument;
  machine = &m;
  std::mt19937 random(settings.seed);
  std::string error;
  try {
    if (shape.threads % kWarp || shape.blocks % shape.cluster || shape.threads * shape.cluster > kMostThreads)
      throw std::runtime_error("a launch of " + std::to_string(shape.threads) + " threads in clusters of " +
                               std::to_string(shape.cluster));
    if (shape.shared_bytes > static_cast<int>(kMostShared))
      throw std::runtime_error(std::to_string(shape.shared_bytes) + " bytes of shared memory");
    detector.begin_launch();
    std::vector<int> waves(shape.blocks / shape.cluster);
    for (size_t i = 0; i < waves.size(); ++i) waves[i] = i * shape.cluster;
    if (settings.seed) std::shuffle(waves.begin(), waves.end(), random);
    for (int first : waves) {
      start_wave(first);
      std::exception_ptr failed;
      try {
        run_wave(random);
      } catch (...) {
        failed = std::current_exception();
      }
      for (Block& block : m.blocks) detector.forget(block.region);
      if (failed) std::rethrow_exception(failed);
    }
  } catch (const std::exception& e) {
    error = e.what();
  }
  machine = nullptr;
  if (!error.empty()) reports.push_back(error);
  for (std::string& one : detector.reports) reports.push_back(std::move(one));
  detector.reports.clear();
}

void* shared() { return my_block().shared; }

void sync_block(Site site) {
  if (!left_out(site, "block barrier")) wait(my_block().barrier, site, true, [] {});
}

void sync_warp(Site site) {
  if (!left_out(site, "warp barrier")) wait(my_warp().ordering, site, true, [] {});
}

void sync_cluster(Site site) {
  if (!left_out(site, "cluster barrier")) wait(machine->cluster, site, true, [] {});
}

uint32_t exchange(uint32_t v, int from, Site site) {
  const unsigned turn = collect(&v, 1, site, [](Warp&, unsigned) {});
  return my_warp().given[turn][from][0];
}

void mma(float* d, const uint32_t* a, uint32_t b0, uint32_t b1, Site site) {
  const uint32_t words[6] = {a[0], a[1], a[2], a[3], b0, b1};
  const unsigned turn = collect(words, 6, site, multiply);
  const int g = me().thread % kWarp / 4, t = me().thread % 4;
  for (int i = 0; i < 4; ++i) d[i] += my_warp().product[turn][g + i / 2 * 8][2 * t + i % 2];
}

int atomic_add(int* p, int v, Site site) {
  const bool release = !left_out(site, "release"), acquire = !left_out(site, "acquire");
  detector.atomic(me().number, reinterpret_cast<uintptr_t>(p), release, acquire);
  const int before = *p;
  *p += v;
  return before;
}

void atomic_min(int* p, int v) {
  detector.atomic(me().number, reinterpret_cast<uintptr_t>(p), false, false);
  *p = std::min(*p, v);
}

namespace {

std::string code(const void* pc) {
  Dl_info info;
  char text[32];
  if (!pc || !dladdr(pc, &info)) return "?";
  snprintf(text, sizeof text, "+0x%zx",
           static_cast<const char*>(pc) - static_cast<const char*>(info.dli_fbase));
  return text;
}

}  // namespace

void Detector::report(const char* what, const Region& region, size_t index, int thread, const void* pc,
                      Epoch other, const void* other_pc) {
  if (reports.size() >= kMost) return;
  const int threads = machine->shape.threads;
  std::string text = "RACE: " + std::string(what) + " in " + region.name + " at byte " +
                     std::to_string(4 * index) + " by thread " + std::to_string(thread % threads) +
                     " of block " + std::to_string(machine->first_block + thread / threads) + " " + code(pc);
  if (other.wave)
    text +=
        other.wave == wave_ ? ", other thread " + std::to_string(other.thread % threads) : ", another block";
  if (other_pc) text += " " + code(other_pc);
  reports.push_back(std::move(text));
}

void seen(uintptr_t at, size_t bytes, bool write, const void* pc) {
  if (at - stacks_begin < kMostThreads * kStack) return;  // a thread's own variables
  if (!machine || !machine->current) return;
  if (write)
    detector.write(me().number, at, bytes, pc);
  else
    detector.read(me().number, at, bytes, pc);
}

void set(unsigned seed, const char* disabled) {
  settings = {seed, disabled};
  for (OrderingSite& one : sites) one.disabled = settings.disabled == place(one.site) + " " + one.kind;
}

void watch(const char* name, void* p, size_t bytes, bool known) { detector.watch(name, p, bytes, known); }
void forget() { detector.forget_all(); }

std::string taken_reports() {
  std::string text;
  for (const std::string& one : reports) text += one + "\n";
  reports.clear();
  return text;
}

std::string taken_sites() {
  std::string text;
  for (const OrderingSite& one : sites) text += place(one.site) + " " + one.kind + "\n";
  sites.clear();
  return text;
}

}  // namespace emu

namespace cuda {

int thread() { return emu::me().thread; }
int lane() { return emu::me().thread % 32; }
int warp() { return emu::me().thread / 32; }
int block() { return emu::machine->first_block + emu::me().block; }
int blocks() { return emu::machine->shape.blocks; }
int rank_in_cluster() { return emu::me().block; }

}  // namespace cuda
}  // namespace df

// A happens-before race detector: a vector clock per thread, a shadow per word of memory (FastTrack: Flanagan and Freund
// 2009, "FastTrack: efficient and precise dynamic race detection").
//
// Threads are those of the blocks that live at the same time, a wave: one block, or a cluster. Each has a clock of its
// own and knows those of the others as far as something ordered them: a barrier, a warp barrier, an atomic. A shuffle
// or a matrix product orders nothing. What a block sends into others is written by its sender, a unit with a clock but
// no code: it follows what the sending thread knew, and is known to those alone who waited where it arrived. Two accesses to a word, one of them a write, that no order connects are a
// race, whatever the schedule did with them. Waves of one launch run one after another here, and at the same time on a
// GPU: between them only atomics order. Launches are in order.
//
// Words are of four bytes. A read of a word that nobody has written is reported as well.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace df {
namespace emu {

using Clock = std::vector<uint32_t>;
using Known = std::map<uint32_t, Clock>;  // by wave

inline void join(Clock& into, const Clock& from) {
  if (into.size() < from.size()) into.resize(from.size());
  for (size_t i = 0; i < from.size(); ++i) into[i] = std::max(into[i], from[i]);
}

struct Epoch {
  uint32_t wave = 0;  // 0: never; kHost: before the launch
  uint32_t thread = 0;
  uint32_t time = 0;
};

struct Word {
  Epoch write, read, older;        // older: a read of an earlier wave, one for all of them
  std::unique_ptr<Clock> readers;  // where several threads read without an order between them
  const void* write_pc = nullptr;
};

struct Region {
  std::string name;
  uintptr_t begin, end;
  std::vector<Word> words;
};

class Detector {
 public:
  static constexpr uint32_t kHost = 1;
  static constexpr size_t kMost = 8;  // reports that are kept

  std::vector<std::string> reports;

  // Memory to be watched until `forget`. known: whether it has been written.
  Region* watch(std::string name, void* p, size_t bytes, bool known) {
    pages_.assign(kPages, Page());
    regions_.push_back(std::make_unique<Region>());
    Region* region = regions_.back().get();
    region->name = std::move(name);
    region->begin = reinterpret_cast<uintptr_t>(p);
    region->end = region->begin + bytes;
    region->words.resize((bytes + 3) / 4);
    if (known)
      for (Word& word : region->words) word.write.wave = kHost;
    return region;
  }
  void forget(Region* region) {
    pages_.assign(kPages, Page());
    for (size_t i = 0; i < regions_.size(); ++i)
      if (regions_[i].get() == region) return void(regions_.erase(regions_.begin() + i));
  }
  void forget_all() {
    pages_.assign(kPages, Page());
    regions_.clear();
  }

  void begin_launch() {
    launch_ = wave_ + 1;
    variables_.clear();
  }
  void begin_wave(int threads, int senders) {
    ++wave_;
    threads_ = threads;
    clocks_.assign(threads, Clock(threads + senders, 0));
    sent_.assign(senders, 0);
    known_.assign(threads, nullptr);
    for (int i = 0; i < threads; ++i) clocks_[i][i] = 1;
  }

  Clock& clock(int thread) { return clocks_[thread]; }
  void tick(int thread) { ++clocks_[thread][thread]; }

  void read(int thread, uintptr_t at, size_t bytes, const void* pc) {
    each(at, bytes, [&](Region& region, Word& word, size_t index) {
      if (word.write.wave == 0) report("read of what nobody wrote", region, index, thread, pc, {}, nullptr);
      if (!ordered(word.write, thread))
        report("read races with write", region, index, thread, pc, word.write, word.write_pc);
      note_read(word, thread);
    });
  }
  void write(int thread, uintptr_t at, size_t bytes, const void* pc) {
    each(at, bytes, [&](Region& region, Word& word, size_t index) {
      check_write(region, word, index, thread, pc);
      word.write = {wave_, static_cast<uint32_t>(thread), clocks_[thread][thread]};
      word.write_pc = pc;
    });
  }
  // A write that a thread has sent, by a sender; `into` is who will know of it.
  void send(int thread, int sender, uintptr_t at, size_t bytes, const void* pc, Clock& into) {
    const uint32_t number = threads_ + sender, time = ++sent_[sender];
    each(at, bytes, [&](Region& region, Word& word, size_t index) {
      check_write(region, word, index, thread, pc);
      word.write = {wave_, number, time};
      word.write_pc = pc;
    });
    if (into.size() <= number) into.resize(number + 1);
    into[number] = std::max(into[number], time);
  }
  // An atomic access: it races with no other, publishes what its thread knows, and learns what was published.
  void atomic(int thread, uintptr_t at, bool release, bool acquire) {
    Known& variable = variables_[at];
    if (acquire) {
      for (auto& [wave, clock] : variable) {
        if (wave == wave_)
          join(clocks_[thread], clock);
        else
          learn(thread, wave, clock);
      }
    }
    if (release) {
      join(variable[wave_], clocks_[thread]);
      if (known_[thread])
        for (auto& [wave, clock] : *known_[thread]) join(variable[wave], clock);
      tick(thread);
    }
    each(at, 4, [&](Region&, Word& word, size_t) { word.write.wave = kHost; });
  }

  // What a barrier hands on beside clocks: knowledge of earlier waves.
  std::shared_ptr<const Known> known(int thread) const { return known_[thread]; }
  void learn_all(int thread, const std::shared_ptr<const Known>& from) {
    known_[thread] = merged(known_[thread], from);
  }
  static std::shared_ptr<const Known> merged(const std::shared_ptr<const Known>& a,
                                             const std::shared_ptr<const Known>& b) {
    if (!a || !b || a == b) return a ? a : b;
    auto both = std::make_shared<Known>(*a);
    for (auto& [wave, clock] : *b) join((*both)[wave], clock);
    return both;
  }

 private:
  std::vector<std::unique_ptr<Region>> regions_;

  struct Page {
    uintptr_t number = 0;
    Region* only = nullptr;
    bool several = false;
  };
  static constexpr size_t kPages = 4096;
  std::vector<Page> pages_ = std::vector<Page>(kPages);
  uint32_t wave_ = kHost, launch_ = kHost + 1;
  int threads_ = 0;
  std::vector<Clock> clocks_;
  std::vector<uint32_t> sent_;  // by each sender
  std::vector<std::shared_ptr<const Known>> known_;
  std::map<uintptr_t, Known> variables_;

  template <class Use>
  void each(uintptr_t at, size_t bytes, Use use) {
    Region* region = region_of(at, bytes);
    if (!region) return;
    const uintptr_t first = std::max(at, region->begin), last = std::min(at + bytes, region->end);
    for (size_t i = (first - region->begin) / 4; i < (last - region->begin + 3) / 4; ++i)
      use(*region, region->words[i], i);
  }

  // The region of an access. Pages are remembered, for most accesses are to pages that are in one region or in none.
  Region* region_of(uintptr_t at, size_t bytes) {
    const uintptr_t page = at >> 12;
    Page& known = pages_[page % kPages];
    if (known.number != page) known = found(page);
    if (!known.several && (at + bytes - 1) >> 12 == page)
      return known.only && at < known.only->end && at + bytes > known.only->begin ? known.only : nullptr;
    for (auto& region : regions_)
      if (at < region->end && at + bytes > region->begin) return region.get();
    return nullptr;
  }

  Page found(uintptr_t page) const {
    Page it{page, nullptr, false};
    for (auto& region : regions_)
      if (page << 12 < region->end && (page + 1) << 12 > region->begin) {
        it.several = it.only != nullptr;
        it.only = region.get();
        if (it.several) break;
      }
    return it;
  }

  bool ordered(const Epoch& e, int thread) const {
    if (e.wave < launch_) return true;
    if (e.wave == wave_)
      return e.thread == static_cast<uint32_t>(thread) || clocks_[thread][e.thread] >= e.time;
    if (!known_[thread]) return false;
    const auto found = known_[thread]->find(e.wave);
    return found != known_[thread]->end() && e.thread < found->second.size() &&
           found->second[e.thread] >= e.time;
  }

  void note_read(Word& word, int thread) {
    const uint32_t time = clocks_[thread][thread];
    if (word.read.wave == wave_) {
      if (word.readers) return void((*word.readers)[thread] = time);
      if (!ordered(word.read, thread)) {
        word.readers = std::make_unique<Clock>(threads_, 0);
        (*word.readers)[word.read.thread] = word.read.time;
        return void((*word.readers)[thread] = time);
      }
    } else {
      if (word.read.wave >= launch_) word.older = word.read;
      word.readers.reset();
    }
    word.read = {wave_, static_cast<uint32_t>(thread), time};
  }

  void check_write(Region& region, Word& word, size_t index, int thread, const void* pc) {
    if (!ordered(word.write, thread))
      report("write races with write", region, index, thread, pc, word.write, word.write_pc);
    if (!ordered(word.read, thread))
      report("write races with read", region, index, thread, pc, word.read, nullptr);
    if (!ordered(word.older, thread))
      report("write races with read", region, index, thread, pc, word.older, nullptr);
    if (word.readers && word.read.wave == wave_)
      for (int i = 0; i < threads_; ++i)
        if (i != thread && (*word.readers)[i] > clocks_[thread][i]) {
          report("write races with read", region, index, thread, pc, {wave_, static_cast<uint32_t>(i), 0},
                 nullptr);
          break;
        }
    word.readers.reset();
    word.read = word.older = {};
  }

  void learn(int thread, uint32_t wave, const Clock& clock) {
    known_[thread] = merged(known_[thread], std::make_shared<Known>(Known{{wave, clock}}));
  }

  void report(const char* what, const Region& region, size_t index, int thread, const void* pc, Epoch other,
              const void* other_pc);
};

}  // namespace emu
}  // namespace df

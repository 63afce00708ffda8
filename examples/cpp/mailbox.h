// The newest value from one thread to another. Neither waits for the other: three slots, one swap of an index each.
#pragma once
#include <atomic>

template <class T>
class Mailbox {
 public:
  template <class... Arguments>
  explicit Mailbox(const Arguments&... arguments)
      : slots_{T(arguments...), T(arguments...), T(arguments...)} {}

  // The writer's slot, to be filled; sent by post().
  T& draft() { return slots_[writing_]; }
  void post() { writing_ = middle_.exchange(writing_ | kNew, std::memory_order_acq_rel) & kIndex; }

  // The reader's: whether a newer one has come; newest() is it.
  bool receive() {
    if (!(middle_.load(std::memory_order_relaxed) & kNew)) return false;
    reading_ = middle_.exchange(reading_, std::memory_order_acq_rel) & kIndex;
    return true;
  }
  const T& newest() const { return slots_[reading_]; }

 private:
  static constexpr unsigned kIndex = 3, kNew = 4;
  T slots_[3];
  unsigned writing_ = 0, reading_ = 1;
  std::atomic<unsigned> middle_{2};
};

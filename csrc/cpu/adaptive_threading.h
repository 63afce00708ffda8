// Adaptive threading: whether the next plan takes intra-op parallelism (threads share each op) or one thread alone. The
// numbers are the same either way, only the time differs. Sharing pays while every thread has a core to itself; where
// other programs take cores away the threads wait for each other at every barrier. Then one thread alone is tried, and
// the faster of the two stays. Threads that dissolved (barrier.h) have answered the question.
#pragma once
#include <algorithm>

namespace df {

class AdaptiveThreading {
 public:
  bool intra_op() const { return intra_op_; }

  // After a plan whose threads dissolved: alone for a while, longer each time.
  void dissolved() {
    intra_op_ = trial_ = false;
    fresh_ = true;
    left_ = alone_;
    alone_ = std::min(2 * alone_, kLongest);
  }

  // After a plan: its time, and the fraction of all threads' time that was lost at barriers. One disturbed plan is no
  // reason to go alone: that has to be faster than shared plans have been lately.
  void after(double seconds, double lost) {
    if (intra_op_) {
      average_ = fresh_ ? seconds : average_ + (seconds - average_) / 4;
      fresh_ = false;
      alone_ = 1;
      if (lost < kTolerable) {
        rest_ = kShortest;
      } else if (left_ == 0) {
        intra_op_ = false;  // a trial
        trial_ = true;
        return;
      }
    } else if (trial_) {
      trial_ = false;
      intra_op_ = seconds >= average_;
      fresh_ = !intra_op_;
      rest_ = intra_op_ ? kShortest : std::min(2 * rest_, kLongest);
      left_ = rest_;
      return;
    } else if (left_ == 0) {
      intra_op_ = true;
      return;
    }
    left_ = std::max(left_ - 1, 0);
  }

 private:
  static constexpr double kTolerable = 0.15;
  static constexpr int kShortest = 4, kLongest = 128;  // plans until the other mode is tried again: below p99

  bool intra_op_ = true, trial_ = false, fresh_ = true;
  double average_ = 0;  // of shared plans since threads last shared ops, the latest weighing most
  int rest_ = kShortest, left_ = 0;
  int alone_ = 1;  // plans after threads have dissolved, twice as many each time
};

}  // namespace df

// Whether threads should share each op of the next plan, or one thread do it alone: the numbers are the same either way,
// only the time differs. Sharing pays while every thread has a core to itself; where other programs take cores away the
// threads wait for each other at every barrier. Then one thread alone is tried, and the faster of the two stays.
#pragma once
#include <algorithm>

namespace df {

class Pace {
 public:
  bool together() const { return together_; }

  // After a plan: its time, and the part of all threads' time that was lost at barriers. One disturbed plan is no
  // reason to go alone: that has to be faster than plans together have been lately.
  void after(double seconds, double lost) {
    if (together_) {
      average_ = fresh_ ? seconds : average_ + (seconds - average_) / 4;
      fresh_ = false;
      if (lost < kTolerable) {
        rest_ = kShortest;
      } else if (left_ == 0) {
        together_ = false;  // a trial
        trial_ = true;
        return;
      }
    } else if (trial_) {
      trial_ = false;
      together_ = seconds >= average_;
      fresh_ = !together_;
      rest_ = together_ ? kShortest : std::min(2 * rest_, kLongest);
      left_ = rest_;
      return;
    } else if (left_ == 0) {
      together_ = true;
      return;
    }
    left_ = std::max(left_ - 1, 0);
  }

 private:
  static constexpr double kTolerable = 0.15;
  static constexpr int kShortest = 4, kLongest = 128;  // plans until the other way is tried again: below p99

  bool together_ = true, trial_ = false, fresh_ = true;
  double average_ = 0;  // of plans together since threads last came together, the latest weighing most
  int rest_ = kShortest, left_ = 0;
};

}  // namespace df

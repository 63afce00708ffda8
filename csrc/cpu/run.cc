// One plan: its denoising steps, for each group of trajectories (core/loop.py, SamplingLoop).
#include <algorithm>
#include <cstring>

#include "clock.h"
#include "engine.h"

namespace df {
namespace {

// One thread's view of one group: all trajectories, rows t0 .. t1 - 1 of each.
class Sampler {
 public:
  Sampler(Engine& engine, const Group& group, Space& space, int thread, bool caller, PlanCall& call)
      : e_(engine),
        group_(group),
        space_(space),
        thread_(thread),
        caller_(caller),
        call_(call),
        a_(call.args),
        n_(group.n()) {
    const int64_t h = e_.desc.horizon;
    t0_ = static_cast<int>(h * thread / group.threads());
    t1_ = static_cast<int>(h * (thread + 1) / group.threads());
    from_ = static_cast<int64_t>(t0_) * e_.desc.depth;
    count_ = static_cast<int64_t>(t1_ - t0_) * e_.desc.depth;
    noise_ = space.own[thread].data() + e_.noise_at;
  }

  // False: it was cancelled, or the threads have dissolved.
  bool run() {
    Progress* const progress = call_.progress;
    if (progress && group_.first < progress->first) return true;  // it is finished
    const bool resumes = progress && group_.first == progress->first && progress->row > a_.start;
    const int from = resumes ? progress->row : a_.start;
    if (resumes) {
      resume(*progress);
    } else {
      begin();
    }
    if (!schedule(resumes)) return false;
    for (int i = from; i < steps(); ++i) {
      if (i > from && now_ns() > call_.regroup && Pool::of_process().alone()) {
        part(i);
        return false;
      }
      if (e_.stopped(call_, caller_)) {
        if (group_.threads() > 1) e_.barrier()->dissolve();
        return false;
      }
      if (!decided(i)) return false;
      if (!denoising_step(i)) return false;
    }
    if (a_.schedule && thread_ == 0) space_.schedule.tell(e_.index(group_));
    return true;
  }

 private:
  float* x(int b) { return a_.x_out + (group_.first + b) * e_.elements; }
  float* previous_x0(int b) { return space_.state.data() + b * e_.elements; }
  // The guidance gradient that is added to x0.
  float* guidance_gradient(int b) { return space_.state.data() + (n_ + b) * e_.elements; }

  // Without a schedule all of the loop's rows are run, and step i is row i.
  int steps() const { return a_.schedule ? space_.schedule.steps() : e_.desc.rows; }
  int row(int i) const { return a_.schedule ? space_.schedule.row(i) : i; }

  int skipped() const { return a_.schedule ? a_.schedule->skipped : 0; }

  bool schedule(bool resumes) {
    if (!a_.schedule) return true;
    if (thread_ == 0) {
      if (resumes) {
        space_.schedule.follow(*a_.schedule, e_.other_schedule(group_));
      } else {
        space_.schedule.begin(*a_.schedule, e_.index(group_), e_.left(group_));
      }
    }
    return wait();  // the others read it
  }

  // Decisions are one thread's. It makes them before the others begin the step.
  [[nodiscard]] bool decided(int i) {
    if (!a_.schedule || !a_.schedule->deadline) return true;
    if (thread_ == 0) space_.schedule.decide(i, group_.threads() == 1 && e_.barrier());
    return wait();
  }

  // What the group sees of the time-embedding tables in row k. Sums are made by all threads, each its own columns.
  TableRow table_row(Role role, int k) {
    const bool net = role == kDenoiser;
    const df_tables& given = net ? a_.denoiser_tables : a_.guide_tables;
    const df_tables& tables = given.per_step ? given : net ? e_.desc.denoiser_tables : e_.desc.guide_tables;
    const int64_t width = (net ? e_.desc.denoiser : e_.desc.gradient)->table_width;
    if (!tables.per_step || width == 0) return {nullptr, 0};
    const bool each = tables.samples > 1;
    const int64_t stride = each ? width : 0;
    const int64_t step = e_.table_steps.empty() ? k : e_.table_steps[k];
    const float* const row = tables.per_step + step * tables.samples * width + group_.first * stride;
    if (!tables.per_sample) return {row, stride};
    float* const sums = space_.table.data();
    const int64_t c0 = width * thread_ / group_.threads(), c1 = width * (thread_ + 1) / group_.threads();
    for (int b = 0; b < n_; ++b) {
      const float* const added = tables.per_sample + (group_.first + b) * width;
      for (int64_t c = c0; c < c1; ++c) sums[b * width + c] = row[b * stride + c] + added[c];
    }
    return {sums, width};
  }

  Slice slice(int b) const {
    const int64_t offset = a_.inpaint_batch == 1 ? 0 : (group_.first + b) * e_.elements;
    return {t0_, t1_, e_.desc.depth, nullptr, 0, nullptr, 0, call_.mask, a_.inpaint_values + offset};
  }

  // The noise of an entry (denoising step + 1) for this thread's rows.
  const float* noise(int entry, int b) {
    const int64_t sample = group_.first + b;
    if (a_.tape)
      return a_.tape + (static_cast<int64_t>(entry) * e_.desc.batch + sample) * e_.elements + from_;
    const int64_t aligned = from_ / 4 * 4;
    const uint32_t situation = static_cast<uint32_t>(sample / a_.candidates);
    const uint32_t candidate = static_cast<uint32_t>(sample % a_.candidates);
    e_.kernels->noise(a_.seed, a_.plan + situation, entry, candidate, static_cast<int>(aligned),
                      static_cast<int>(from_ + count_), noise_);
    return noise_ + (from_ - aligned);
  }

  void begin() {
    for (int b = 0; b < n_; ++b) {
      const float* const given = a_.x ? a_.x + (group_.first + b) * e_.elements + from_ : noise(0, b);
      if (given != x(b) + from_) std::copy_n(given, count_, x(b) + from_);
      std::fill_n(previous_x0(b) + from_, count_, 0.0f);
      const Slice s = slice(b);
      for (int64_t i = from_; i < from_ + count_; ++i) {
        uint32_t inpainted;
        std::memcpy(&inpainted, &call_.mask[i], sizeof inpainted);
        if (inpainted) x(b)[i] = s.inpaint_values[i];
      }
      record(b, 0);
      if (thread_ == 0) a_.values[group_.first + b] = 0;
    }
  }

  void came_to(int i) {
    call_.progress->first = group_.first;
    call_.progress->row = i;
  }

  // The caller was alone, all others have left: what it has done is kept for all.
  void part(int i) {
    call_.shared = call_.parted = true;
    for (int b = 0; b < n_; ++b) keep(b, i - 1);
    came_to(i);
  }

  // The state after the last denoising step that all have made. What stragglers still write is the next one's.
  void resume(const Progress& progress) {
    const float* const state = progress.state[(progress.row - 1) % 2].data();
    for (int b = 0; b < n_; ++b) {
      const float* const own = state + (group_.first + b) * e_.elements + from_;
      std::copy_n(own, count_, x(b) + from_);
      std::copy_n(own + e_.desc.batch * e_.elements, count_, previous_x0(b) + from_);
      if (thread_ == 0) a_.values[group_.first + b] = 0;
    }
  }

  // This thread's rows of a trajectory after denoising step i.
  void keep(int b, int i) {
    if (!call_.shared) return;
    float* const state = call_.progress->state[i % 2].data() + (group_.first + b) * e_.elements + from_;
    std::copy_n(x(b) + from_, count_, state);
    std::copy_n(previous_x0(b) + from_, count_, state + e_.desc.batch * e_.elements);
  }

  void record(int b, int entry) {
    if (!a_.chain) return;
    const int64_t entries = a_.schedule ? a_.schedule->most + 1 : e_.desc.rows + 1 - a_.start;
    std::copy_n(x(b) + from_, count_,
                a_.chain + ((group_.first + b) * entries + entry) * e_.elements + from_);
  }

  // A network at x. Its outputs stay in the arena until the next one.
  [[nodiscard]] bool evaluate(Role role, int i) {
    const Compiled& c = group_.networks->compiled[role];
    float* const arena = space_.arena.data();
    if (!meet(i)) return false;  // others may still read the outputs of the last one
    for (int b = 0; b < n_; ++b) {
      for (int t = t0_; t < t1_; ++t) {
        std::copy_n(x(b) + static_cast<int64_t>(t) * e_.desc.depth, e_.desc.depth,
                    arena + c.inputs[0].row(b, t));
      }
      if (role == kGradient && thread_ == 0) arena[c.inputs[1].row(b, 0)] = 1;
    }
    const TableRow table = table_row(role, row(i));
    return wait() && e_.evaluate(role, group_, space_, thread_, table) && wait();
  }

  bool wait() { return wait_for_all(e_.barrier(), group_.threads()); }

  [[nodiscard]] bool meet(int i) {
    if (!wait()) return false;
    if (caller_ && call_.shared) came_to(i);  // all have made the steps before
    return true;
  }

  void keep_values(Role role) {
    if (thread_ != 0) return;
    const View& value = group_.networks->compiled[role].outputs[0];
    for (int b = 0; b < n_; ++b) a_.values[group_.first + b] = space_.arena.data()[value.row(b, 0)];
  }

  [[nodiscard]] bool denoising_step(int i) {
    const int k = row(i);
    const float* const column = e_.columns.data() + static_cast<int64_t>(k) * kColumns;
    const bool guided = e_.desc.gradient != nullptr, last = i == steps() - 1;
    const float* const arena = space_.arena.data();
    const int guide_steps = guided ? e_.guide_steps[k] : 0;
    for (int times = 0; times < guide_steps; ++times) {
      if (!evaluate(kGradient, i)) return false;
      if (last) keep_values(kGradient);
      const View& g = group_.networks->compiled[kGradient].outputs[1];
      for (int b = 0; b < n_; ++b) {
        Slice s = slice(b);
        s.gradient = arena + g.row(b, 0);
        s.gradient_ld = g.ld;
        e_.kernels->guidance_update(s, column[kColumnGx], x(b));
      }
    }
    if (guided && last && guide_steps == 0) {
      if (!evaluate(kValue, i)) return false;
      keep_values(kValue);
    }
    const bool guides_x0 = guided && column[kColumnG0] != 0;
    if (guides_x0) {
      if (!evaluate(kGradient, i)) return false;
      const View& g = group_.networks->compiled[kGradient].outputs[1];
      for (int b = 0; b < n_; ++b) {
        for (int t = t0_; t < t1_; ++t) {
          std::copy_n(arena + g.row(b, t), e_.desc.depth,
                      guidance_gradient(b) + static_cast<int64_t>(t) * e_.desc.depth);
        }
      }
    }
    // A row that takes nothing from the network does not run it; yet all meet once in every step (Progress).
    if (!(column[kColumnQ] != 0 ? evaluate(kDenoiser, i) : meet(i))) return false;
    update(i, column, guides_x0);
    return true;
  }

  void update(int i, const float* column, bool guides_x0) {
    // The first denoising step that is run has no previous x0: its own stands there, so d previous_x0 joins a x0.
    const bool first = i == a_.start;
    const float a = first ? column[kColumnA] + column[kColumnD] : column[kColumnA],
                d = first ? 0 : column[kColumnD];
    const Coefficients coefficients{
        column[kColumnP],  column[kColumnQ], a, column[kColumnB], d, column[kColumnS],
        column[kColumnG0], column[kColumnU]};
    const View& net = group_.networks->compiled[kDenoiser].outputs[0];
    const float* const low = e_.clip.empty() ? nullptr : e_.clip.data();
    const float* const high = low ? low + e_.desc.depth : nullptr;
    bool finite = true;
    for (int b = 0; b < n_; ++b) {
      Slice s = slice(b);
      // A row that takes nothing from the network has not run it: zero times x stands for its result.
      const bool ran = column[kColumnQ] != 0;
      s.net = ran ? space_.arena.data() + net.row(b, 0) : x(b);
      s.ld = ran ? net.ld : e_.desc.depth;
      s.gradient = guides_x0 ? guidance_gradient(b) : nullptr;
      s.gradient_ld = e_.desc.depth;
      // Noise that is multiplied by zero is not drawn; a zero stands for it.
      const bool drawn = a_.tape || column[kColumnS] != 0;
      if (!drawn) std::fill_n(noise_, count_, 0.0f);
      const float* const z = drawn ? noise(skipped() + i + 1, b) : noise_;
      finite &= e_.kernels->update(s, coefficients, low, high, z, previous_x0(b), x(b));
      record(b, i + 1 - a_.start);
      keep(b, i);
    }
    if (!finite) {
      int seen = call_.failed.load(std::memory_order_relaxed);
      while (i < seen && !call_.failed.compare_exchange_weak(seen, i)) {
      }
    }
  }

  Engine& e_;
  const Group& group_;
  Space& space_;
  const int thread_;
  const bool caller_;
  PlanCall& call_;
  const df_args& a_;
  const int n_;
  int t0_, t1_;
  int64_t from_, count_;
  float* noise_;
};

}  // namespace

bool sample(Engine& engine, const Group& group, Space& space, int thread, bool caller, void* call) {
  return Sampler(engine, group, space, thread, caller, *static_cast<PlanCall*>(call)).run();
}

}  // namespace df

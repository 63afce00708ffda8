// One plan: its denoising steps, for each group of trajectories (core/loop.py, SamplingLoop).
#include <algorithm>
#include <cstring>

#include "engine.h"

namespace df {
namespace {

struct PlanCall {
  const df_args* args;
  std::atomic<int> failed;  // the first denoising step whose x was not finite
};

// One thread's view of one group: all trajectories, rows t0 .. t1 - 1 of each.
class Sampler {
 public:
  Sampler(Engine& engine, const Group& group, Space& space, int thread, PlanCall& call)
      : e_(engine),
        group_(group),
        space_(space),
        thread_(thread),
        call_(call),
        a_(*call.args),
        n_(group.n()) {
    const int64_t h = e_.desc.horizon;
    t0_ = static_cast<int>(h * thread / group.threads());
    t1_ = static_cast<int>(h * (thread + 1) / group.threads());
    from_ = static_cast<int64_t>(t0_) * e_.desc.depth;
    count_ = static_cast<int64_t>(t1_ - t0_) * e_.desc.depth;
    noise_ = space.own[thread].data() + e_.noise_at;
  }

  void run() {
    begin();
    for (int k = a_.start; k < e_.desc.rows; ++k) denoising_step(k);
  }

 private:
  float* x(int b) { return a_.x_out + (group_.first + b) * e_.elements; }
  float* previous_x0(int b) { return space_.state.data() + b * e_.elements; }
  // The guidance gradient that is added to x0.
  float* guidance_gradient(int b) { return space_.state.data() + (n_ + b) * e_.elements; }

  const float* table_row(Role role, int k) const {
    const bool net = role == kDenoiser;
    const float* const given = net ? a_.denoiser_table : a_.guide_table;
    const float* const tables = given ? given : net ? e_.desc.denoiser_table : e_.desc.guide_table;
    const df_program* const p = net ? e_.desc.denoiser : e_.desc.gradient;
    return tables ? tables + static_cast<int64_t>(k) * p->table_width : nullptr;
  }

  Slice slice(int b) const {
    const int64_t offset = a_.inpaint_batch == 1 ? 0 : (group_.first + b) * e_.elements;
    return {t0_, t1_, e_.desc.depth, nullptr, 0, nullptr, 0, e_.mask.data(), a_.inpaint_values + offset};
  }

  // The noise of an entry (denoising step + 1) for this thread's rows.
  const float* noise(int entry, int b) {
    const int64_t sample = group_.first + b;
    if (a_.tape)
      return a_.tape + (static_cast<int64_t>(entry) * e_.desc.batch + sample) * e_.elements + from_;
    const int64_t aligned = from_ / 4 * 4;
    e_.kernels->noise(a_.seed, a_.plan, entry, static_cast<uint32_t>(sample), static_cast<int>(aligned),
                      static_cast<int>(from_ + count_), noise_);
    return noise_ + (from_ - aligned);
  }

  void begin() {
    for (int b = 0; b < n_; ++b) {
      const float* const given = a_.x ? a_.x + (group_.first + b) * e_.elements + from_ : noise(0, b);
      std::copy_n(given, count_, x(b) + from_);
      std::fill_n(previous_x0(b) + from_, count_, 0.0f);
      const Slice s = slice(b);
      for (int64_t i = from_; i < from_ + count_; ++i) {
        if (a_.mask[i]) x(b)[i] = s.inpaint_values[i];
      }
      record(b, 0);
      if (thread_ == 0) a_.values[group_.first + b] = 0;
    }
  }

  void record(int b, int entry) {
    if (!a_.chain) return;
    const int64_t entries = e_.desc.rows + 1 - a_.start;
    std::copy_n(x(b) + from_, count_,
                a_.chain + ((group_.first + b) * entries + entry) * e_.elements + from_);
  }

  // A network at x. Its outputs stay in the arena until the next one.
  void evaluate(Role role, int k) {
    const Compiled& c = group_.networks->compiled[role];
    float* const arena = space_.arena.data();
    wait_for_all(&e_.barrier, group_.threads());  // others may still read the outputs of the last one
    for (int b = 0; b < n_; ++b) {
      for (int t = t0_; t < t1_; ++t) {
        std::copy_n(x(b) + static_cast<int64_t>(t) * e_.desc.depth, e_.desc.depth,
                    arena + c.inputs[0].row(b, t));
      }
      if (role == kGradient && thread_ == 0) arena[c.inputs[1].row(b, 0)] = 1;
    }
    wait_for_all(&e_.barrier, group_.threads());
    e_.evaluate(role, group_, space_, thread_, table_row(role, k));
    wait_for_all(&e_.barrier, group_.threads());
  }

  void keep_values(Role role) {
    if (thread_ != 0) return;
    const View& value = group_.networks->compiled[role].outputs[0];
    for (int b = 0; b < n_; ++b) a_.values[group_.first + b] = space_.arena.data()[value.row(b, 0)];
  }

  void denoising_step(int k) {
    const float* const column = e_.columns.data() + static_cast<int64_t>(k) * DF_COLUMNS;
    const bool guided = e_.desc.gradient != nullptr, last = k == e_.desc.rows - 1;
    const float* const arena = space_.arena.data();
    const int steps = guided ? e_.guide_steps[k] : 0;
    for (int i = 0; i < steps; ++i) {
      evaluate(kGradient, k);
      if (last) keep_values(kGradient);
      const View& g = group_.networks->compiled[kGradient].outputs[1];
      for (int b = 0; b < n_; ++b) {
        Slice s = slice(b);
        s.gradient = arena + g.row(b, 0);
        s.gradient_ld = g.ld;
        e_.kernels->guidance_update(s, column[DF_GX], x(b));
      }
    }
    if (guided && last && steps == 0) {
      evaluate(kValue, k);
      keep_values(kValue);
    }
    const bool guides_x0 = guided && column[DF_G0] != 0;
    if (guides_x0) {
      evaluate(kGradient, k);
      const View& g = group_.networks->compiled[kGradient].outputs[1];
      for (int b = 0; b < n_; ++b) {
        for (int t = t0_; t < t1_; ++t) {
          std::copy_n(arena + g.row(b, t), e_.desc.depth,
                      guidance_gradient(b) + static_cast<int64_t>(t) * e_.desc.depth);
        }
      }
    }
    evaluate(kDenoiser, k);
    update(k, column, guides_x0);
  }

  void update(int k, const float* column, bool guides_x0) {
    // The first denoising step that is run has no previous x0: its own stands there, so d previous_x0 joins a x0.
    const bool first = k == a_.start;
    const float a = first ? column[DF_A] + column[DF_D] : column[DF_A], d = first ? 0 : column[DF_D];
    const Coefficients coefficients{column[DF_P], column[DF_Q], a, column[DF_B], d,
                                    column[DF_S], column[DF_G0]};
    const View& net = group_.networks->compiled[kDenoiser].outputs[0];
    const float* const low = e_.clip.empty() ? nullptr : e_.clip.data();
    const float* const high = low ? low + e_.desc.depth : nullptr;
    bool finite = true;
    for (int b = 0; b < n_; ++b) {
      Slice s = slice(b);
      s.net = space_.arena.data() + net.row(b, 0);
      s.ld = net.ld;
      s.gradient = guides_x0 ? guidance_gradient(b) : nullptr;
      s.gradient_ld = e_.desc.depth;
      // Noise that is multiplied by zero is not drawn; a zero stands for it.
      const bool drawn = a_.tape || column[DF_S] != 0;
      if (!drawn) std::fill_n(noise_, count_, 0.0f);
      const float* const z = drawn ? noise(k + 1, b) : noise_;
      finite &= e_.kernels->update(s, coefficients, low, high, z, previous_x0(b), x(b));
      record(b, k + 1 - a_.start);
    }
    if (!finite) {
      int seen = call_.failed.load(std::memory_order_relaxed);
      while (k < seen && !call_.failed.compare_exchange_weak(seen, k)) {
      }
    }
  }

  Engine& e_;
  const Group& group_;
  Space& space_;
  const int thread_;
  PlanCall& call_;
  const df_args& a_;
  const int n_;
  int t0_, t1_;
  int64_t from_, count_;
  float* noise_;
};

void sample(Engine& engine, const Group& group, Space& space, int thread, void* call) {
  Sampler(engine, group, space, thread, *static_cast<PlanCall*>(call)).run();
}

// Indices of values by value, descending and stable, what is no number last; merge sort in `ranks`, twice n long.
void rank(const float* values, int n, int64_t* ranks, int64_t* order) {
  const auto before = [&](int64_t i, int64_t j) {  // i goes before j, which came later
    return !(values[j] > values[i]) && !(values[i] != values[i] && values[j] == values[j]);
  };
  int64_t *from = ranks, *to = ranks + n;
  for (int i = 0; i < n; ++i) from[i] = i;
  for (int width = 1; width < n; width *= 2) {
    for (int low = 0; low < n; low += 2 * width) {
      const int middle = std::min(low + width, n), high = std::min(low + 2 * width, n);
      int i = low, j = middle;
      for (int k = low; k < high; ++k)
        to[k] = i < middle && (j >= high || before(from[i], from[j])) ? from[i++] : from[j++];
    }
    std::swap(from, to);
  }
  std::copy_n(from, n, order);
}

}  // namespace
}  // namespace df

extern "C" int32_t df_plan(df_engine* handle, const df_args* args) {
  df::Engine& engine = *reinterpret_cast<df::Engine*>(handle);
  const uint32_t ones = 0xFFFFFFFFu;
  for (int64_t i = 0; i < engine.elements; ++i) {
    engine.mask[i] = 0;
    if (args->mask[i]) std::memcpy(&engine.mask[i], &ones, sizeof ones);
  }
  df::PlanCall call{args, {engine.desc.rows}};
  engine.plan_each_group(df::sample, &call);
  for (int first = 0; first < engine.desc.batch; first += args->candidates) {
    df::rank(args->values + first, args->candidates, engine.ranks.data(), args->order + first);
  }
  return call.failed == engine.desc.rows ? -1 : call.failed.load();
}

#include "engine.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <stdexcept>

#include "clock.h"
#include "floating_point.h"
#include "verify.h"

namespace df {

const df_program* program_of(const df_loop& loop, int role) {
  return role == kDenoiser ? loop.denoiser : role == kGradient ? loop.gradient : loop.value;
}

namespace {

// Trajectories of a group: enough rows to use each weight often, few enough to stay in the cache.
int natural_group(int horizon) { return std::clamp(1024 / std::max(horizon, 1), 1, 32); }

}  // namespace

Engine::Engine(const df_loop& d, const df_cpu_options& o)
    : desc(d), options(o), kernels(kernel_table_named(o.isa)) {
  if (!kernels) throw std::runtime_error("isa: this CPU does not have " + std::string(o.isa));
  if (const std::string error = verify(d); !error.empty()) throw std::runtime_error(error);
  if (const std::string error = verify(o); !error.empty()) throw std::runtime_error(error);
  elements = static_cast<int64_t>(d.horizon) * d.depth;
  threads_ = o.threads;
  columns.assign(d.columns, d.columns + static_cast<int64_t>(d.rows) * kColumns);
  guide_steps.assign(d.guide_steps, d.guide_steps + d.rows);
  if (d.table_steps) table_steps.assign(d.table_steps, d.table_steps + d.rows);
  if (o.cores) cores.assign(o.cores, o.cores + threads_);
  check_cores(cores);
  if (d.clip_low) {
    clip.assign(d.clip_low, d.clip_low + d.depth);
    clip.insert(clip.end(), d.clip_high, d.clip_high + d.depth);
  }
  mask_.assign(elements, 0);
  ranks_.assign(2 * static_cast<int64_t>(d.batch), 0);
  make_groups();
  compile_groups();
  Pool& pool = Pool::of_process();
  if (threads_ > 1 && pool.claim(threads_, cores))
    pool.release();  // so that the threads are there at the first plan
}

Engine::~Engine() { wait_for_team(); }

// `count` groups of the batch, as equal as they can be.
std::vector<Group> Engine::divide(int count, int threads) {
  std::vector<Group> groups;
  for (int i = 0, first = 0; i < count; ++i) {
    const int size = (desc.batch - first) / (count - i);
    auto found = std::find_if(networks_.begin(), networks_.end(),
                              [&](auto& x) { return x->n == size && x->threads == threads; });
    if (found == networks_.end()) {
      networks_.push_back(std::make_unique<Networks>());
      networks_.back()->n = size;
      networks_.back()->threads = threads;
      found = networks_.end() - 1;
    }
    groups.push_back({first, found->get()});
    first += size;
  }
  return groups;
}

// Batch parallelism if trajectories divide well among the threads, else intra-op parallelism.
void Engine::make_groups() {
  const int n = desc.batch, t = threads_;
  const int most = options.group > 0 ? options.group : natural_group(desc.horizon);
  intra_op_ = t > 1 && 5 * ceil_div(n, t) * t > 6 * n;
  if (intra_op_) intra_op_groups = divide(ceil_div(n, most), t);
  batch_groups = divide(intra_op_ ? ceil_div(n, most) : std::min(n, t * ceil_div(n, t * most)), 1);
}

void Engine::compile_groups() {
  int64_t arena = 0, shared = 0, own = 0, table = 0;
  int largest = 0;
  for (auto& networks : networks_) {
    largest = std::max(largest, networks->n);
    for (int role = 0; role < kRoles; ++role) {
      const df_program* program = program_of(desc, role);
      if (!program) continue;
      if (program->size * networks->n > std::numeric_limits<int32_t>::max()) {
        throw std::runtime_error("horizon: this network needs more memory than the engine can address");
      }
      table = std::max<int64_t>(table, program->table_width);
      Compiled& c = networks->compiled[role];
      c = compile(*program, networks->n, networks->threads, kernels->segments, kernels->bf16);
      arena = std::max(arena, c.arena);
      shared = std::max(shared, c.shared);
      own = std::max(own, c.own);
    }
  }
  shared_at = padded(static_cast<int>(arena));
  noise_at = (own + kBlock - 1) / kBlock * kBlock;
  const int64_t noise = elements + 2 * kBlock;
  const auto space = [&](int threads) {
    auto made = std::make_unique<Space>(shared_at + shared, noise_at + noise, threads, 2 * largest * elements,
                                        largest * table, desc.rows);
    for (int role = 0; options.profile && role < kRoles; ++role) {
      made->times[role].assign(networks_[0]->compiled[role].ops.size(), 0);
    }
    return made;
  };
  const int spaces = intra_op_ ? 1 : std::min<int>(threads_, batch_groups.size());
  for (int i = 0; i < spaces; ++i) spaces_.push_back(space(1));
  if (!intra_op_) return;
  team_ = std::make_unique<Team>(elements, desc.batch);
  team_->engine = this;
  team_->space = space(threads_);
}

int Engine::index(const Group& group) const {
  const std::vector<Group>& groups = group.threads() > 1 ? intra_op_groups : batch_groups;
  return static_cast<int>(&group - groups.data());
}

int Engine::left(const Group& group) const {
  return ceil_div(groups() - index(group), static_cast<int>(spaces_.size()));
}

bool Engine::evaluate(Role role, const Group& group, Space& space, int thread, TableRow table) {
  const Compiled& c = group.networks->compiled[role];
  const Work work{space.arena.data(),
                  space.arena.data() + shared_at,
                  space.own[thread].data(),
                  table.row,
                  table.stride,
                  barrier(),
                  group.threads()};
  int64_t* const ns = options.profile && thread == 0 ? space.times[role].data() : nullptr;
  for (size_t i = 0; i < c.ops.size(); ++i) {
    const CompiledOp& op = c.ops[i];
    if (op.barrier && !wait_for_all(barrier(), group.threads())) return false;
    const int64_t start = ns ? now_ns() : 0;
    kernels->run_op(op, op.partitions[thread], work);
    if (ns) ns[i] += now_ns() - start;
  }
  return true;
}

std::vector<int64_t> Engine::take_times(Role role) {
  std::vector<int64_t> means(spaces_[0]->times[role].size());
  const auto take = [&](Space& space, int64_t share) {
    for (size_t i = 0; i < means.size(); ++i) {
      means[i] += space.times[role][i] / share;
      space.times[role][i] = 0;
    }
  };
  for (auto& space : spaces_) take(*space, static_cast<int64_t>(spaces_.size()));
  if (team_) take(*team_->space, 1);
  return means;
}

bool Engine::lock() const {
  const auto locked = [](const Space& space) {
    return space.arena.lock() && space.state.lock() && space.table.lock() &&
           std::all_of(space.own.begin(), space.own.end(), [](const Memory& own) { return own.lock(); });
  };
  if (team_) {
    const Team& t = *team_;
    for (const Memory* memory :
         {&t.x, &t.inpaint, &t.mask, &t.values, &t.progress.state[0], &t.progress.state[1]}) {
      if (!memory->lock()) return false;
    }
    if (!locked(*t.space)) return false;
  }
  return std::all_of(spaces_.begin(), spaces_.end(), [&](auto& space) { return locked(*space); });
}

}  // namespace df

extern "C" df_engine* df_open(const df_loop* loop, const df_cpu_options* options, char* error,
                              int32_t error_size) {
  try {
    if (!loop) throw std::invalid_argument("loop: NULL");
    if (!options) throw std::invalid_argument("options: NULL");
    return reinterpret_cast<df_engine*>(new df::Engine(*loop, *options));
  } catch (const std::exception& e) {
    if (error && error_size > 0) {
      std::strncpy(error, e.what(), error_size - 1);
      error[error_size - 1] = 0;
    }
    return nullptr;
  }
}

extern "C" int32_t df_lock(df_engine* engine) { return reinterpret_cast<df::Engine*>(engine)->lock(); }

extern "C" void df_close(df_engine* engine) { delete reinterpret_cast<df::Engine*>(engine); }

extern "C" const char* df_isa(const df_engine* engine) {
  return reinterpret_cast<const df::Engine*>(engine)->kernels->name;
}

extern "C" int32_t df_threads(const df_engine* engine) {
  return reinterpret_cast<const df::Engine*>(engine)->threads_;
}

extern "C" int32_t df_intra_op(const df_engine* engine) {
  return reinterpret_cast<const df::Engine*>(engine)->intra_op_;
}

extern "C" int32_t df_groups(const df_engine* engine) {
  return reinterpret_cast<const df::Engine*>(engine)->groups();
}

extern "C" int32_t df_shares(const df_engine* engine) {
  return reinterpret_cast<const df::Engine*>(engine)->shares();
}

extern "C" int64_t df_dissolved(const df_engine* engine) {
  return reinterpret_cast<const df::Engine*>(engine)->dissolved_plans.load(std::memory_order_relaxed);
}

extern "C" void df_noise(const df_engine* engine, uint64_t seed, uint32_t plan, uint32_t entry,
                         uint32_t sample, float* out) {
  const df::Engine* const e = reinterpret_cast<const df::Engine*>(engine);
  const df::FloatingPoint mode;
  e->kernels->noise(seed, plan, entry, sample, 0, static_cast<int>(e->elements), out);
}

extern "C" int64_t df_resumed(const df_engine* engine) {
  return reinterpret_cast<const df::Engine*>(engine)->resumed.load(std::memory_order_relaxed);
}

extern "C" int32_t df_group(const df_engine* engine) {
  const df::Engine& e = *reinterpret_cast<const df::Engine*>(engine);
  int largest = 0;
  for (const df::Group& group : e.intra_op_ ? e.intra_op_groups : e.batch_groups)
    largest = std::max(largest, group.n());
  return largest;
}

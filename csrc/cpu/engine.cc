#include "engine.h"

#include <sys/mman.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <stdexcept>

namespace df {
namespace {

constexpr int64_t kLargePage = 2 << 20;

// Trajectories of a group: enough rows to use each weight often, few enough to stay in the cache.
int natural_group(int horizon) { return std::clamp(1024 / std::max(horizon, 1), 1, 32); }

const df_program* program_of(const df_desc& desc, int role) {
  return role == kDenoiser ? desc.denoiser : role == kGradient ? desc.gradient : desc.value;
}

// The clock that costs least to read: ops of a microsecond are timed with it.
int64_t now_ns() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * int64_t{1000000000} + t.tv_nsec;
}

}  // namespace

Memory::Memory(int64_t floats) : data_(nullptr), size_(floats) {
  const int64_t bytes = floats * static_cast<int64_t>(sizeof(float));
  const int64_t align = bytes >= kLargePage ? kLargePage : 64;
  const int64_t size = std::max<int64_t>((bytes + align - 1) / align * align, align);
  data_ = static_cast<float*>(std::aligned_alloc(align, size));
  if (!data_) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
  if (align == kLargePage) madvise(data_, size, MADV_HUGEPAGE);  // a hint
#endif
  std::memset(data_, 0, size);
}

Memory::~Memory() { std::free(data_); }

Engine::Engine(const df_desc& d) : desc(d), kernels(kernel_table_named(d.isa)) {
  if (!kernels) throw std::runtime_error("isa: this CPU does not have " + std::string(d.isa));
  if (d.batch < 1 || d.horizon < 1 || d.depth < 1)
    throw std::runtime_error("batch, horizon, depth: must be positive");
  elements = static_cast<int64_t>(d.horizon) * d.depth;
  threads_ = std::max(1, d.threads);
  columns.assign(d.columns, d.columns + static_cast<int64_t>(d.rows) * DF_COLUMNS);
  guide_steps.assign(d.guide_steps, d.guide_steps + d.rows);
  if (d.cores) cores.assign(d.cores, d.cores + threads_);
  if (d.cores) check(cores);
  if (d.clip_low) {
    clip.assign(d.clip_low, d.clip_low + d.depth);
    clip.insert(clip.end(), d.clip_high, d.clip_high + d.depth);
  }
  mask.assign(elements, 0);
  ranks.assign(2 * static_cast<int64_t>(d.batch), 0);
  make_groups();
  compile_groups();
  owner_ = getpid();
  if (threads_ > 1) pool_ = new Pool(threads_, cores);
}

Engine::~Engine() {
  if (owner_ == getpid()) delete pool_;  // elsewhere its threads do not exist and cannot be waited for
}

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
  const int most = desc.group > 0 ? desc.group : natural_group(desc.horizon);
  intra_op_ = t > 1 && 5 * ceil_div(n, t) * t > 6 * n;
  if (intra_op_) intra_op_groups = divide(ceil_div(n, most), t);
  batch_groups = divide(intra_op_ ? ceil_div(n, most) : std::min(n, t * ceil_div(n, t * most)), 1);
}

void Engine::compile_groups() {
  int64_t arena = 0, shared = 0, own = 0;
  int largest = 0;
  for (auto& networks : networks_) {
    largest = std::max(largest, networks->n);
    for (int role = 0; role < kRoles; ++role) {
      const df_program* program = program_of(desc, role);
      if (!program) continue;
      if (program->size * networks->n > std::numeric_limits<int32_t>::max()) {
        throw std::runtime_error("horizon: this network needs more memory than the engine can address");
      }
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
  const int spaces = intra_op_ ? 1 : std::min<int>(threads_, batch_groups.size()),
            each = intra_op_ ? threads_ : 1;
  for (int i = 0; i < spaces; ++i) {
    spaces_.push_back(
        std::make_unique<Space>(shared_at + shared, noise_at + noise, each, 2 * largest * elements));
    for (int role = 0; desc.profile && role < kRoles; ++role) {
      spaces_.back()->times[role].assign(networks_[0]->compiled[role].ops.size(), 0);
    }
  }
}

struct Engine::Dispatch {
  Engine* engine;
  const std::vector<Group>* groups;
  Job job;
  void* argument;
  std::atomic<int> next{0};
};

void Engine::dispatch(void* argument, int thread) {
  Dispatch& d = *static_cast<Dispatch*>(argument);
  Engine& e = *d.engine;
  if (d.groups->front().threads() > 1) {
    for (const Group& group : *d.groups) d.job(e, group, *e.spaces_[0], thread, d.argument);
    return;
  }
  if (thread >= static_cast<int>(e.spaces_.size())) return;
  for (int i = d.next++; i < static_cast<int>(d.groups->size()); i = d.next++) {
    d.job(e, (*d.groups)[i], *e.spaces_[thread], 0, d.argument);
  }
}

void Engine::run(const std::vector<Group>& groups, Job job, void* argument) {
  if (!cores.empty() && !(has_pinned_ && pthread_equal(pinned_, pthread_self()))) {
    pin(cores[0]);
    pinned_ = pthread_self();
    has_pinned_ = true;
  }
  Dispatch d{this, &groups, job, argument, {}};
  if (threads_ == 1 || (intra_op_ && groups.front().threads() == 1)) return dispatch(&d, 0);
  if (owner_ != getpid()) {  // after a fork: the old pool is left behind
    pool_ = new Pool(threads_, cores);
    owner_ = getpid();
    barrier.arrived = 0;
  }
  pool_->run(dispatch, &d);
}

void Engine::plan_each_group(Job job, void* argument) {
  if (!intra_op_) return for_each_group(job, argument);
  const auto start = std::chrono::steady_clock::now();
  barrier.lost_ns = 0;
  const bool intra_op = adaptive_threading_.intra_op();
  run(intra_op ? intra_op_groups : batch_groups, job, argument);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  adaptive_threading_.after(seconds, static_cast<double>(barrier.lost_ns) * 1e-9 / (seconds * threads_));
}

void Engine::evaluate(Role role, const Group& group, Space& space, int thread, const float* table_row) {
  const Compiled& c = group.networks->compiled[role];
  const Work work{
      space.arena.data(), space.arena.data() + shared_at, space.own[thread].data(), table_row, &barrier,
      group.threads()};
  int64_t* const ns = desc.profile && thread == 0 ? space.times[role].data() : nullptr;
  for (size_t i = 0; i < c.ops.size(); ++i) {
    const CompiledOp& op = c.ops[i];
    if (op.barrier) wait_for_all(&barrier, group.threads());
    const int64_t start = ns ? now_ns() : 0;
    kernels->run_op(op, op.partitions[thread], work);
    if (ns) ns[i] += now_ns() - start;
  }
}

std::vector<int64_t> Engine::take_times(Role role) {
  std::vector<int64_t> means(spaces_[0]->times[role].size());
  for (auto& space : spaces_) {
    for (size_t i = 0; i < means.size(); ++i) {
      means[i] += space->times[role][i] / static_cast<int64_t>(spaces_.size());
      space->times[role][i] = 0;
    }
  }
  return means;
}

}  // namespace df

extern "C" df_engine* df_open(const df_desc* desc, char* error, int32_t error_size) {
  try {
    return reinterpret_cast<df_engine*>(new df::Engine(*desc));
  } catch (const std::exception& e) {
    std::strncpy(error, e.what(), error_size - 1);
    error[error_size - 1] = 0;
    return nullptr;
  }
}

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

extern "C" int32_t df_group(const df_engine* engine) {
  const df::Engine& e = *reinterpret_cast<const df::Engine*>(engine);
  int largest = 0;
  for (const df::Group& group : e.intra_op_ ? e.intra_op_groups : e.batch_groups)
    largest = std::max(largest, group.n());
  return largest;
}

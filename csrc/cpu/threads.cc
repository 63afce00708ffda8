// Who does a job for an engine's groups: the caller alone, the pool's threads each with its own groups (batch
// parallelism), or all of them together (intra-op parallelism, a team).
#include "engine.h"

namespace df {
namespace {

// Groups are taken as threads get free.
struct Apart {
  Engine* engine;
  std::vector<std::unique_ptr<Space>>* spaces;
  Engine::Job job;
  void* argument;
  std::atomic<int> next{0};
};

void work_apart(void* argument, int thread) {
  Apart& a = *static_cast<Apart*>(argument);
  if (thread >= static_cast<int>(a.spaces->size())) return;
  const std::vector<Group>& groups = a.engine->batch_groups;
  for (int i = a.next++; i < static_cast<int>(groups.size()); i = a.next++) {
    if (!a.job(*a.engine, groups[i], *(*a.spaces)[thread], 0, thread == 0, a.argument)) return;
  }
}

void work_in_team(void* argument, int thread) {
  Team& team = *static_cast<Team*>(argument);
  for (const Group& group : team.engine->intra_op_groups) {
    if (!team.work(*team.engine, group, *team.space, thread, thread == 0, team.argument)) return;
  }
  const bool all = wait_for_all(&team.barrier, team.engine->threads_);
  if (thread == 0) team.finished = all;
}

}  // namespace

bool Engine::hold() {
  const uint32_t now = fork_generation();
  uint32_t seen = held_.load(std::memory_order_relaxed);
  if (seen == now || !held_.compare_exchange_strong(seen, now, std::memory_order_acquire)) return false;
  joined_ = false;  // true where a fork has cut a plan off
  return true;
}

void Engine::run_apart(Job job, void* argument) {
  Apart apart{this, &spaces_, job, argument, {}};
  Pool& pool = Pool::of_process();
  if (spaces_.size() == 1 || !pool.claim(static_cast<int>(spaces_.size()), cores))
    return work_apart(&apart, 0);
  pool.start(work_apart, &apart);
  work_apart(&apart, 0);
  while (!pool.wait_until_alone()) stopped(apart_, true);
  pool.leave();
}

bool Engine::join_team() {
  Pool& pool = Pool::of_process();
  if (!pool.claim(threads_, cores)) return false;
  team_->job = pool.job();
  team_->generation = fork_generation();
  return joined_ = true;
}

Engine::Outcome Engine::run_in_team(Job job, void* argument, int64_t most_lost) {
  team_->barrier.open(most_lost);
  team_->finished = false;
  team_->work = job;
  team_->argument = argument;
  Pool::of_process().start(work_in_team, team_.get());
  work_in_team(team_.get(), 0);
  return team_->finished ? Outcome::kDone : Outcome::kDissolved;
}

void Engine::wait_until_alone() {
  while (joined_ && !Pool::of_process().wait_until_alone()) {
  }
}

// The others may be still there.
void Engine::leave_team() {
  if (joined_) Pool::of_process().leave();
  joined_ = false;
}

void Engine::wait_for_team() {
  if (team_ && team_->generation == fork_generation()) Pool::of_process().wait_for(team_->job);
}

void Engine::run(Job job, void* argument) {
  if (!intra_op_ || !join_team()) return run_apart(job, argument);
  run_in_team(job, argument, Barrier::kForEver);
  wait_until_alone();
  leave_team();
}

}  // namespace df

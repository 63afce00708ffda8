// The emulator's own tests: kernels that are right, and kernels each of which has one deliberate fault.
#include "cuda/dev.h"

namespace df {
namespace cuda {
namespace {

struct Arguments {
  int fault;
  int* numbers;
  float* floats;
};

// Every thread writes its word of shared memory and reads its neighbour's.
DF_KERNEL(neighbours, Arguments, 128) {
  int* words = shared_memory<int>();
  words[thread()] = thread();
  if (a.fault != 1) sync_block();
  const int next = words[(thread() + 1) % 128];
  if (a.fault != 2) sync_block();
  words[thread()] = next;
  a.numbers[block() * 128 + thread()] = next;
}

// The same within warps.
DF_KERNEL(warp_neighbours, Arguments, 128) {
  int* words = shared_memory<int>();
  words[thread()] = thread();
  if (a.fault == 1) {
    shuffle_xor(0.0f, 1);  // which orders nothing
  } else {
    sync_warp();
  }
  const int next = words[thread() ^ 1];
  if (a.fault == 2) {
    const uint32_t zeros[4] = {};
    float d[4] = {};
    mma(d, zeros, 0, 0);  // nor does this
  } else {
    sync_warp();
  }
  words[thread()] = next;
  if (a.fault == 3) sync_warp();
  a.numbers[thread()] = a.fault == 3 ? words[(thread() + 32) % 128] : next;
}

DF_KERNEL(one_stays_away, Arguments, 64) {
  if (a.fault == 1 && thread() == 5) return;
  if (a.fault == 2 && thread() < 32) sync_block();
  if (a.fault != 2 || thread() >= 32) sync_block();
  if (a.fault == 2 && thread() >= 32) sync_block();
  if (a.fault == 3 && lane() == 7) return;
  sync_warp();
}

DF_KERNEL(beyond, Arguments, 32) {
  float* words = shared_memory<float>();
  words[thread()] = 1.0f;
  if (a.fault == 1) a.floats[thread()] = words[thread() + 32];  // nobody wrote it
  if (a.fault == 2) words[0] = 2.0f;                            // everyone at once
}

// Blocks leave their sums; the last to arrive adds them up.
DF_KERNEL(last_arriver, Arguments, 64) {
  int* last = shared_memory<int>();
  a.floats[1 + block() * 64 + thread()] = static_cast<float>(thread());
  if (a.fault != 1) sync_block();
  if (thread() == 0) *last = a.fault == 2 ? 0 : atomic_add(a.numbers, 1);
  sync_block();
  if (a.fault == 2 ? block() == 3 : *last == blocks() - 1) {
    float sum = 0;
    for (int i = 0; i < 64 * blocks(); ++i) sum += a.floats[1 + i];
    if (thread() == 0) a.floats[0] = sum;
  }
}

// What a mma of small whole numbers gives, row by row: d[row][column] = sum_k (row + k) (k - column).
DF_KERNEL(product, Arguments, 32) {
  const int g = lane() / 4, t = lane() % 4;
  uint32_t x[4], y[2];
  for (int i = 0; i < 4; ++i) {
    const int row = g + i % 2 * 8, k = 2 * t + i / 2 * 8;
    x[i] = halves(static_cast<float>(row + k), static_cast<float>(row + k + 1));
  }
  for (int i = 0; i < 2; ++i) {
    const int k = 2 * t + i * 8;
    y[i] = halves(static_cast<float>(k - g), static_cast<float>(k + 1 - g));
  }
  float d[4] = {};
  mma(d, x, y[0], y[1]);
  for (int i = 0; i < 4; ++i) a.floats[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = d[i];
}

// Every block of a cluster tells all of them its number; each adds up what it was told.
DF_KERNEL(cluster, Arguments, 32) {
  float* told = shared_memory<float>();
  if (a.fault != 1) sync_cluster();
  if (lane() < 4) store_remote(told + rank_in_cluster(), lane(), static_cast<float>(rank_in_cluster() + 1));
  if (a.fault != 2) sync_cluster();
  if (lane() == 0) a.floats[block()] = told[0] + told[1] + told[2] + told[3];
  if (a.fault == 3) store_remote(told + 8, 3 - rank_in_cluster(), 1.0f);  // and nobody waits for it
  if (a.fault == 4 && rank_in_cluster() == 2) sync_cluster();
}

// The same twice, but what they tell is sent, and counted where it arrives.
DF_KERNEL(sending, Arguments, 32) {
  float* told = shared_memory<float>();
  uint64_t* bar = reinterpret_cast<uint64_t*>(told + 16);
  const int rank = rank_in_cluster();
  if (lane() == 0 && !(a.fault == 6 && rank == 1)) begin_arrivals(bar, 4);
  if (a.fault != 1) sync_cluster();
  float sum = 0;
  for (int turn = 0; turn < 2; ++turn) {
    float* now = told + 4 * turn;
    if (lane() < 4) send(now + rank, lane(), static_cast<float>(rank + 1 + turn), bar);
    if (lane() < 4) arrive(bar, lane(), a.fault == 2 ? 8 : a.fault == 3 ? 0 : 4);
    if (a.fault != 4) wait(bar, a.fault == 5 ? 1 : turn);
    sum += now[0] + now[1] + now[2] + now[3];
  }
  if (lane() == 0) a.floats[block()] = sum;
  sync_cluster();
}

}  // namespace
}  // namespace cuda
}  // namespace df

using namespace df;
extern "C" void run(const char* name, int fault, int* numbers, float* floats) {
  const cuda::Arguments a{fault, numbers, floats};
  switch (name[0]) {
    case 'n':
      return emu::run(cuda::neighbours, {2, 128, 512}, a);
    case 'w':
      return emu::run(cuda::warp_neighbours, {1, 128, 512}, a);
    case 'o':
      return emu::run(cuda::one_stays_away, {1, 64, 0}, a);
    case 'b':
      return emu::run(cuda::beyond, {1, 32, 256}, a);
    case 'l':
      return emu::run(cuda::last_arriver, {4, 64, 128}, a);
    case 'c':
      return emu::run(cuda::cluster, {8, 32, 128, 4}, a);
    case 's':
      return emu::run(cuda::sending, {8, 32, 128, 4}, a);
    case 'p':
      return emu::run(cuda::product, {1, 32, 0}, a);
  }
}

// The names that kernels are written with, and no others: no threadIdx, no __shared__, no assembly elsewhere.
//
//   nvcc                     each is a CUDA built-in, an intrinsic or one line of PTX
//   g++ -DDF_EMULATE         each is the host emulator's (emu.h), which runs every CUDA thread as a fiber and watches
//                            every access to shared and global memory
//
// Arithmetic is the same on both sides: products and sums are rounded as they are written (nvcc gets -fmad=false), a
// fused multiply-add is fmaf, and division and square root are IEEE's.
#pragma once

#include <math.h>
#include <stdint.h>

#ifdef DF_EMULATE
#include "emu.h"
#else

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#define DF_DEVICE __device__ __forceinline__
#define DF_HOST_DEVICE __host__ __device__ __forceinline__
#define DF_KERNEL(name, Arguments, threads) \
  __global__ void __launch_bounds__(threads, 1) name(const __grid_constant__ Arguments a)

namespace df {
namespace cuda {

DF_DEVICE int thread() { return threadIdx.x; }
DF_DEVICE int lane() { return threadIdx.x & 31; }
DF_DEVICE int warp() { return threadIdx.x >> 5; }
DF_DEVICE int block() { return blockIdx.x; }
DF_DEVICE int blocks() { return gridDim.x; }

template <class T>
DF_DEVICE T* shared_memory() {
  extern __shared__ __align__(128) unsigned char df_shared[];
  return reinterpret_cast<T*>(df_shared);
}

// Every thread of the block, or of the warp, has come here, and sees what the others wrote before.
DF_DEVICE void sync_block() { __syncthreads(); }
DF_DEVICE void sync_warp() { __syncwarp(); }

// A cluster: blocks that see each other's shared memory (sm_90 and newer; elsewhere nobody may call these).
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
#define DF_CLUSTERS 1
DF_DEVICE int rank_in_cluster() {
  uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}

// Every thread of the cluster has come here, and sees what the others wrote before, into whichever shared memory.
DF_DEVICE void sync_cluster() {
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}

// The address, in the cluster's window, of the place that p is in shared memory, but of the block of this rank.
DF_DEVICE uint32_t remote(const void* p, int rank) {
  uint32_t at;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;"
               : "=r"(at)
               : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(p))), "r"(rank));
  return at;
}

DF_DEVICE void store_remote(float* p, int rank, float v) {
  asm volatile("st.shared::cluster.f32 [%0], %1;" ::"r"(remote(p, rank)), "f"(v) : "memory");
}

// An mbarrier in shared memory (PTX ISA, "mbarrier"): a phase of it ends when `arrivals` have come and as many bytes as
// they said, whichever is first. No memory is ordered by beginning it: a cluster barrier has to follow.
DF_DEVICE void begin_arrivals(uint64_t* bar, int arrivals) {
  asm volatile(
      "mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(static_cast<uint32_t>(__cvta_generic_to_shared(bar))),
      "r"(arrivals)
      : "memory");
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

// Comes to the mbarrier of the block of this rank, and says that so many bytes are on their way to it. Whoever has waited
// there follows what this thread did, or knew to be done, to its own shared memory; what was sent by `send` comes by
// itself. The fence is for shared memory alone: one for all of memory would wait for the second-level cache.
DF_DEVICE void arrive(uint64_t* bar, int rank, int bytes) {
  asm volatile("fence.release.sync_restrict::shared::cta.cluster;" ::: "memory");
  asm volatile(
      "mbarrier.arrive.expect_tx.relaxed.cluster.shared::cluster.b64 _, [%0], %1;" ::"r"(remote(bar, rank)),
      "r"(bytes)
      : "memory");
}

// A store into the block of this rank that nobody waits for: its four bytes come to the mbarrier when they are there.
DF_DEVICE void send(float* p, int rank, float v, uint64_t* bar) {
  asm volatile(
      "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.f32 [%0], %1, [%2];" ::"r"(remote(p, rank)),
      "f"(v), "r"(remote(bar, rank))
      : "memory");
}

// Until the phase of this parity has ended. Polling orders nothing and so costs no invalidation of the first-level cache;
// one fence behind it does, for the cluster's shared memory alone.
DF_DEVICE void wait(uint64_t* bar, int parity) {
  const uint32_t at = static_cast<uint32_t>(__cvta_generic_to_shared(bar));
  uint32_t ended = 0;
  while (!ended)
    asm volatile(
        "{\n.reg .pred p;\nmbarrier.try_wait.parity.relaxed.cluster.shared::cta.b64 p, [%1], %2;\n"
        "selp.u32 %0, 1, 0, p;\n}"
        : "=r"(ended)
        : "r"(at), "r"(parity)
        : "memory");
  asm volatile("fence.acquire.sync_restrict::shared::cluster.cluster;" ::: "memory");
}
#endif

// The value of the lane whose number differs by `mask`. Every lane takes part; it orders no memory.
DF_DEVICE float shuffle_xor(float v, int mask) { return __shfl_xor_sync(0xffffffffu, v, mask); }

// *p += v; the value before. What a thread wrote, or had seen written, before its own is seen by whoever adds later.
DF_DEVICE int atomic_add(int* p, int v) {
  int before;
  asm volatile("atom.acq_rel.gpu.global.add.s32 %0, [%1], %2;" : "=r"(before) : "l"(p), "r"(v) : "memory");
  return before;
}

// *p = the lesser of the two. It orders nothing.
DF_DEVICE void atomic_min(int* p, int v) { atomicMin(p, v); }

// d += a b for a 16 x 16 of rows and b 16 x 8 of columns, in halves, sums in float32 (PTX ISA, mma.m16n8k16). With
// g = lane / 4 and t = lane % 4: a = rows g, g + 8, g, g + 8 at columns (2t, 2t + 1) twice, then those 8 further on;
// b = rows (2t, 2t + 1) and those 8 further on of column g; d = rows g, g, g + 8, g + 8 at columns 2t, 2t + 1.
DF_DEVICE void mma(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Two numbers as halves, rounded to nearest; the first in the low bits.
DF_DEVICE uint32_t halves(float x, float y) {
  const __half2 v = __floats2half2_rn(x, y);
  return *reinterpret_cast<const uint32_t*>(&v);
}

DF_DEVICE float approximate_exp(float x) { return __expf(x); }
DF_DEVICE float bits_to_float(uint32_t v) { return __uint_as_float(v); }
DF_DEVICE uint32_t float_to_bits(float v) { return __float_as_uint(v); }
DF_DEVICE uint32_t multiply_high(uint32_t a, uint32_t b) { return __umulhi(a, b); }

// Memory that no kernel writes.
DF_DEVICE float4 read_only(const float4* p) { return __ldg(p); }
DF_DEVICE uint2 read_only(const uint2* p) { return __ldg(p); }

// How a kernel is launched, in clusters of so many blocks.
struct Launch {
  cudaLaunchConfig_t config = {};
  cudaLaunchAttribute cluster[1] = {};

  Launch(int blocks, int threads, int shared_bytes, void* stream, int peers) {
    config.gridDim = dim3(blocks);
    config.blockDim = dim3(threads);
    config.dynamicSmemBytes = shared_bytes;
    config.stream = static_cast<cudaStream_t>(stream);
    cluster[0].id = cudaLaunchAttributeClusterDimension;
    cluster[0].val.clusterDim.x = peers;
    cluster[0].val.clusterDim.y = cluster[0].val.clusterDim.z = 1;
    config.attrs = cluster;
    config.numAttrs = peers > 1;
  }
};

// Runs a kernel on a stream: 0, or an error's number.
template <class Arguments>
int launch(void (*kernel)(Arguments), int blocks, int threads, int shared_bytes, const Arguments& arguments,
           void* stream, int peers = 1) {
  const Launch how(blocks, threads, shared_bytes, stream, peers);
  return cudaLaunchKernelEx(&how.config, kernel, arguments);
}

// How many clusters of a kernel the device runs at the same time; 0 where there are none.
template <class Arguments>
int clusters_of(void (*kernel)(Arguments), int threads, int shared_bytes, int peers) {
  const Launch how(peers, threads, shared_bytes, nullptr, peers);
  int found = 0;
  if (cudaOccupancyMaxActiveClusters(&found, kernel, &how.config) == cudaSuccess) return found;
  cudaGetLastError();  // that there are none is no error
  return 0;
}

// A kernel may have all the shared memory that a block of this device can; more than 48 KiB has to be asked for.
template <class Arguments>
int allow_shared(void (*kernel)(Arguments)) {
  int device = 0, most = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess)
    error = cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  if (error == cudaSuccess)
    error = cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                 cudaFuncAttributeMaxDynamicSharedMemorySize, most);
  return error;
}

inline const char* error_text(int error) { return cudaGetErrorString(static_cast<cudaError_t>(error)); }

}  // namespace cuda
}  // namespace df

#endif

namespace df {
namespace cuda {

DF_HOST_DEVICE int min_of(int a, int b) { return a < b ? a : b; }
DF_HOST_DEVICE int max_of(int a, int b) { return a < b ? b : a; }

}  // namespace cuda
}  // namespace df

// What the host calls: C linkage, so that the same Python engine calls a GPU's build and the emulator's.
#pragma once

#include "stage.gen.h"

extern "C" {

// Bytes of shared memory that a block of the whole-loop kernel needs.
int df_cuda_shared_bytes(const df::Arguments* arguments);

// What has to be done once for a device, and not while a graph is captured. All of these return 0 or an error's number.
int df_cuda_prepare();

// A whole plan on a stream, by a launch for every stage, by one for all of it, or by one of clusters (sm_90 and newer)
// that wait for each other or send each other what they compute. Nothing is waited for.
int df_cuda_stages(const df::Arguments* arguments, void* stream);
int df_cuda_loop(const df::Arguments* arguments, void* stream);
int df_cuda_cluster(const df::Arguments* arguments, void* stream);
int df_cuda_async(const df::Arguments* arguments, void* stream);

// How many clusters of the last one this device runs at the same time; 0 if none fits or it has none.
int df_cuda_clusters(const df::Arguments* arguments);

// An error in words.
const char* df_cuda_error(int error);
}

// Written by `python -m diffuser_fast.backends.gpu.header > csrc/cuda/stage.gen.h`; a test compares the two.
// clang-format off
#pragma once
#include <stdint.h>

namespace df {

enum StageField : int {
  kStageKind = 0,
  kStageNetwork = 1,
  kStageX = 2,
  kStageXLd = 3,
  kStageY = 4,
  kStageYLd = 5,
  kStageR = 6,
  kStageRLd = 7,
  kStageU = 8,
  kStageULd = 9,
  kStageP = 10,
  kStagePLd = 11,
  kStageCi = 12,
  kStageHIn = 13,
  kStageCo = 14,
  kStageH = 15,
  kStageCr = 16,
  kStageK = 17,
  kStageStride = 18,
  kStagePad = 19,
  kStageTransposed = 20,
  kStageW = 21,
  kStageSkipW = 22,
  kStageBias = 23,
  kStageSkipBias = 24,
  kStageGamma = 25,
  kStageBeta = 26,
  kStageResidual = 27,
  kStageTail = 28,
  kStageAct = 29,
  kStageGroups = 30,
  kStageEps = 31,
  kStageTable = 32,
  kStageBiasAt = 33,
  kStageHeads = 34,
  kStageScalar = 35,
  kStageIo = 36,
  kStageFields = 37,
};

enum ScriptField : int {
  kScriptFirst = 0,
  kScriptCount = 1,
  kScriptK = 2,
  kScriptFlags = 3,
  kScriptFields = 4,
};

enum Kind : int {
  kKindLoad = 0,
  kKindStore = 1,
  kKindConv = 2,
  kKindNorm = 3,
  kKindChannelNorm = 4,
  kKindPointwise = 5,
  kKindAttention = 6,
  kKindBegin = 7,
  kKindGuidance = 8,
  kKindUpdate = 9,
  kKindKeepValue = 10,
  kKindFinish = 11,
  kKindRank = 12,
};

enum Residual : int {
  kResidualNone = 0,
  kResidualEarlySame = 1,
  kResidualEarlyConv = 2,
  kResidualLateSame = 3,
  kResidualLateConv = 4,
};

enum Tail : int {
  kTailNone = 0,
  kTailNormAct = 1,
  kTailAct = 2,
  kTailActVjp = 3,
  kTailNormActVjp = 4,
  kTailNorm = 5,
  kTailNormVjp = 6,
  kTailAdd = 7,
  kTailBias = 8,
  kTailFilm = 9,
  kTailCopy = 10,
};

enum Bias : int {
  kBiasNone = 0,
  kBiasBefore = 1,
  kBiasAfter = 2,
};

enum Flag : int {
  kFlagFirst = 1,
  kFlagLast = 2,
};

struct Stage {
  int32_t kind;
  int32_t network;
  int32_t x;
  int32_t x_ld;
  int32_t y;
  int32_t y_ld;
  int32_t r;
  int32_t r_ld;
  int32_t u;
  int32_t u_ld;
  int32_t p;
  int32_t p_ld;
  int32_t ci;
  int32_t h_in;
  int32_t co;
  int32_t h;
  int32_t cr;
  int32_t k;
  int32_t stride;
  int32_t pad;
  int32_t transposed;
  int32_t w;
  int32_t skip_w;
  int32_t bias;
  int32_t skip_bias;
  int32_t gamma;
  int32_t beta;
  int32_t residual;
  int32_t tail;
  int32_t act;
  int32_t groups;
  float eps;
  int32_t table;
  int32_t bias_at;
  int32_t heads;
  float scalar;
  int32_t io;
};

struct Step {
  int32_t first;
  int32_t count;
  int32_t k;
  int32_t flags;
};

struct Arguments {
  // what is run (stages.py): rows, the script, and an engine's own division of the work
  const int32_t* stages;
  const int32_t* script;
  const int32_t* tiles;
  // the same in the host's memory
  const int32_t* host_stages;
  const int32_t* host_script;
  const int32_t* host_tiles;
  // weights: convolutions as the engine packs them, where each begins, vectors
  const uint32_t* packed;
  const int32_t* places;
  const float* vectors;
  // the StepTable [R, kColumns], gx and g0 divided by the scale of gradients; clipping [D], or neither
  const float* columns;
  const float* clip_low;
  const float* clip_high;
  // time-embedding tables: those of denoising step k begin at k * .._step; samples lie .._ld apart (0: one
  // row for all); what is added for each sample, .._added_ld apart, or NULL
  const float* denoiser_table;
  const float* denoiser_added;
  const float* guide_table;
  const float* guide_added;
  int32_t denoiser_step;
  int32_t denoiser_ld;
  int32_t denoiser_added_ld;
  int32_t guide_step;
  int32_t guide_ld;
  int32_t guide_added_ld;
  // [R], which step of these tables each denoising step sees
  const int32_t* table_steps;
  // what a plan is made from: where it is inpainted [H, D], the values [1 or N, H, D] (inpaint_ld floats from
  // sample to sample, 0: the same for all); the seed's halves, the first plan's number and the candidates
  // [4], or a tape, entry 0 being the first noise and entry i that of the i-th step that is run; x [N, H, D]
  // or NULL
  const int32_t* mask;
  const float* inpaint;
  const uint32_t* address;
  const float* tape;
  const float* given;
  int32_t inpaint_ld;
  // memory to work in, floats of it for one trajectory, trajectories of a group; a counter of blocks, 0
  // between plans
  float* arena;
  int32_t arena_floats;
  int32_t group;
  int32_t* arrived;
  // what a plan is: x [N, H, D], values [N], order [N], the first step that was not finite (at first R), and
  // the states [N, R + 1 - start, H, D], or NULL
  float* x;
  float* values;
  int32_t* order;
  int32_t* bad;
  float* chain;
  // inputs and outputs of one Program by itself [N, H, C], by number
  float* const* io;
  // N, H, D, R, the first denoising step, plans that are ranked together; how many rows stages and script
  // have; whether products are of float32, not of halves
  int32_t batch;
  int32_t horizon;
  int32_t depth;
  int32_t rows;
  int32_t start;
  int32_t candidates;
  int32_t stage_count;
  int32_t script_count;
  int32_t exact;
};

}  // namespace df

// Written by `python -m diffuser_fast.bundle.header > csrc/capi/bundle.gen.h`; a test compares the two.
// clang-format off
#pragma once

namespace df {

enum Size : int {
  kSizeVersion = 0,
  kSizeActionDim = 1,
  kSizeObservationDim = 2,
  kSizeTrainingSteps = 3,
  kSizeRows = 4,
  kSizeGuided = 5,
  kSizeBatch = 6,
  kSizeVariants = 7,
  kSizeWeights = 8,
  kSizeExactness = 9,
  kSizeClipArray = 10,
  kSizeObservationsKind = 11,
  kSizeActionsKind = 12,
  kSizeTestBatch = 13,
  kSizeTestConditions = 14,
  kSizeActionsAt = 15,
  kSizeObservationsAt = 16,
  kSizeMenuRows = 17,
  kSizeTableSteps = 18,
  kSizeChoices = 19,
  kSizePaths = 20,
  kSizes = 21,
};

enum VariantField : int {
  kVariantBatch = 0,
  kVariantHorizon = 1,
  kVariantDenoiserSize = 2,
  kVariantGradientSize = 3,
  kVariantValueSize = 4,
  kVariantDenoiserWidth = 5,
  kVariantGuideWidth = 6,
  kVariantFields = 7,
};

enum NormalizerKind : int {
  kNormalizerGaussian = 0,
  kNormalizerLimits = 1,
  kNormalizerCdf = 2,
  kNormalizerAffine = 3,
  kNormalizerKinds = 4,
};

constexpr int kExactnessClasses = 4;
constexpr int kMostGuideSteps = 256;  // of a denoising step
constexpr int kBundleVersion = 2;
constexpr int kTestSeed = 20220517;
constexpr int kTestNumber = 7;
constexpr int kLine = 64;  // bytes: tensors lie at multiples of it
constexpr int kDigestLanes = 512;  // 64-bit words
constexpr int kDigestTurn = 29;  // bits
constexpr unsigned long long kDigestMultiplier = 0x9e3779b97f4a7c15;
constexpr int kCostWindow = 64;  // plans; core/costs.py says what this and these are
constexpr double kCostQuantile = 0.9;
constexpr double kCostLeastMargin = 0.05;
constexpr double kCostMostMargin = 0.5;
constexpr double kCostRate = 0.125;
constexpr double kCostAlike = 0.1;
constexpr double kCostFloor = 0.2;
constexpr double kCostFirstSpread = 0.5;
constexpr double kCostSafety = 1.5;
constexpr double kCostForget = 0.000244140625;

}  // namespace df

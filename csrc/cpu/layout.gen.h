// Written by `python -m diffuser_fast.backends.cpu.header > csrc/cpu/layout.gen.h`; a test compares the two.
// clang-format off
#pragma once

namespace df {

enum class Algorithm : int {
  kDirect = 0,
  kDotAdjoint = 1,
  kWinograd = 2,
  kPackedBf16 = 3,
  kInt8 = 4,
};

enum Layout : int {
  kLayoutVector = 0,
  kLayoutForward = 1,
  kLayoutTransposed = 2,
  kLayoutWinograd = 3,
  kLayoutWinogradShort = 4,
  kLayoutBf16 = 5,
  kLayoutInt8 = 6,
  kLayouts = 7,
};

constexpr int kBlock = 16;  // channels of one block of packed weights
constexpr int kPitchEvery = 64;  // channels, of which whole multiples
constexpr int kPitchExtra = 4;  // get so many vectors more from one tap to the next
constexpr int kInt8Products = 65536;  // of a sum, at most
constexpr int kWinogradTaps = 5;
constexpr int kWinogradTile = 4;  // outputs in time
constexpr int kWinogradPoints = 8;
constexpr int kWinogradShortPoints = 7;
constexpr int kWinogradShort = 4;  // rows: up to these a trajectory takes the fewer points

// Instruction sets, narrowest first: of x86-64, then of AArch64.
constexpr char kIsaScalar[] = "scalar";
constexpr char kIsaAvx2[] = "avx2";
constexpr char kIsaAvx2Vnni[] = "avx2_vnni";
constexpr char kIsaAvx512[] = "avx512";
constexpr char kIsaAvx512Vnni[] = "avx512_vnni";
constexpr char kIsaAvx512Bf16[] = "avx512_bf16";
constexpr char kIsaNeon[] = "neon";
constexpr char kIsaNeonDot[] = "neon_dot";
constexpr char kIsaNeonBf16[] = "neon_bf16";

}  // namespace df

// Written by `python -m diffuser_fast.core.header > csrc/ops.gen.h`; a test compares the two.
// clang-format off
#pragma once

namespace df {

enum Opcode : int {
  kConv = 1,
  kGroupNorm = 2,
  kChannelNorm = 3,
  kAct = 4,
  kAdd = 5,
  kConcat = 6,
  kSlice = 7,
  kStepBias = 8,
  kLinearAttention = 9,
  kGroupNormVjp = 10,
  kActVjp = 11,
  kConvBlock = 12,
  kNormActVjp = 13,
  kFilm = 14,
};

enum OpField : int {
  kOpOpcode = 0,
  kOpOut = 1,
  kOpOut2 = 2,
  kOpIn = 3,
  kOpIn2 = 4,
  kOpW = 5,
  kOpW2 = 6,
  kOpW3 = 7,
  kOpW4 = 8,
  kOpK = 9,
  kOpStride = 10,
  kOpPad = 11,
  kOpTransposed = 12,
  kOpGroups = 13,
  kOpEps = 14,
  kOpAct = 15,
  kOpTable = 16,
  kOpLo = 17,
  kOpHeads = 18,
  kOpQScale = 19,
  kOpAlgorithm = 20,
  kOpFields = 21,
};

enum ValueField : int {
  kValueChannels = 0,
  kValueLength = 1,
  kValueOffset = 2,
  kValueLd = 3,
  kValueChannel = 4,
  kValueFields = 5,
};

enum Act : int {
  kActMish = 0,
  kActSilu = 1,
  kActRelu = 2,
  kActGelu = 3,
  kActSquare = 4,
  kActs = 5,
};

enum Column : int {
  kColumnP = 0,
  kColumnQ = 1,
  kColumnA = 2,
  kColumnB = 3,
  kColumnD = 4,
  kColumnS = 5,
  kColumnGx = 6,
  kColumnG0 = 7,
  kColumnU = 8,
  kColumns = 9,
};

}  // namespace df

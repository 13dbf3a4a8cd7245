//===- RandomRank.h - plans of one rank without places ----------*- C++ -*-===//
#pragma once

#include "compiler/Optimize/Contexts.h"
#include "runtime/Plan/Plan.h"

#include <random>

namespace moe::test {

struct StageKind {
  bool isSplit = false; ///< has both ways backward
  bool isFirst = false; ///< has no gradient of its input
  bool isLast = false;  ///< has no gradient of its output
};

/// A stage as the emitter builds it, before placement: random programs on two
/// streams with the waits that data needs, and values that are kept.
plan::Stage randomStage(std::mt19937 &random, StageKind kind);

/// A random merge of two programs.
std::vector<int64_t> randomOrder(std::mt19937 &random, size_t first,
                                 size_t second);

/// One rank with two stages or three that hand over by sends, whose steps run
/// and overlap their programs in a random legal order; without slots, offsets
/// and arena.
plan::Plan randomRank(std::mt19937 &random);

/// When each step of the rank begins, and the last ends: moments of a context
/// for one that runs programs, a moment for another of a stage, else none.
std::vector<int64_t> beginsOfSteps(const plan::Rank &rank,
                                   const optimize::Contexts &contexts);

/// A number, both ends included.
int64_t pick(std::mt19937 &random, int64_t least, int64_t most);

} // namespace moe::test

//===- RandomStages.h - the stages of a random plan -------------*- C++ -*-===//
#pragma once

#include "runtime/Plan/Plan.h"

#include <random>

namespace moe::plan {

/// Random choices, the same for a seed everywhere.
class Dice {
public:
  explicit Dice(unsigned seed) : random(seed) {}

  /// From 0 to bound - 1.
  int64_t draw(int64_t bound) {
    return static_cast<int64_t>(random() % static_cast<uint64_t>(bound));
  }
  bool chance() { return draw(2) == 0; }
  double drawReal();
  std::string drawText();

private:
  std::mt19937 random;
};

/// Which stages there are, and which of them a microbatch runs through.
struct Outline {
  int64_t ranks = 1;
  int64_t replicas = 1; ///< copies of the model
  int64_t depth = 1;    ///< stages of a copy
  int64_t microbatches = 1;
  bool isForwardOnly = false;
  std::vector<int64_t> rankOf; ///< of each stage

  int64_t stages() const { return replicas * depth; }
  bool isFirst(int64_t stage) const { return stage % depth == 0; }
  bool isLast(int64_t stage) const { return stage % depth == depth - 1; }
  /// The first microbatches run through the first copy.
  int64_t replicaOf(int64_t microbatch) const {
    return microbatch * replicas / microbatches;
  }
};

/// What a stage exchanges with its neighbours or the data set; -1 where there
/// is none.
struct Ports {
  ValueIndex tokens = -1, labels = -1, loss = -1;
  ValueIndex in = -1, out = -1, gradientIn = -1;
  /// Of the backward and of the backward_input program.
  ValueIndex gradientOut = -1, gradientOutOfHalf = -1;
};

/// Adds the stages of the outline to the plan: parameters, values, programs
/// without waits, overlaps without waits. Nothing has a place yet.
std::vector<Ports> makeRandomStages(Plan &plan, const Outline &outline,
                                    Dice &dice);

/// Gives every buffer its bytes, and each rank its arena and count of
/// persistent bytes: persistent buffers, slots and values of several programs
/// side by side; what lives inside one program or overlap shares a region,
/// first fit.
void placeRandomStages(Plan &plan, const std::vector<Ports> &ports, Dice &dice);

/// Gives ops and overlaps the waits that they need, and some that they do not.
void addRandomWaits(Plan &plan, Dice &dice);

} // namespace moe::plan

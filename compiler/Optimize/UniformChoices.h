//===- UniformChoices.h - all layers of a kind alike ------------*- C++ -*-===//
//
// Choices that a rank can describe in a few words. Costs of layers are measured
// next to their like, so that the account of such choices is closer than that
// of a mixture: they are worth a plan of their own.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Optimize/Policies.h"

namespace moe::optimize {

/// The choices that give all blocks of a kind on the rank the same option.
/// Beyond kMostUniform combinations, blocks of kinds that come late on the rank
/// keep everything.
class UniformFront {
public:
  /// `rank` is a rankProblem(), whose kinds 2 k and 2 k + 1 are kind k of the
  /// blocks. `alike`: for each of these the kind whose option it takes; those
  /// behind its end take their own.
  explicit UniformFront(const PolicyProblem &rank,
                        const std::vector<int64_t> &alike = {});

  /// Those that take least time within `capacityBytes`, of equal ones those
  /// that leave most of it in use; where none fits, those that need least.
  const Choices &within(int64_t capacityBytes) const;

private:
  struct Point {
    int64_t peakBytes, extraNs;
    Choices choices;
  };
  std::vector<Point> points; ///< by rising peak and falling, or equal, time
};
inline constexpr size_t kMostUniform = size_t{1} << 14;

} // namespace moe::optimize

//===- OutsideSlots.h - what a rank has outside slots -----------*- C++ -*-===//
//
// Private to compiler/Optimize.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Optimize/Contexts.h"
#include "compiler/Optimize/Offsets.h"
#include "compiler/Optimize/SlotPlacement.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

namespace moe::optimize {

/// Values with one place for all microbatches, and scratch: when they live, and
/// how high slots reach meanwhile. They are packed from the top of the arena
/// downwards, so that a place is a depth: from the top to the value's first
/// byte.
class OutsideSlots {
public:
  /// Which of the values are in slots must be settled. Keeps references to all
  /// of these.
  OutsideSlots(plan::Plan &plan, const plan::Rank &rank,
               const Contexts &contexts, Reuse reuse);

  /// No arena is smaller above the base of slots: at a moment of a context,
  /// what lives in slots and beside the step, and what is outside and neither
  /// shares bytes with that nor among itself.
  int64_t bound(const SlotHeights &slots) const;

  /// What lives through each step without a part in it.
  std::vector<int64_t> bytesBesideSteps() const;

  /// Depths such that nothing shares bytes over slots that reach as high as
  /// `slots` says.
  std::vector<int64_t> pack(const SlotHeights &slots) const;

  /// How high the arena is above the base of slots with such depths over such
  /// slots.
  int64_t height(const std::vector<int64_t> &depths,
                 const SlotHeights &slots) const;

  /// The depth to which the arena is in use at each moment of the steps, whose
  /// moments begin at `begins` (the end of the last one behind them).
  std::vector<int64_t> depthsOverTime(const std::vector<int64_t> &depths,
                                      const std::vector<int64_t> &begins) const;

  /// Gives everything its offset in an arena that ends at `end`.
  void write(const std::vector<int64_t> &depths, int64_t end);

private:
  using Named = std::pair<int64_t, plan::ValueIndex>; ///< stage and value
  /// A value (stage, -1, its index) or the scratch of an op (stage, phase,
  /// index of the op).
  using Name = std::array<int64_t, 3>;
  struct Outside {
    int64_t *offset;
    int64_t bytes;
    std::vector<Lifetime> lives; ///< on an axis of its own, among each other
  };
  /// Keeps out of the way of slots over moments of a context.
  struct BesideSlots {
    size_t buffer;
    Lifetime life;
  };

  size_t numberOf(const Name &name, int64_t &offset, int64_t bytes);
  size_t numberOf(const Named &named);
  bool isFixed(const Named &named) const;
  void gather(size_t context, int64_t begin);
  void followSteps(const std::vector<int64_t> &begins, int64_t axisEnd);
  void mergeLives();
  int64_t boundBeside(size_t context, const std::vector<int64_t> &liveInSlots,
                      int64_t known) const;
  int64_t mostTogether(const std::map<size_t, int> &counts) const;
  Buffer lifetimesOf(size_t buffer, int64_t above) const;
  std::vector<int64_t> above(const SlotHeights &slots) const;

  plan::Plan &plan;
  const plan::Rank &rank;
  const Contexts &contexts;
  Reuse reuse;
  std::vector<Outside> buffers; ///< in the order in which they were named
  std::map<Name, size_t> numbers;
  std::vector<std::vector<BesideSlots>> inContext;
  /// What lives through a step without a part in it, or beside one that runs
  /// nothing.
  std::vector<std::vector<size_t>> duringStep;
  /// What a run of each context has live at each moment.
  std::vector<std::vector<int64_t>> liveInContext;
};

} // namespace moe::optimize

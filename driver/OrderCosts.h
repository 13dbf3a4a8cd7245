//===- OrderCosts.h - how long an order of steps takes ----------*- C++ -*-===//
//
// By the planner's account: stages take what their blocks were measured to
// take, and schedule::evaluate says what that comes to. Nanoseconds.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Optimize/Partition.h"
#include "compiler/Schedule/Evaluate.h"
#include "compiler/Schedule/LinkedOrder.h"
#include "passes/Policies/BlockOptions.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

namespace moe::driver {

struct OrderCosts {
  /// The order must pass schedule::verify().
  OrderCosts(ModelOptions options, const schedule::Schedule &order,
             int64_t transferNs)
      : options(std::move(options)), order(order),
        transfers(transfersOf(order)), pairs(schedule::overlappingPairs(order)),
        isSplit(schedule::splitsBackwards(order)), transferNs(transferNs) {
    if (transfers)
      linked.emplace(order, *transfers);
  }

  /// A stage with these blocks, without policies; of those that are no layers
  /// only, or of all.
  schedule::StageCosts costsOfBlocks(int64_t begin, int64_t end,
                                     bool withLayers) const;
  /// The same of every stage with so many blocks.
  std::vector<schedule::StageCosts>
  stageCosts(const std::vector<int64_t> &counts, bool withLayers = true) const;

  struct SegmentCosts {
    schedule::StageCosts whole, others; ///< of all, and of what is no layer
  };
  /// A forward and a backward that run interleaved.
  int64_t pairNs(const SegmentCosts &first, const SegmentCosts &second) const;

  /// Of the whole order, with stages of so many blocks that cost this, those of
  /// all copies of the model or of one. `overlaps`: what is known of pairs that
  /// overlap; none: they are taken to save what such pairs of layers do.
  schedule::Costs
  stepCosts(const std::vector<int64_t> &counts,
            const std::vector<schedule::StageCosts> &stages,
            std::vector<schedule::OverlapCost> overlaps = {}) const;
  /// How long a step takes with these, as compiler/Simulate has it: messages
  /// share links, and ranks reduce gradients and update behind their last
  /// action (but for what tied parameters on several ranks send each other).
  Result<int64_t>
  stepNs(const std::vector<int64_t> &counts,
         const std::vector<schedule::StageCosts> &stages,
         std::vector<schedule::OverlapCost> overlaps = {}) const;
  Result<int64_t> stepNs(const std::vector<int64_t> &counts,
                         const schedule::Costs &costs) const;
  /// How long it takes at least, as schedule::evaluate has it, and bounds.
  Result<int64_t> evaluatedNs(const schedule::Costs &costs) const;

  /// What each rank does behind its last action.
  std::vector<int64_t> endOfStepNs(const std::vector<int64_t> &counts) const;

  ModelOptions options;
  schedule::Schedule order;
  /// Of the steps that plans of it have; none: these lack buffers, which is
  /// told of where they are made.
  std::optional<schedule::Transfers> transfers;
  std::optional<schedule::LinkedOrder> linked; ///< with these
  std::set<std::pair<int64_t, int64_t>> pairs; ///< that overlap
  bool isSplit; ///< see schedule::splitsBackwards
  int64_t transferNs;

  const schedule::Transfers *knownTransfers() const {
    return transfers ? &*transfers : nullptr;
  }

private:
  static std::optional<schedule::Transfers>
  transfersOf(const schedule::Schedule &order);
};

/// Steps of cuts, for optimize::partition and leastStepNs, with the chains of
/// actions that made them as long as they are. `costs` must outlive it.
std::shared_ptr<optimize::StepTimes> stepTimes(const OrderCosts &costs);

} // namespace moe::driver

//===- Choose.h - what the planner decides by itself ------------*- C++ -*-===//
#pragma once

#include "compiler/Schedule/Schedule.h"
#include "driver/Arguments.h"
#include "driver/Driver.h"
#include "passes/Policies/BlockOptions.h"

#include <functional>
#include <string>
#include <vector>

namespace moe::driver {

/// What is left to the planner.
struct Freedom {
  Techniques techniques;
  /// Whether it may cut the model; if not, `layers` of each stage, or even
  /// shares where there are none.
  bool partition = false;
  std::vector<int64_t> layers;
  /// For each block the stage where it has to lie, -1: any. Empty: all.
  std::vector<int64_t> pins;
};

/// What it decides, and what that comes to by its own account. Nanoseconds are
/// those of a microbatch, both ways.
struct Chosen {
  std::vector<int64_t> layers;    ///< of each stage
  std::string recompute, offload; ///< as users write choices
  struct Rank {
    int64_t extraNs = 0; ///< longer than without policies
    /// No policies that fit take less; -1: nothing fits.
    int64_t leastExtraNs = 0;
    int64_t peakBytes = 0;
    int64_t leastPeakBytes = 0; ///< whatever is done
  };
  std::vector<Rank> ranks;
  /// How long the order of steps takes with these choices, and no less with any
  /// others that fit, as schedule::evaluate counts.
  int64_t stepNs = 0, boundNs = 0;

  bool isSameAs(const Chosen &other) const {
    return layers == other.layers && recompute == other.recompute &&
           offload == other.offload;
  }
};

/// For each block of the model the stage where it has to lie, -1: any; empty
/// where there are no pins. Errors: a layer that the model does not have.
Result<std::vector<int64_t>> pinBlocks(const std::vector<Pin> &pins,
                                       const ModelOptions &options);

/// The order of steps that the generator `schedule` makes of what the stages of
/// an even cut cost.
Result<schedule::Schedule>
orderOfEvenCut(const std::string &schedule,
               const schedule::ScheduleProblem &problem, int64_t groupSize,
               const ModelOptions &options, int64_t transferNs);

/// Chooses for the blocks of a differentiated model and one order of steps.
class Chooser {
public:
  /// `order` is of one copy of the model. Errors: blocks without options, pins
  /// that leave no cut, layers that do not fit the stages.
  static Result<Chooser> make(ModelOptions options,
                              const schedule::Schedule &order,
                              int64_t transferNs, Freedom freedom);

  /// The best within these capacities of the ranks, reserve left out; where
  /// nothing fits, what needs least.
  Result<Chosen> choose(const std::vector<int64_t> &capacityBytes) const;

  size_t rankCount() const { return base.moments.size(); }

private:
  Chooser(ModelOptions options, const schedule::Schedule &order,
          int64_t transferNs, Freedom freedom)
      : options(std::move(options)), order(order), transferNs(transferNs),
        freedom(std::move(freedom)) {}

  Result<optimize::Partition>
  cut(const optimize::PartitionProblem &problem) const;

  ModelOptions options;
  schedule::Schedule order;
  int64_t transferNs;
  Freedom freedom;
  optimize::PartitionProblem base; ///< without capacities
};

/// A plan in the making: far enough to say what its ranks need.
struct Draft {
  std::vector<int64_t> arenaBytes; ///< of each rank, reserve left out
  /// Of each rank, what it would need if no stream waited for another one's
  /// bytes. Above the budget, they wait.
  std::vector<int64_t> bytesWithoutWaits;
  /// Accounts for, predicts, checks and hands over the plan. To be called once.
  std::function<Result<PlanAnswer>()> finish;
};

/// Makes drafts of what `chooser` chooses until one fits without waits for
/// bytes: where a rank needs more than the chooser thought, it gets that much
/// less to choose with, where less, that much more. The answer is that plan; or
/// one that fits with such waits, where it is quicker or nothing else fits; or
/// the one nearest to fitting. With what was chosen, its distance from the
/// bound, and where nothing fits what would be needed, among its assumptions.
Result<PlanAnswer>
choosePlan(const Chooser &chooser, int64_t budgetBytes, int64_t reserveBytes,
           const std::function<Result<Draft>(const Chosen &)> &make);

} // namespace moe::driver

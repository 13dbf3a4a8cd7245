//===- Choose.h - what the planner decides by itself ------------*- C++ -*-===//
#pragma once

#include "compiler/Schedule/Evaluate.h"
#include "driver/Arguments.h"
#include "driver/Driver.h"
#include "driver/OrderCosts.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
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
  optimize::Effort effort = optimize::Effort::fast;
};

/// What it decides, and what that comes to by its own account. Nanoseconds are
/// those of a microbatch, both ways.
struct Chosen {
  std::vector<int64_t> layers; ///< of each stage
  std::vector<int64_t> counts; ///< blocks of each stage
  /// Of each rank, options of the blocks of its stages.
  std::vector<optimize::Choices> choices;
  std::string recompute, offload; ///< as users write choices
  struct Rank {
    int64_t ns = 0;      ///< without policies
    int64_t extraNs = 0; ///< longer than that
    int64_t peakBytes = 0;
    int64_t hostBytes = 0;
    int64_t movedBytes = 0; ///< to the host and back, of a microbatch
  };
  std::vector<Rank> ranks;
  /// What the stages of a copy of the model take and hold.
  std::vector<schedule::StageCosts> stages;
  /// How long a step takes; see OrderCosts.
  int64_t stepNs = 0;
  /// The most that a rank exceeds its room on the device by.
  int64_t excessBytes = 0;
  /// Whether it is certain that no cut (where the cut is free) and no choices
  /// that fit have a smaller optimize::Partition::objectiveNs.
  bool isOptimal = false;

  bool fits() const { return excessBytes == 0; }
  /// Of any rank.
  int64_t largestPeakBytes() const {
    int64_t most = 0;
    for (const Rank &rank : ranks)
      most = std::max(most, rank.peakBytes);
    return most;
  }
  bool isSameAs(const Chosen &other) const {
    return layers == other.layers && recompute == other.recompute &&
           offload == other.offload;
  }
};

/// For each block of the model the stage where it has to lie, -1: any; empty
/// where there are no pins. Errors: a layer that the model does not have.
Result<std::vector<int64_t>> pinBlocks(const std::vector<Pin> &pins,
                                       const ModelOptions &options);

/// The blocks of each stage with these layers, or with even shares where there
/// are none. Errors: layers for another number of stages.
Result<std::vector<int64_t>> countsOf(const std::vector<int64_t> &layers,
                                      int64_t stages,
                                      const ModelOptions &options);

/// What stages with these numbers of blocks cost a schedule that goes by costs,
/// everything kept.
schedule::Costs costsOfCut(const std::vector<int64_t> &counts,
                           const schedule::ScheduleProblem &problem,
                           const ModelOptions &options, int64_t transferNs);

/// What ranks may choose with: bytes of each rank, reserve left out.
struct Room {
  std::vector<int64_t> device;
  std::vector<int64_t> host; ///< optimize::kUnlimitedBytes: anything
};

/// Chooses for the blocks of a differentiated model and one order of steps.
/// Where that has two copies of the model, two ranks have the same stages, in
/// opposite directions: they choose alike, and count as one here.
class Chooser {
public:
  /// Errors: blocks without options, pins that leave no cut, layers that do not
  /// fit the stages. `like`: null, or one for another order of steps of the
  /// same stages, with which it shares what is known of them where both have
  /// the same options; the two are not to be asked at the same time.
  static Result<Chooser> make(ModelOptions options,
                              const schedule::Schedule &order,
                              int64_t transferNs, Freedom freedom,
                              const Chooser *like = nullptr);

  /// The best within the room of the ranks; where nothing fits the devices,
  /// what exceeds them least.
  Result<Chosen> choose(const Room &room, optimize::Effort effort) const;
  Result<Chosen> choose(const Room &room) const {
    return choose(room, freedom.effort);
  }
  /// The same with this many blocks on each stage.
  Result<Chosen> choose(const Room &room, const std::vector<int64_t> &counts,
                        optimize::Effort effort) const;

  /// Blocks of each stage with even shares of layers; empty where shares are
  /// not chosen, or even ones cannot be.
  std::vector<int64_t> evenCounts() const;

  /// The same with this many blocks on each stage. Ranks take what is `known`
  /// for them, or what fits their capacity; without either, or with too little,
  /// what keeps least: the account of peaks can be wrong about which choices
  /// need least. Where that exceeds the host, they leave nothing there.
  Result<Chosen>
  lean(const std::vector<int64_t> &counts,
       const std::vector<std::optional<optimize::Choices>> &known,
       const std::vector<std::optional<int64_t>> &capacityBytes,
       const std::vector<int64_t> &hostBytes) const;

  /// These choices of ranks, with this many blocks on each stage.
  Result<Chosen> with(const std::vector<int64_t> &counts,
                      std::vector<optimize::Choices> choices) const;

  /// What the order of steps takes at least, whatever ranks do within these
  /// capacities and, where cuts are free, however the model is cut, as
  /// schedule::evaluate counts.
  optimize::StepBound bound(const Chosen &chosen,
                            const std::vector<int64_t> &capacityBytes) const;

  /// What the steps of a plan take at least, in whatever order and however the
  /// model is cut, with as many copies of it; no memory is too little.
  int64_t leastNsOfAnyOrder() const;

  /// See OrderCosts.
  Result<int64_t>
  stepNs(const std::vector<int64_t> &counts,
         const std::vector<schedule::StageCosts> &stages,
         std::vector<schedule::OverlapCost> overlaps = {}) const {
    return costs.stepNs(counts, stages, std::move(overlaps));
  }

  /// The same as schedule::evaluate has it, and bounds.
  Result<int64_t>
  evaluatedNs(const std::vector<int64_t> &counts,
              const std::vector<schedule::StageCosts> &stages) const {
    return costs.evaluatedNs(costs.stepCosts(counts, stages));
  }

  /// Of each rank the sum over its stages, all given, both ways.
  std::vector<int64_t>
  rankNs(const std::vector<schedule::StageCosts> &stages) const;

  const ModelOptions &model() const { return costs.options; }
  int64_t transferNs() const { return costs.transferNs; }
  const schedule::Schedule &steps() const { return costs.order; }
  optimize::Effort effort() const { return freedom.effort; }
  /// Of a copy to the host, by itself.
  double hostBytesPerNs() const { return costs.options.hostBytesPerNs; }
  /// From one entry for each rank of the plan, the larger of ranks that choose
  /// alike.
  std::vector<int64_t> largestAlike(const std::vector<int64_t> &ofRanks) const;

  size_t rankCount() const { return base.moments.size(); }
  size_t rankOf(size_t stage) const {
    return static_cast<size_t>(base.rankOf[stage]);
  }

private:
  Chooser(ModelOptions options, const schedule::Schedule &order,
          int64_t transferNs, Freedom freedom)
      : costs(std::move(options), order, transferNs),
        freedom(std::move(freedom)) {}

  /// The number that a rank of the plan has here.
  int64_t chooserOf(int64_t rank) const;
  /// What `rank` of the plan holds while it runs.
  void addMoments(int64_t rank);
  optimize::PartitionProblem within(const Room &room,
                                    optimize::Effort effort) const;
  optimize::RankFronts *frontsOf(optimize::Effort effort) const {
    return effort == optimize::Effort::exact ? exactFronts.get() : fronts.get();
  }
  /// See bound().
  optimize::StepBound
  findBound(const Chosen &chosen,
            const std::vector<int64_t> &capacityBytes) const;
  /// What a rank of the cut that was chosen takes longer at least.
  int64_t leastExtraNs(const optimize::PolicyProblem &choice,
                       int64_t capacityBytes, int64_t knownNs,
                       int64_t workNs) const;
  Result<optimize::Partition> cut(const optimize::PartitionProblem &problem,
                                  optimize::Effort effort) const;
  Result<Chosen> tell(const optimize::Partition &found) const;
  /// A bound, and what it was asked for.
  struct BoundOf {
    std::vector<int64_t> counts;
    std::vector<optimize::Choices> choices;
    std::vector<int64_t> capacityBytes;
    optimize::StepBound bound;

    bool isFor(const BoundOf &other) const {
      return counts == other.counts && choices == other.choices &&
             capacityBytes == other.capacityBytes;
    }
  };

  OrderCosts costs;
  Freedom freedom;
  optimize::PartitionProblem base; ///< without capacities
  /// Of `base`, and of what exact searches go through.
  std::unique_ptr<optimize::RankFronts> fronts, exactFronts;
  /// A plan is asked for its bound when it is made and when it is told of.
  mutable std::unique_ptr<const BoundOf> lastBound;
};

/// A plan in the making: far enough to say what its ranks need.
struct Draft {
  std::vector<int64_t> arenaBytes;     ///< of each rank, reserve left out
  std::vector<int64_t> hostArenaBytes; ///< of each rank
  /// Of each rank, what it would need if no stream waited for another one's
  /// bytes. Above the budget, they wait.
  std::vector<int64_t> bytesWithoutWaits;
  std::vector<schedule::StageCosts> stages; ///< what their programs take
  /// What pairs of programs take that overlap.
  std::vector<schedule::OverlapCost> overlaps;
  /// Accounts for, predicts, checks and hands over the plan. To be called once.
  std::function<Result<PlanAnswer>()> finish;
};

/// Makes the draft of a choice, laid out for a budget in bytes, reserve
/// included; what its finish() returns is about that budget. The last argument:
/// finish() writes the files that were asked for besides the plan.
using MakeDraft = std::function<Result<Draft>(const Chosen &, int64_t, bool)>;

/// Where nothing fits, of a budget, by how much less is tried: what is tried
/// depends on it, and what meets less fits.
inline constexpr int64_t kSmaller = 64;

/// What there is, in bytes of each device.
struct PlanBudget {
  int64_t wholeBytes = 0; ///< reserve included
  int64_t reserveBytes = 0;
  int64_t hostBytes = 0; ///< 0: unknown, and no limit
  /// What was given, which plans tell of; less may be used. 0: the same.
  int64_t givenBytes = 0;

  int64_t toldBytes() const { return givenBytes > 0 ? givenBytes : wholeBytes; }

  /// The same for all ranks.
  Room room(size_t ranks) const {
    return {std::vector<int64_t>(
                ranks, std::max<int64_t>(0, wholeBytes - reserveBytes)),
            std::vector<int64_t>(
                ranks, hostBytes > 0 ? hostBytes : optimize::kUnlimitedBytes)};
  }
};

/// A plan of choices.
struct ChosenPlan {
  PlanAnswer answer;

  int64_t stepNs() const { return answer.plan.prediction.stepNs; }
};

/// Makes drafts of what `chooser` chooses until one fits without waits for
/// bytes: where a rank needs more than the chooser thought, it gets that much
/// less to choose with, where less, that much more; where its copies take
/// longer, it gets less of the host (Corrections.h). The answer is the quickest
/// such plan by what the programs of the drafts take, or what its ranks do in
/// several of them, put together (FittingRanks.h), where that is quicker; or
/// one that fits with such waits, where it is quicker or nothing else fits.
/// With what was chosen and its distance from the bound among its assumptions.
/// None: nothing was found to fit.
///
/// That is done for the largest budget of ten significant bits within this one.
/// Where `triesSmaller` it is done for all such budgets from there down, as
/// long as the account promises a quicker plan, and the quickest is the answer;
/// with effort exact with fast and with exact choices, and as long as the
/// account promises one that is little slower. What is tried for a budget does
/// not depend on other ones, so that a larger budget never gives a slower plan,
/// as far as the account can be trusted. Where nothing fits, this very budget
/// is tried. `onProgress`, if any, is told of drafts. That of the answer is
/// made again where it `writes` files.
Result<std::optional<ChosenPlan>>
choosePlan(const std::shared_ptr<const Chooser> &chooser,
           const PlanBudget &budget, bool triesSmaller, bool writes,
           const MakeDraft &make, const OnProgress &onProgress);

/// The plan that needs least memory on its largest rank: which one that is does
/// not depend on the budget, which it may fit.
Result<PlanAnswer> leastPlan(const std::shared_ptr<const Chooser> &chooser,
                             const PlanBudget &budget, bool writes,
                             const MakeDraft &make,
                             const OnProgress &onProgress);

/// What the largest rank of the first draft of that plan needs, reserve left
/// out: enough, and mostly within half a percent of the least
/// (docs/planner.md).
Result<int64_t> leastArenaBytes(const std::shared_ptr<const Chooser> &chooser,
                                const PlanBudget &budget,
                                const MakeDraft &make);

} // namespace moe::driver

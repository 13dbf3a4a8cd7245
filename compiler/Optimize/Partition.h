//===- Partition.h - which blocks lie on which stage ------------*- C++ -*-===//
//
// Cuts the blocks of a model (embedding, layers, head) into the stages of a
// schedule's placement, such that the step is short once every rank has made
// what it holds fit. The policies of a rank (Policies.h) are part of the cost
// of a cut: a rank that holds more microbatches in flight, or the head, may be
// better off with a layer less than with more to compute again.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Optimize/ChoiceSearch.h"
#include "compiler/Optimize/Policies.h"
#include "compiler/Optimize/UniformChoices.h"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <tuple>
#include <vector>

namespace moe::optimize {

/// What blocks of one kind take. Times are those of the fastest option.
struct BlockKind {
  int64_t forwardNs = 0;
  int64_t backwardNs = 0;      ///< gradients of inputs and weights
  int64_t persistentBytes = 0; ///< parameters, gradients, optimizer state
  std::vector<LayerOption> options;
  /// The same options where the block is the last of its stage, whose backward
  /// begins with it: copies have nothing to hide behind. Empty: the same.
  std::vector<LayerOption> lastOptions = {};
  /// Whether it is one of the layers, of which every stage needs one.
  bool isLayer = true;
  /// The kind whose options these are too, measured elsewhere; -1: there is
  /// none.
  int64_t sameOptionsAs = -1;

  /// Of a microbatch, both ways, without policies.
  int64_t workNs() const { return forwardNs + backwardNs; }
};

/// A time of the schedule at which one stage of a rank runs a microbatch; see
/// schedule::Holding.
struct RankMoment {
  std::vector<int64_t> held, pending; ///< by stage of the rank
  int64_t running = 0;
  int64_t overlapped = -1;
};

/// Blocks of a stage: from `begin` to before `end`.
struct StageBlocks {
  int64_t stage = 0, begin = 0, end = 0;
};

/// What a rank takes longer at least than without policies.
struct LeastExtra {
  int64_t ns = 0;         ///< forward and backward together
  int64_t backwardNs = 0; ///< backward alone
  /// Backward, but for gradients of weights that are programs of their own.
  int64_t inputGradNs = 0;
  bool operator==(const LeastExtra &) const = default;

  /// What that comes to at least in a chain of programs that goes at least so
  /// often through the forwards of each stage, and so on.
  int64_t inChain(double forwards, double inputGrads, double weightGrads) const;
};

/// How long steps take, with this many blocks on each stage and stages that
/// take so much longer than without policies. Nanoseconds.
class StepTimes {
public:
  virtual ~StepTimes() = default;
  /// Keeps in mind what made the step as long as it is: a chain of programs.
  virtual int64_t ns(const std::vector<int64_t> &counts,
                     const std::vector<StageTimes> &longer) = 0;
  /// With what ns() leaves out: never less. Takes longer to find.
  virtual int64_t stepNs(const std::vector<int64_t> &counts,
                         const std::vector<StageTimes> &longer) {
    return ns(counts, longer);
  }
  /// What the step takes at least, by the chains of steps before. Far quicker.
  virtual int64_t leastNs(const std::vector<int64_t> &counts,
                          const std::vector<StageTimes> &longer) const = 0;

  virtual size_t chainCount() const = 0;
  /// What a chain comes to besides the programs of stages.
  virtual int64_t transfersNs(size_t chain) const = 0;
  /// What the stages of a rank add to it at least, if they have these blocks
  /// and take so much longer altogether.
  virtual int64_t partNs(size_t chain, const std::vector<StageBlocks> &ofRank,
                         const LeastExtra &extra) const = 0;
};

struct PartitionProblem {
  std::vector<BlockKind> kinds;
  std::vector<int64_t> blocks; ///< their kinds, in model order
  std::vector<int64_t> rankOf; ///< of every stage, in model order
  std::vector<std::vector<RankMoment>> moments; ///< of each rank
  /// Of each rank, what lives besides that of blocks.
  std::vector<int64_t> otherBytes;
  std::vector<int64_t> capacityBytes; ///< of each rank
  /// What each rank may have on the host; empty: anything.
  std::vector<int64_t> hostCapacityBytes;
  double hostBytesPerNs = 0; ///< PolicyProblem::hostBytesPerNs
  int64_t microbatches = 1;
  /// For each block the stage where it has to lie, -1: any. Empty: all.
  std::vector<int64_t> pins;
  /// Null: the objective (Partition::objectiveNs) is all that is known.
  std::shared_ptr<StepTimes> steps = nullptr;

  int64_t stages() const { return static_cast<int64_t>(rankOf.size()); }
  int64_t ranks() const { return static_cast<int64_t>(moments.size()); }
  /// Whether everything has its entries, pins rise, and there are layers for
  /// all stages.
  Status check() const;
  /// Whether the problems of ranks pass PolicyProblem::check(), whatever the
  /// cut. After check().
  Status checkSums() const;
};

/// A cut and what its ranks choose.
struct Partition {
  std::vector<int64_t> counts; ///< blocks of each stage
  /// For each rank, options of the blocks of its stages.
  std::vector<Choices> choices;
  std::vector<int64_t> rankNs;    ///< of a microbatch, both ways, on each rank
  std::vector<int64_t> peakBytes; ///< of each rank
  /// The most that a rank needs beyond its capacity.
  int64_t excessBytes = 0;
  /// (microbatches - 1) * the slowest rank + the sum over ranks: a pipeline
  /// that is filled, kept busy by its slowest rank, and drained.
  int64_t objectiveNs = 0;
  /// Whether it is certain that nothing that fits has a smaller objective:
  /// among all choices for this cut (evaluate) or among all cuts (partition).
  bool isOptimal = false;
};

/// The problem of one rank under a cut. The kinds of its layers are two for
/// each kind of block: not the last of its stage, and the last. Where two
/// programs overlap, the other one's layers give and take in step with those of
/// the one that runs: it adds what one layer keeps, and what it has live while
/// it runs.
PolicyProblem rankProblem(const PartitionProblem &problem,
                          const std::vector<int64_t> &counts, int64_t rank);

/// The fronts of ranks, which do not depend on their capacities: for problems
/// that differ in these alone.
class RankFronts {
public:
  /// `like`: of problems with the same kinds of blocks, whose ranks hold other
  /// things at other times, say; null: there are none. What is known of stages
  /// is shared with these from now on, not to be used at the same time.
  explicit RankFronts(const RankFronts *like = nullptr);
  struct Entry {
    PolicyProblem problem;
    PolicyFront front;
  };
  /// The fast front of a rank, named with all that tells it from others: its
  /// number, what it may have on the host, the kinds of its blocks; what was
  /// worked out for it before, if anything was.
  std::shared_ptr<const Entry>
  of(const std::vector<int64_t> &rankAndBlocks,
     const std::function<PolicyProblem()> &makeProblem);

  /// What was found for the rank and this capacity before, or `find`s now.
  const QuickerChoices &quicker(const std::vector<int64_t> &rankAndBlocks,
                                int64_t capacityBytes, Effort effort,
                                const std::function<QuickerChoices()> &find);

  /// All layers of a kind alike: of `problem`, which the rank has; see
  /// UniformFront for `alike`.
  const UniformFront &uniform(const std::vector<int64_t> &rankAndBlocks,
                              const PolicyProblem &problem,
                              const std::vector<int64_t> &alike);

private:
  std::map<std::vector<int64_t>, std::shared_ptr<const Entry>> entries;
  std::map<std::vector<int64_t>, UniformFront> uniforms;
  std::map<std::tuple<std::vector<int64_t>, int64_t, Effort>, QuickerChoices>
      found;                           ///< by rank and capacity
  std::shared_ptr<StageFronts> stages; ///< of all entries
};

/// What a cut comes to, each rank taking its least time that fits (the first
/// options, where they take no more; or, where nothing fits, its least memory).
/// The cut must give every stage a layer. `fronts`: see partition().
Partition evaluate(const PartitionProblem &problem,
                   const std::vector<int64_t> &counts,
                   Effort effort = Effort::fast, RankFronts *fronts = nullptr);

/// What a step takes at least, as `problem.steps` counts.
struct StepBound {
  int64_t ns = 0;
  bool isOfAllCuts = false; ///< or of one
  /// Of a cut whose step may be as short.
  std::vector<int64_t> counts;
};

/// The bound for `counts`, whose ranks take at least so much longer; or, where
/// the cut `isFree` and stages lie one on a rank, or two on each that turn
/// there, for all cuts and all choices that fit.
StepBound leastStepNs(const PartitionProblem &problem,
                      const std::vector<int64_t> &counts,
                      const std::vector<LeastExtra> &leastOfRanks, bool isFree);

/// Whether a cut keeps to the pins and gives every stage a layer.
bool isLegal(const PartitionProblem &problem,
             const std::vector<int64_t> &counts);

/// Even shares of `layers`; a remainder goes to the inner stages first, since
/// the first holds the embedding and the last the head.
std::vector<int64_t> uniformShares(int64_t layers, int64_t stages);

/// The cut with these shares.
std::vector<int64_t> uniformCounts(const PartitionProblem &problem);

/// The best cut: the one whose ranks exceed their capacities by least, at most
/// and then together, then least objective. With one stage a rank the optimum
/// under the fronts of the ranks (a dynamic program for each possible time of
/// the slowest rank); with more, a local search that starts from the uniform
/// cut and from the one that is best without memory. Where it is known how long
/// steps take, local searches go on by that: the objective knows nothing of
/// ranks that wait for each other. With one stage a rank the last are cuts in
/// which the slowest has a block less, by what a search finds for the
/// capacities. Effort::exact finds the best choices for each capacity, and with
/// several stages a rank goes on through all cuts that a bound leaves, up to
/// some millions. `nullopt`: the pins leave no legal cut. `fronts`: of calls
/// for other capacities, null: of this call only.
std::optional<Partition> partition(const PartitionProblem &problem,
                                   Effort effort = Effort::fast,
                                   RankFronts *fronts = nullptr);

} // namespace moe::optimize

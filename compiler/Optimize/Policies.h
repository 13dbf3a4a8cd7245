//===- Policies.h - what to keep, recompute and offload ---------*- C++ -*-===//
//
// Each layer of a pipeline rank chooses one of several ways to treat what it
// keeps from forward to backward: keep all of it, compute parts again, move
// parts to the host. Each way has a price in time and a size in memory. Ranks
// are independent of each other: with a fixed order of steps, no rank gains
// from another one being slower, so each takes the least time that fits.
//
// Times are nanoseconds, sizes bytes.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "support/Result.h"

#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

namespace moe::optimize {

/// Longer than anything takes.
inline constexpr int64_t kUnlimitedNs = int64_t{1} << 60;

/// A layer's copies back from the host in a program of its stage, which comes
/// to its layers from the last one down.
struct CopiesBack {
  /// What the link takes to copy back, while the layer above it on the stage
  /// has its turn, what the layer needs.
  int64_t earlyNs = 0;
  /// How long the link is free for those of the layer below while this one has
  /// its turn; below 0: by that much its own copies take longer.
  int64_t linkFreeNs = kUnlimitedNs;
  /// How late its early copies may be when its turn begins.
  int64_t mayWaitNs = kUnlimitedNs;
  bool operator==(const CopiesBack &) const = default;
};

/// One way to treat what a layer keeps for a microbatch.
struct LayerOption {
  /// Time that a microbatch takes longer on the layer, but for what its copies
  /// to the host make the forward longer, and for waits for the link to have
  /// copied back what other layers leave it no time for.
  int64_t extraNs = 0;
  /// Held by a microbatch from its forward to its backward.
  int64_t keptBytes = 0;
  /// The most that lives while the layer runs, forward or backward, beyond what
  /// the layers below it on the stage hold for the same microbatch. At least
  /// keptBytes.
  int64_t peakBytes = 0;
  /// Held on the host by a microbatch from its forward to its backward.
  int64_t hostBytes = 0;
  /// Back from the host, or made again, while the layer above it on the stage
  /// still runs.
  int64_t aheadBytes = 0;
  /// As peakBytes, of the time at which the layer below has its aheadBytes,
  /// which are not counted.
  int64_t latePeakBytes = 0;
  /// How much later than its forward its copies to the host end, if the link is
  /// free when the layer begins.
  int64_t tailNs = 0;
  /// What its copies to the host take longer than its forward; below 0: by that
  /// much a queue of copies is shorter behind the layer than before it. At most
  /// tailNs.
  int64_t queueNs = 0;
  /// Held by a microbatch from the layer's backward to its gradients of
  /// weights, where these are a program of their own.
  int64_t pendingBytes = 0;
  /// As peakBytes, of the forward alone. At most peakBytes.
  int64_t forwardPeakBytes = 0;
  /// In the backward, or in its half for gradients of inputs, and in gradients
  /// of weights, where these are a program of their own.
  CopiesBack backward = {}, weightGrad = {};
  /// Of extraNs, in gradients of weights, where these are a program of their
  /// own.
  int64_t weightGradNs = 0;
  bool operator==(const LayerOption &) const = default;
};

/// Makes waits that come whatever lies above part of extraNs, where bounds
/// count with them: the link is free for a layer's early copies for as long at
/// most as the layer above leaves it of all `options`, which may lie there.
void countCertainWaits(const std::vector<std::vector<LayerOption> *> &options);

/// As if the layer's copies back waited for the link for as long as among
/// layers like it, wherever it lies.
LayerOption amongAlike(LayerOption option);

/// A time of the schedule at which one stage of the rank runs a microbatch.
struct Moment {
  /// For each stage of the rank, the microbatches that it holds in full besides
  /// the one that runs.
  std::vector<int64_t> held;
  int64_t running = 0; ///< the stage that runs
  /// All else that is live: parameters, buffers of transfers, an overlapping
  /// program.
  int64_t otherBytes = 0;
  /// The stage of which another microbatch runs at the same time; -1: none.
  int64_t overlapped = -1;
  /// For each stage, the microbatches that wait for their gradients of weights;
  /// empty: none do.
  std::vector<int64_t> pending = {};
  bool operator==(const Moment &) const = default;
};

/// More than anything has.
inline constexpr int64_t kUnlimitedBytes = int64_t{1} << 62;

/// The choices of one rank.
struct PolicyProblem {
  /// For each kind of layer, its options.
  std::vector<std::vector<LayerOption>> kinds;
  /// For each stage of the rank, the kinds of its layers in forward order.
  std::vector<std::vector<int64_t>> stages;
  std::vector<Moment> moments;
  /// What microbatches may hold on the host together.
  int64_t hostCapacityBytes = kUnlimitedBytes;
  /// Rate of copies to the host: what a link that is late has not copied yet
  /// is still on the device.
  double hostBytesPerNs = 0;

  /// Whether kinds have options, stages layers, moments an entry for every
  /// stage; nothing but queueNs and linkFreeNs is negative, peakBytes >=
  /// keptBytes and forwardPeakBytes, tailNs >= queueNs, sums fit 62 bits, and
  /// with a limited host each kind has an option that leaves nothing there.
  Status check() const;
};

/// An option for every layer of every stage.
using Choices = std::vector<std::vector<int64_t>>;

/// What choices come to.
struct PolicyOutcome {
  int64_t extraNs = 0;   ///< of all stages
  int64_t peakBytes = 0; ///< over all moments
  size_t moment = 0;     ///< the first with that peak
  int64_t hostBytes = 0; ///< the most on the host, over all moments
  bool operator==(const PolicyOutcome &) const = default;
};

/// What choices for the layers of a stage, in forward order, take longer.
struct StageTimes {
  int64_t forwardNs = 0;  ///< until the link has made the last copy
  int64_t backwardNs = 0; ///< sum over the layers
  /// Of that, in gradients of weights, where these are a program of their own.
  int64_t weightGradNs = 0;
};
StageTimes timesOf(const PolicyProblem &problem, size_t stage,
                   const std::vector<int64_t> &choices);

/// The definition of all figures. The link copies in the order of layers:
/// behind layer l it is
///   lag(l) = max(tailNs of l, lag(l - 1) + queueNs of l), lag(-1) = 0,
/// late, of which a stage's forward takes that of its last layer longer. On the
/// way back, in each program, from the last layer down, it comes to layer l
/// late by
///   late(l) = max(0, min(late(l + 1), mayWaitNs of l + 1) + earlyNs of l
///                    - linkFreeNs of l + 1), 0 for the last,
/// and what that exceeds mayWaitNs of l by, the program takes longer. The rest
/// of extraNs is the sum over all layers.
///
/// While layer l of the running stage runs, the layers below it hold their
/// keptBytes, those above it have given theirs back (backward) or not taken
/// them yet (forward):
///   peak = max over moments of otherBytes
///          + sum over stages of (held * kept + pending * pendingBytes)
///          + max over l of (kept of layers below l
///              + pendingBytes of those above it
///              + the largest of peakBytes of l, latePeakBytes of l +
///                aheadBytes below l, and forwardPeakBytes of l + what the link
///                copies in lag(l - 1)).
/// On the host a microbatch that runs counts in full:
///   host = max over moments of sum over stages of
///          (held + 1 if it runs + 1 if it is overlapped) * hostBytes.
PolicyOutcome evaluate(const PolicyProblem &problem, const Choices &choices);

/// Options of a layer, from the first on, that fast fronts follow.
inline constexpr size_t kFollowedOptions = 48;

enum class Effort : uint8_t {
  brief, ///< as fast, but for searches for one capacity where there are fronts
  fast,  ///< fronts are thinned to a fixed number of points
  exact, ///< every undominated choice is followed, up to some ten thousands
};

/// Where cuts and their choices are exact, ranks take no longer than by this
/// part of their time: what solvers of mixed-integer programs leave.
inline constexpr int64_t kExactWithin = 10'000;

class StageFront;
class StageFronts;

/// The choices worth making within the host's capacity, by rising peak and
/// falling time: the answer to every budget, so that more memory never means
/// more time.
class PolicyFront {
public:
  struct Point {
    int64_t peakBytes = 0;
    int64_t extraNs = 0;
  };
  /// The problem must pass check(). `shared`: of fronts of problems with the
  /// same kinds of layers, which then share what they find for equal stages;
  /// null: of this one only.
  PolicyFront(const PolicyProblem &problem, Effort effort,
              std::shared_ptr<StageFronts> shared = nullptr);

  const std::vector<Point> &points() const { return list; }
  /// Those of one of points().
  Choices choices(const Point &point) const;
  /// The least time within `capacityBytes`; null: nothing fits. The first point
  /// is what needs least memory.
  const Point *within(int64_t capacityBytes) const;
  /// Whether no choice was left out that could be the answer to some budget:
  /// within() is then the optimum.
  bool isExact() const { return exact; }

private:
  std::vector<Point> list;
  /// For each point, and each stage, the point of the stage's front.
  std::vector<uint32_t> pointsOfStages;
  std::shared_ptr<StageFronts> store;
  std::vector<const StageFront *> fronts; ///< of each stage, in `store`
  bool exact = true;
};

/// As if copies never made a forward longer: choices take no longer with it.
PolicyProblem withoutLag(PolicyProblem problem);

/// Whether choices make gradients of weights longer that are programs of their
/// own.
bool hasWeightGrads(const PolicyProblem &problem);

/// As if they never did.
PolicyProblem withoutWeightGrads(PolicyProblem problem);

/// How close a bound is to the optimum.
enum class Precision : uint8_t {
  quick, ///< to compare many
  fine,  ///< to tell of one
};

/// No choices within `capacityBytes` take less extra time: by the bounds of
/// ChoiceBounds.h (quick), or by a search that they lead (ChoiceSearch.h). -1:
/// nothing fits. `knownNs`: what some take.
int64_t leastExtraNs(const PolicyProblem &problem, int64_t capacityBytes,
                     Precision precision = Precision::quick,
                     int64_t knownNs = std::numeric_limits<int64_t>::max());

/// Whether leastExtraNs() is not -1 (quick), which is sooner known.
bool mayFit(const PolicyProblem &problem, int64_t capacityBytes);

} // namespace moe::optimize

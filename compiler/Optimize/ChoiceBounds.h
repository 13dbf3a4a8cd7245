//===- ChoiceBounds.h - what choices so far can lead to ---------*- C++ -*-===//
//
// Private to compiler/Optimize.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Optimize/Moments.h"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace moe::optimize {

/// A layer of a rank, in the order of its stages and of the layers of each.
struct RankLayer {
  size_t stage = 0;
  const std::vector<LayerOption> *options = nullptr;
  bool isFirst = false, isLast = false; ///< of its stage
};

/// What choices for all layers of the first few stages come to.
struct FinishedStages {
  std::vector<int64_t> loads; ///< by moment, with its otherBytes
  std::vector<int64_t> host;  ///< by moment of the host's limit
  int64_t ns = 0;
  /// Kept bytes, as often as the rank holds them at most.
  int64_t keptBytes = 0;

  bool isNoWorseThan(const FinishedStages &other) const;
};

/// The layers of a rank, and bounds for choices that are known for the first
/// few of them: no choice for the others takes less time, or fits.
///
/// The bounds are those of a Lagrangian relaxation. Of one moment and one layer
/// of its running stage, what is live then must fit: layers below it count
/// once more, those above it with what they have pending. Its bytes beyond the
/// capacity have a price, and each layer takes what costs least with that. A
/// stage takes its lag longer, which is never below 0, nor below the tail of
/// its first layer with the queues of all others: a share of that counts.
class ChoiceBounds {
public:
  ChoiceBounds(const PolicyProblem &problem, int64_t capacityBytes);

  const std::vector<RankLayer> &layers() const { return list; }
  FinishedStages none() const; ///< of no stage
  /// Those of `below` and the stage of layer number `layer`, which ends it.
  FinishedStages finished(const FinishedStages &below, const StageSums &sums,
                          size_t layer) const;

  /// Of choices for stages `below`, and for the layers up to number `layer` of
  /// the next one: whether all may fit, on the device and on the host.
  bool mayFit(const FinishedStages &below, const StageSums &sums,
              size_t layer) const;
  /// The time that they have taken; the lag is known where the stage ends.
  int64_t takenNs(const FinishedStages &below, const StageSums &sums,
                  size_t layer) const;
  enum class Which : uint8_t {
    strongest, ///< at the begin, and one for the turn of each layer
    others,    ///< the best of each other price and share
  };
  /// The larger of `ns` and of the time that they lead to by bounds, as far as
  /// `enoughNs`.
  double raised(Which which, double ns, double enoughNs,
                const FinishedStages &below, const StageSums &sums,
                size_t layer) const;
  /// Kept bytes, as often as the rank holds them at most.
  int64_t keptBytes(const FinishedStages &below, const StageSums &sums,
                    size_t layer) const {
    return below.keptBytes + mostHeld[list[layer].stage] * sums.kept;
  }

private:
  struct Bound {
    double price = 0;      ///< nanoseconds of a byte
    double queueShare = 0; ///< of the lag that counts
    size_t moment = 0;
    size_t row = 0; ///< the layer that runs
    /// Of the layers from each on, and 0 behind the last.
    std::vector<double> timeOf;
  };
  struct Candidate;

  int64_t bytesOf(const LayerOption &option, const RankLayer &layer,
                  const Moment &moment, int turn) const;
  double leastOf(const RankLayer &layer, const Bound &bound, int turn) const;
  Bound made(const Candidate &candidate) const;
  double timeBy(const Bound &bound, const FinishedStages &below,
                const StageSums &sums, size_t layer) const;
  void findLeast();
  void findBounds();
  std::vector<double> findPrices() const;

  const PolicyProblem &problem;
  int64_t capacity;
  std::vector<RankLayer> list;
  std::vector<size_t> firstOf; ///< by stage, its first layer
  std::vector<Moment> moments;
  HostLimit limit;
  std::vector<int64_t> mostHeld; ///< by stage, and one more
  /// What layers need, however they are treated.
  struct Least {
    int64_t kept = 0, pending = 0;
  };
  std::vector<Least> rest; ///< by layer, of those above it on its stage
  /// By moment and stage, of the stages behind it.
  std::vector<std::vector<int64_t>> future;
  std::vector<Bound> strongest, others;
};

} // namespace moe::optimize

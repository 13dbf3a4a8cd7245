//===- ChoiceBounds.h - what choices so far can lead to ---------*- C++ -*-===//
//
// Private to compiler/Optimize.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Optimize/Moments.h"

#include <cstddef>
#include <cstdint>
#include <map>
#include <tuple>
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
/// A bound is a knapsack problem. Of one moment, of one layer that runs then,
/// and of whether the layer below has its bytes ahead, what is live must fit:
/// layers below that one count once more, those above it with what they have
/// pending. By dynamic programming, the least time of the layers from each on
/// is known for every number of bytes, which are counted in units, layer by
/// layer rounded down. A stage takes its lag longer, which is never below 0,
/// nor below the tail of its last layer, nor below the tail of its first layer
/// with the queues of all others: shares of these count.
class ChoiceBounds {
public:
  enum class Use : uint8_t {
    search, ///< all of it
    bound,  ///< leastNs() only, which is sooner known
    fit,    ///< only whether that is -1, or else 0
  };
  /// O(moments * layers * n) for n options of a layer, times some thousand, or
  /// four times that (fine); to search, the times of each bound by layer come
  /// on top.
  ChoiceBounds(const PolicyProblem &problem, int64_t capacityBytes,
               Precision precision, Use use = Use::search);

  const std::vector<RankLayer> &layers() const { return list; }
  FinishedStages none() const; ///< of no stage
  /// Those of `below` and the stage of layer number `layer`, which ends it.
  FinishedStages finished(const FinishedStages &below, const StageSums &sums,
                          size_t layer) const;

  /// No choices take less, by any bound; -1: nothing fits.
  int64_t leastNs() const;
  /// Of choices for stages `below`, and for the layers up to number `layer` of
  /// the next one: whether all may fit, on the device and on the host.
  bool mayFit(const FinishedStages &below, const StageSums &sums,
              size_t layer) const;
  /// The time that they have taken; the lag is known where the stage ends.
  int64_t takenNs(const FinishedStages &below, const StageSums &sums,
                  size_t layer) const;
  enum class Which : uint8_t {
    strongest, ///< at the begin, and one for the turn of each layer
    others,    ///< the best of the others
  };
  /// A bound for choices that are known up to some layer: with less or more
  /// bytes than these are, the layers above take more or less.
  struct BoundAt {
    size_t moment = 0;
    int64_t roomBytes = 0; ///< for what the choices so far have then
    int64_t held = 0, pending = 0;
    bool hasPeak = false, hasAhead = false; ///< whether these live then
    double lagShare = 0;
    double unitsPerByte = 0;
    int64_t lastUnit = 0;
    const double *ns = nullptr; ///< of the layers above, by units to spare

    double timeNs(const FinishedStages &below, const StageSums &sums) const;
  };
  /// Of choices for layers up to number `layer`. Valid as long as this object.
  std::vector<BoundAt> boundsAt(Which which, size_t layer) const;
  /// The larger of `ns` and of the time that choices lead to by `bounds`, as
  /// far as `enoughNs`.
  double raised(const std::vector<BoundAt> &bounds, double ns, double enoughNs,
                const FinishedStages &below, const StageSums &sums) const;
  /// Kept bytes, as often as the rank holds them at most.
  int64_t keptBytes(const FinishedStages &below, const StageSums &sums,
                    size_t layer) const {
    return below.keptBytes + mostHeld[list[layer].stage] * sums.kept;
  }

private:
  /// What of a stage's lag counts, together at most 1.
  struct LagShares {
    double first = 0; ///< of its first layer's tail and all others' queues
    double last = 0;  ///< of its last layer's tail
  };
  /// The layers from one on, in one constraint: what they need, and the least
  /// time by units of bytes beyond that.
  struct Times {
    int64_t leastBytes = 0;
    std::vector<double> ns;
  };
  struct Bound {
    LagShares lag;
    size_t moment = 0;
    size_t row = 0;      ///< the layer that runs
    bool isLate = false; ///< the layer below has its bytes ahead
    /// Of the layers from each on, and of none: its place in `times`.
    std::vector<uint32_t> timesFrom;
    double ns = 0;        ///< of all layers
    size_t knapsacks = 0; ///< that tell its times
  };
  class Knapsacks;
  struct Sized {
    int64_t bytes;
    const LayerOption *option;
  };

  int64_t bytesOf(const LayerOption &option, const RankLayer &layer,
                  const Moment &moment, int turn) const;
  BoundAt boundAt(const Bound &bound, size_t layer) const;
  void findLeast();
  void findBounds(Precision precision, Use use);
  uint32_t add(Times made);
  /// The options of a layer by the bytes that they have at a moment.
  const std::vector<Sized> &bySize(const RankLayer &layer, size_t moment,
                                   int turn);

  const PolicyProblem &problem;
  int64_t capacity;
  std::vector<RankLayer> list;
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
  std::vector<int64_t> unit; ///< by moment, bytes
  std::vector<Times> times;
  std::vector<Bound> strongest, others;
  /// By options, stage, moment and turn; while bounds are found.
  std::map<std::tuple<const void *, size_t, size_t, int>, std::vector<Sized>>
      sized;
  bool fits = true; ///< as far as bounds tell
};

} // namespace moe::optimize

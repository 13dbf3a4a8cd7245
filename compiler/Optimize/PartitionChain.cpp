#include "compiler/Optimize/PartitionCosts.h"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

namespace moe::optimize {

namespace {

/// One stage a rank, stages in the order of ranks or not: which blocks a stage
/// has says what its rank costs. Stages that take longer without any policy
/// than ranks of `known`, a legal cut, can afford are left out. Where it is
/// costly to work ranks out, stages count with what they take without policies,
/// then with a bound, and are worked out when they still are part of the best
/// cut.
class ChainSearch {
public:
  ChainSearch(const PartitionProblem &problem, RankCosts &costs,
              const std::vector<int64_t> &known)
      : problem(problem), costs(costs),
        blocks(static_cast<int64_t>(problem.blocks.size())),
        stages(problem.stages()) {
    CutValue value = valueOf(problem, costs, known);
    int64_t slowest = 0, workNs = 0;
    for (int64_t rank = 0; rank < problem.ranks(); ++rank)
      slowest = std::max(slowest, costs.of(rank, known).ns);
    for (int64_t kind : problem.blocks)
      workNs += workOf(kind);
    // All ranks together take no less than their work.
    int64_t longest =
        problem.microbatches == 1
            ? value.objective
            : (value.objective - workNs) / (problem.microbatches - 1);
    // Where nothing fits, longer stages could do with less elsewhere.
    if (!value.fits())
      longest = 2 * slowest;
    const bool areBounded = costs.areCostly() && value.fits();
    for (const Key &key : segmentsOfCuts(longest))
      segments.push_back({key, areBounded
                                   ? Segment{workOf(key), 0, Knowledge::work}
                                   : workedOut(key)});
  }

  std::optional<std::vector<int64_t>> run() {
    while (true) {
      std::optional<std::vector<int64_t>> best = quickest();
      if (!best || !learnMoreOf(*best))
        return best;
    }
  }

private:
  enum class Knowledge : uint8_t { work, bound, cost };
  struct Segment {
    int64_t ns, excess;
    Knowledge knowledge;
  };
  using Key = std::array<int64_t, 3>; ///< stage, begin, end

  /// A cut; none: an empty one.
  struct Cut {
    CutValue value; ///< of excess that of all ranks, and the sum of times
    std::vector<int64_t> counts;
  };

  /// Of the segments as they are known.
  std::optional<std::vector<int64_t>> quickest() const {
    const std::vector<int64_t> times = levelsOf(&Segment::ns);
    const std::vector<int64_t> excesses = levelsOf(&Segment::excess);
    if (times.empty())
      return std::nullopt;
    // Below these no cut has a segment for each stage.
    const int64_t most = *std::partition_point(
        excesses.begin(), std::prev(excesses.end()), [&](int64_t bytes) {
          return within(times.back(), bytes).counts.empty();
        });
    auto slowest =
        std::partition_point(times.begin(), times.end(), [&](int64_t ns) {
          return within(ns, most).counts.empty();
        });
    // Nothing has less excess, nor with as much of it a smaller sum.
    const CutValue least = within(times.back(), most).value;
    Cut best;
    for (; slowest != times.end(); ++slowest) {
      const int64_t longest = (problem.microbatches - 1) * *slowest;
      // Longer slowest ranks only pay with less excess.
      if (!best.counts.empty() && best.value.allExcess == least.allExcess &&
          longest + least.objective >= best.value.objective)
        break;
      Cut found = within(*slowest, most);
      found.value.objective += longest;
      if (best.counts.empty() || found.value < best.value)
        best = std::move(found);
    }
    if (best.counts.empty())
      return std::nullopt;
    return std::move(best.counts);
  }

  /// What segments have of something, each once, rising.
  std::vector<int64_t> levelsOf(int64_t Segment::*what) const {
    std::vector<int64_t> levels;
    for (const auto &[key, segment] : segments)
      levels.push_back(segment.*what);
    std::sort(levels.begin(), levels.end());
    levels.erase(std::unique(levels.begin(), levels.end()), levels.end());
    return levels;
  }

  int64_t workOf(int64_t kind) const {
    return problem.kinds[static_cast<size_t>(kind)].workNs();
  }

  /// The stages that take no longer without policies and are part of a cut of
  /// such stages.
  std::vector<Key> segmentsOfCuts(int64_t longest) const {
    auto at = [&](int64_t stage, int64_t block) {
      return static_cast<size_t>(stage * (blocks + 1) + block);
    };
    std::vector<bool> reached(at(stages, blocks) + 1, false);
    std::vector<bool> leads(reached.size(), false); // to the end
    std::vector<Key> found;
    reached[at(0, 0)] = true;
    for (int64_t stage = 0; stage < stages; ++stage)
      for (int64_t begin = 0; begin < blocks; ++begin) {
        if (!reached[at(stage, begin)])
          continue;
        int64_t ns = 0;
        for (int64_t end = begin + 1; end <= blocks; ++end) {
          ns += workOf(problem.blocks[static_cast<size_t>(end - 1)]);
          if (ns > longest)
            break;
          if (!mayHold(problem, stage, begin, end))
            continue;
          reached[at(stage + 1, end)] = true;
          found.push_back({stage, begin, end});
        }
      }
    leads[at(stages, blocks)] = true;
    for (auto segment = found.rbegin(); segment != found.rend(); ++segment) {
      auto [stage, begin, end] = *segment;
      if (leads[at(stage + 1, end)])
        leads[at(stage, begin)] = true;
    }
    std::erase_if(found, [&](const Key &segment) {
      return !leads[at(segment[0] + 1, segment[2])];
    });
    return found;
  }

  int64_t rankOf(const Key &key) const {
    return problem.rankOf[static_cast<size_t>(key[0])];
  }

  /// Counts with this stage; what others have does not matter.
  std::vector<int64_t> countsWith(const Key &key) const {
    auto [stage, begin, end] = key;
    std::vector<int64_t> counts(static_cast<size_t>(stages), 0);
    if (stage > 0)
      counts.front() = begin;
    counts[static_cast<size_t>(stage)] = end - begin;
    return counts;
  }

  int64_t workOf(const Key &key) const {
    int64_t ns = 0;
    for (int64_t b = key[1]; b < key[2]; ++b)
      ns += workOf(problem.blocks[static_cast<size_t>(b)]);
    return ns;
  }

  Segment workedOut(const Key &key) {
    const RankCost &cost = costs.of(rankOf(key), countsWith(key));
    return {cost.ns, cost.excessBytes, Knowledge::cost};
  }

  /// The next thing about stages of a cut that are not worked out; says whether
  /// there were any.
  bool learnMoreOf(const std::vector<int64_t> &counts) {
    const std::vector<int64_t> first = beginsOf(counts);
    bool wereAny = false;
    for (size_t stage = 0; stage < counts.size(); ++stage) {
      const Key key = {static_cast<int64_t>(stage), first[stage],
                       first[stage + 1]};
      Segment &segment = segmentAt(key);
      if (segment.knowledge == Knowledge::cost)
        continue;
      wereAny = true;
      const int64_t least = segment.knowledge == Knowledge::work
                                ? costs.leastNs(rankOf(key), countsWith(key))
                                : -1;
      if (least > segment.ns)
        segment = {least, 0, Knowledge::bound};
      else // a bound says nothing
        segment = workedOut(key);
    }
    return wereAny;
  }

  /// The cut of least excess together, then least sum, of stages that take no
  /// longer and exceed their capacity by no more.
  Cut within(int64_t slowest, int64_t most) const {
    struct State {
      CutValue value; ///< as of a cut, but for the largest excess
      int64_t from = -1;
    };
    const auto width = static_cast<size_t>(blocks) + 1;
    std::vector<State> reached((static_cast<size_t>(stages) + 1) * width);
    auto at = [&](int64_t stage, int64_t block) -> State & {
      return reached[static_cast<size_t>(stage) * width +
                     static_cast<size_t>(block)];
    };
    at(0, 0).from = 0;
    for (const auto &[key, segment] : segments) { // stages in rising order
      auto [stage, begin, end] = key;
      const State &from = at(stage, begin);
      if (segment.ns > slowest || segment.excess > most || from.from < 0)
        continue;
      const CutValue value = {0, from.value.allExcess + segment.excess,
                              from.value.objective + segment.ns};
      State &to = at(stage + 1, end);
      if (to.from < 0 || value < to.value)
        to = {value, begin};
    }
    if (at(stages, blocks).from < 0)
      return {};
    Cut cut{at(stages, blocks).value,
            std::vector<int64_t>(static_cast<size_t>(stages))};
    int64_t end = blocks;
    for (size_t stage = cut.counts.size(); stage-- > 0;) {
      const int64_t begin = at(static_cast<int64_t>(stage) + 1, end).from;
      cut.counts[stage] = end - begin;
      end = begin;
    }
    return cut;
  }

  Segment &segmentAt(const Key &key) {
    return std::lower_bound(segments.begin(), segments.end(), key,
                            [](const auto &segment, const Key &k) {
                              return segment.first < k;
                            })
        ->second;
  }

  const PartitionProblem &problem;
  RankCosts &costs;
  int64_t blocks, stages;
  std::vector<std::pair<Key, Segment>> segments; ///< by rising keys
};

} // namespace

std::optional<std::vector<int64_t>> bestCut(const PartitionProblem &problem,
                                            RankCosts &costs,
                                            const std::vector<int64_t> &known) {
  return ChainSearch(problem, costs, known).run();
}

} // namespace moe::optimize

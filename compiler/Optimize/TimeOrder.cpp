#include "compiler/Optimize/TimeOrder.h"

#include "compiler/Optimize/FreeGaps.h"
#include "compiler/Optimize/SizeClasses.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <limits>
#include <map>
#include <optional>
#include <random>
#include <tuple>
#include <utility>

namespace moe::optimize {
namespace {

/// What reaches this share of all bytes above the bound is low enough.
constexpr int64_t kEnoughShare = 256;
/// For one limit, and for all: buffers placed, by buffer that there is, but
/// never fewer than for kFewest of them.
constexpr size_t kPlacedForLimit = 4, kPlaced = 12, kFewest = 4096;
/// After how many moves the packer can go on from there again, as a share of
/// all.
constexpr size_t kStops = 512;

/// The largest of a range of numbers that are not below 0. An answer looks at
/// two blocks of them, and at two ranges of whole blocks.
class RangeMost {
public:
  explicit RangeMost(const std::vector<int64_t> &values) : values(values) {
    std::vector<int64_t> blocks((values.size() + kBlock - 1) / kBlock, 0);
    for (size_t i = 0; i < values.size(); ++i)
      blocks[i / kBlock] = std::max(blocks[i / kBlock], values[i]);
    ofBlocks.push_back(std::move(blocks));
    for (size_t width = 1; 2 * width <= ofBlocks.front().size(); width *= 2) {
      const std::vector<int64_t> &half = ofBlocks.back();
      std::vector<int64_t> whole(half.size() - width);
      for (size_t i = 0; i < whole.size(); ++i)
        whole[i] = std::max(half[i], half[i + width]);
      ofBlocks.push_back(std::move(whole));
    }
  }

  /// Of those of [begin, end) that there are.
  int64_t operator()(int64_t first, int64_t last) const {
    const size_t end = std::min(static_cast<size_t>(last), values.size());
    size_t begin = std::min(static_cast<size_t>(first), end);
    int64_t most = 0;
    const size_t firstBlock = (begin + kBlock - 1) / kBlock,
                 lastBlock = end / kBlock;
    if (firstBlock < lastBlock) {
      const size_t count = lastBlock - firstBlock;
      const size_t width = std::bit_floor(count);
      const std::vector<int64_t> &ofWidth =
          ofBlocks[static_cast<size_t>(std::countr_zero(width))];
      most = std::max(ofWidth[firstBlock], ofWidth[lastBlock - width]);
      for (; begin < firstBlock * kBlock; ++begin)
        most = std::max(most, values[begin]);
      begin = lastBlock * kBlock;
    }
    for (; begin < end; ++begin)
      most = std::max(most, values[begin]);
    return most;
  }

private:
  static constexpr size_t kBlock = 64;
  const std::vector<int64_t> &values;
  std::vector<std::vector<int64_t>> ofBlocks; ///< of 1, 2, 4, ... blocks
};

/// The most that lives at a time, with what lies above it then.
int64_t boundOf(const TimedProblem &problem, const RangeMost &above) {
  std::vector<std::pair<int64_t, int64_t>> changes; ///< time, of bytes
  for (const auto *buffers : {&problem.kept, &problem.passing})
    for (const TimedBuffer &buffer : *buffers) {
      changes.push_back({buffer.begin, buffer.size});
      changes.push_back({buffer.end, -buffer.size});
    }
  std::sort(changes.begin(), changes.end()); // at one time, ends come first
  int64_t live = 0, most = 0;
  for (size_t i = 0; i < changes.size(); ++i) {
    live += changes[i].second;
    if (i + 1 < changes.size() && changes[i + 1].first > changes[i].first)
      most =
          std::max(most, live + above(changes[i].first, changes[i + 1].first));
  }
  return most;
}

/// Which of the gaps that are free a buffer takes.
struct Rule {
  enum class Kind : uint8_t {
    byEnds,
    smallest,
    /// Where one of its size lay before, as low as possible, or else the
    /// smallest.
    again,
    /// The one that holds its place where sizes lie apart (SizeClasses.h).
    apart,
  };
  Kind kind = Kind::byEnds;
  /// Of the bytes that stay free, against the time between two ends: a byte
  /// weighs as much as a moment does on average.
  double wasteWeight = 0;
};

class TimePacker {
public:
  explicit TimePacker(TimedProblem &given)
      : problem(given),
        placed(
            std::max(problem.kept.size() + problem.passing.size(), kFewest)) {
    const RangeMost above(problem.above);
    for (auto *buffers : {&problem.kept, &problem.passing})
      for (TimedBuffer &buffer : *buffers)
        buffer.above = above(buffer.begin, buffer.end);
    made.bound = boundOf(problem, above);
    enough = made.bound + (problem.below + made.bound) / kEnoughShare;
    made.kept.assign(problem.kept.size(), 0);
    made.passing.assign(problem.passing.size(), 0);
    orderMoves();
  }

  TimedPacking run() {
    TimedPacking best;
    best.reach = kNoLimit;
    Rule first;
    std::vector<Rule> rules = {{Rule::Kind::byEnds, 1.0 / 16},
                               {Rule::Kind::again}};
    if (std::optional<ClassPacking> classes = packInSizeClasses(problem.kept)) {
      apart = std::move(classes->offsets);
      rules.push_back({Rule::Kind::apart});
    }
    for (Rule rule : rules) {
      if (const int64_t reach = search(kNoLimit, rule); reach < best.reach) {
        best = made;
        best.reach = reach;
        first = rule;
      }
      if (best.reach <= enough)
        return best;
    }
    int64_t missed = enough; // what is not lower is not worth trying
    while (best.reach > enough && steps < kPlaced * placed) {
      const int64_t limit = std::max(enough, (missed + best.reach) / 2);
      if (limit >= best.reach - (best.reach - made.bound) / 16)
        break;
      if (const int64_t reach = search(limit, first); reach <= limit) {
        best = made;
        best.reach = reach;
      } else {
        missed = limit;
      }
    }
    return best;
  }

private:
  /// Places a buffer that is kept, or a cluster of those that pass.
  struct Move {
    uint32_t index;
    bool isCluster;
    int64_t nextCluster; ///< when the one begins that is placed next
  };
  /// Where the packer can go on.
  struct Stop {
    size_t next = 0; ///< move
    /// What is kept and lives at or behind the begin of the next cluster, or of
    /// what was placed last.
    FreeGaps free;
    int64_t reach = 0;
  };

  void orderMoves() {
    double bytes = 0, moments = 0;
    std::vector<uint32_t> byBegin;
    for (uint32_t i = 0; i < problem.kept.size(); ++i) {
      const TimedBuffer &buffer = problem.kept[i];
      if (buffer.size == 0)
        continue;
      byBegin.push_back(i);
      bytes += static_cast<double>(buffer.size);
      moments += static_cast<double>(buffer.end - buffer.begin);
    }
    momentsPerByte = bytes == 0 ? 0 : moments / bytes;
    std::sort(byBegin.begin(), byBegin.end(), [&](uint32_t a, uint32_t b) {
      const TimedBuffer &first = problem.kept[a], &second = problem.kept[b];
      return std::tuple(first.begin, -first.size, a) <
             std::tuple(second.begin, -second.size, b);
    });
    clusters = clustersOf(problem.passing);
    for (const TimedCluster &cluster : clusters)
      if (cluster.shape == orders.size())
        orders.emplace_back(cluster.members.size());
    auto next = byBegin.begin();
    for (uint32_t c = 0; c < clusters.size(); ++c) {
      for (;
           next != byBegin.end() && problem.kept[*next].begin < clusters[c].end;
           ++next)
        moves.push_back({*next, false, clusters[c].begin});
      moves.push_back({c, true, clusters[c].begin});
    }
    for (; next != byBegin.end(); ++next)
      moves.push_back({*next, false, kNoLimit});
  }

  /// Places all, into `made`, such that nothing reaches above the limit.
  /// Returns how high it reaches, which is more than the limit if that was not
  /// met.
  int64_t search(int64_t limit, Rule rule) {
    const size_t stride = std::max<size_t>(1, moves.size() / kStops);
    most = steps + kPlacedForLimit * placed;
    for (ClusterOrder &order : orders)
      order.tries = ClusterOrder::kMostTries;
    // Equal calls, equal answers.
    // NOLINTNEXTLINE(bugprone-random-generator-seed)
    std::mt19937 random(5489);
    places.clear();
    std::vector<Stop> stops(1);
    size_t farthest = 0, failures = 0; // since it came so far
    while (stops.back().next < moves.size()) {
      Stop stop = stops.back();
      if (advance(stop, std::min(moves.size(), stop.next + stride), rule,
                  limit)) {
        if (stop.next > farthest) {
          farthest = stop.next;
          failures = 0;
        }
        stops.push_back(std::move(stop));
        continue;
      }
      if (steps > most)
        return kNoLimit;
      // Half of the time no stop is taken back, a quarter of it one, an eighth
      // two, and so on; all that follows goes by another rule.
      ++failures;
      size_t back = (size_t{1} << std::countr_zero(failures)) / 2;
      back = std::min(back, stops.size() - 1);
      stops.resize(stops.size() - back);
      rule = anyRule(random);
    }
    return stops.back().reach;
  }

  static Rule anyRule(std::mt19937 &random) {
    const auto drawn = static_cast<int>(random() % 12);
    return drawn == 0   ? Rule{Rule::Kind::smallest}
           : drawn == 1 ? Rule{Rule::Kind::again}
                        : Rule{Rule::Kind::byEnds, std::ldexp(1.0, 3 - drawn)};
  }

  /// Makes moves up to `until`; whether none reached above the limit.
  bool advance(Stop &stop, size_t until, Rule rule, int64_t limit) {
    for (; stop.next < until; ++stop.next) {
      const Move move = moves[stop.next];
      const int64_t reach =
          move.isCluster ? placeCluster(clusters[move.index], stop.free, limit)
                         : place(move, stop.free, rule);
      if (reach > limit)
        return false;
      stop.reach = std::max(stop.reach, reach);
    }
    return true;
  }

  /// As low as is worth trying, where there is no limit.
  int64_t placeCluster(const TimedCluster &cluster, const FreeGaps &free,
                       int64_t limit) {
    ClusterOrder &order = orders[cluster.shape];
    if (steps > most)
      order.tries = std::min(order.tries, ClusterOrder::kFewestTries);
    return packAround(problem.passing, cluster, order, free.boxes(),
                      limit == kNoLimit ? enough : limit, limit, made.passing,
                      steps);
  }

  int64_t place(Move move, FreeGaps &free, Rule rule) {
    ++steps;
    const TimedBuffer &buffer = problem.kept[move.index];
    free.forget(std::min(buffer.begin, move.nextCluster));
    const int64_t offset = rule.kind == Rule::Kind::apart ? apart[move.index]
                           : rule.kind == Rule::Kind::again
                               ? chooseAgain(buffer, free.at(buffer.begin))
                               : choose(buffer, free.at(buffer.begin), rule);
    made.kept[move.index] = offset;
    free.insert({buffer.begin, buffer.end, offset, offset + buffer.size});
    return offset + buffer.size + buffer.above;
  }

  using Gaps = std::vector<FreeGaps::Gap>;

  int64_t choose(const TimedBuffer &buffer, const Gaps &gaps, Rule rule) const {
    double least = std::numeric_limits<double>::max();
    int64_t chosen = gaps.back().low;
    const double wasteWeight = rule.wasteWeight * momentsPerByte;
    auto consider = [&](int64_t offset, double cost) {
      if (cost < least) {
        least = cost;
        chosen = offset;
      }
    };
    for (size_t i = 0; i + 1 < gaps.size();
         ++i) { // above all where none will do
      const FreeGaps::Gap &gap = gaps[i];
      if (gap.high - gap.low < buffer.size)
        continue;
      const auto waste = static_cast<double>(gap.high - gap.low - buffer.size);
      if (rule.kind == Rule::Kind::smallest) {
        consider(gap.low, waste);
        continue;
      }
      auto beside = [&](int64_t until) {
        const int64_t apart =
            until == FreeGaps::kNever ? 0 : until - buffer.end;
        return std::abs(static_cast<double>(apart)) + waste * wasteWeight;
      };
      consider(gap.low, beside(gap.untilBelow));
      consider(gap.high - buffer.size, beside(gap.untilAbove));
    }
    return chosen;
  }

  int64_t chooseAgain(const TimedBuffer &buffer, const Gaps &gaps) {
    std::vector<int64_t> &before = places[buffer.size];
    auto place = before.begin();
    for (const FreeGaps::Gap &gap : gaps) {
      if (gap.high - gap.low < buffer.size)
        continue;
      place = std::lower_bound(place, before.end(), gap.low);
      if (place == before.end())
        break;
      if (*place <= gap.high - buffer.size)
        return *place;
    }
    const int64_t chosen = choose(buffer, gaps, {Rule::Kind::smallest});
    before.insert(std::lower_bound(before.begin(), before.end(), chosen),
                  chosen);
    return chosen;
  }

  TimedProblem &problem;
  size_t placed;      ///< buffers that there are, at least kFewest
  size_t steps = 0;   ///< buffers placed so far
  size_t most = 0;    ///< from where on a search gives up
  int64_t enough = 0; ///< what is not higher is low enough
  std::vector<TimedCluster> clusters;
  std::vector<ClusterOrder> orders; ///< by shape
  std::vector<Move> moves;
  std::map<int64_t, std::vector<int64_t>> places; ///< by size, rising
  std::vector<int64_t> apart; ///< offsets of what is kept with sizes apart
  double momentsPerByte = 0;
  TimedPacking made;
};

} // namespace

TimedPacking packTimed(TimedProblem problem) {
  return TimePacker(problem).run();
}

} // namespace moe::optimize

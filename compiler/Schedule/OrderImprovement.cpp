#include "compiler/Schedule/OrderImprovement.h"

#include <algorithm>
#include <random>
#include <tuple>

namespace moe::schedule {

namespace {

constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

/// An exchange of the entry at `first` with the next of its rank that is no
/// weight gradient, at `second`.
struct Move {
  size_t rank = 0, first = 0, second = 0;
  auto operator<=>(const Move &) const = default;
};

class Improver {
public:
  Improver(WeightGradFiller &filler, Sequence &order,
           const ImprovementOptions &options)
      : filler(filler), order(order), options(options),
        endEffort(filler.effort() + options.effort) {}

  bool run() {
    if (!evaluate(kNever))
      return false;
    bestNs = filler.makespanNs();
    best = order;
    findChain();
    note();
    while (filler.effort() < endEffort && bestNs > options.boundNs)
      if (!step() && !kick())
        break;
    order = std::move(best);
    return evaluate(kNever);
  }

private:
  /// Steps for which an exchange is not undone.
  static constexpr int64_t kTabuSteps = 12;
  static constexpr int kKicks = 3;

  struct Tabu {
    Move move;
    Entry first, second; ///< that must not stand there again
    int64_t untilStep = 0;
  };

  bool evaluate(int64_t mostNs) {
    FillRules rules = options.rules;
    rules.mostNs = mostNs;
    return filler.run(order, rules);
  }

  void exchange(const Move &move) {
    std::swap(order[move.rank][move.first], order[move.rank][move.second]);
  }

  /// A forward or backward on the chain.
  struct Link {
    size_t rank = 0, place = 0;
  };

  /// From the end to the begin: each begins when the one before it has ended,
  /// on its rank, or its input is there.
  void findChain() {
    chain.clear();
    const auto &runs = filler.runs();
    size_t rank = runs.size();
    for (size_t r = 0; r < runs.size(); ++r)
      if (!runs[r].empty() && runs[r].back().endNs == filler.makespanNs())
        rank = r;
    if (rank == runs.size())
      return;
    size_t index = runs[rank].size() - 1;
    while (true) {
      const ActionRun &action = runs[rank][index];
      if (action.entry.phase() != Phase::weight_grad)
        chain.push_back({rank, action.place});
      if (index > 0 && runs[rank][index - 1].endNs == action.beginNs) {
        --index;
        continue;
      }
      std::pair<size_t, size_t> source = filler.sourceOf(rank, index);
      if (source == std::pair(rank, index))
        return; // the begin, or a wait for a buffer
      std::tie(rank, index) = source;
    }
  }

  /// The exchanges at the borders of the chain's blocks.
  void findMoves() {
    moves.clear();
    for (size_t last = 0; last < chain.size();) {
      size_t first = last; // of the block; the chain goes backwards
      while (first + 1 < chain.size() &&
             chain[first + 1].rank == chain[last].rank &&
             chain[first + 1].place < chain[first].place)
        ++first;
      if (first > last) {
        add(chain[first], chain[first - 1]);
        add(chain[last + 1], chain[last]);
      }
      last = first + 1;
    }
    std::sort(moves.begin(), moves.end());
    moves.erase(std::unique(moves.begin(), moves.end()), moves.end());
  }

  void add(const Link &first, const Link &second) {
    if (order[first.rank][first.place] != order[first.rank][second.place])
      moves.push_back({first.rank, first.place, second.place});
  }

  bool isTabu(const Move &move) const {
    for (const Tabu &tabu : tabus)
      if (tabu.untilStep > steps && tabu.move == move &&
          tabu.first == order[move.rank][move.second] &&
          tabu.second == order[move.rank][move.first])
        return true;
    return false;
  }

  /// False: no exchange can be made.
  bool step() {
    ++steps;
    findMoves();
    const Move *chosen = nullptr;
    int64_t chosenNs = kNever;
    for (const Move &move : moves) {
      if (filler.effort() >= endEffort)
        break;
      // What is not to be undone may still be the best of all.
      int64_t mostNs = std::min(chosenNs, isTabu(move) ? bestNs : kNever);
      exchange(move);
      if (evaluate(mostNs == kNever ? kNever : mostNs - 1)) {
        chosen = &move;
        chosenNs = filler.makespanNs();
      }
      exchange(move);
    }
    if (!chosen)
      return false;
    tabus.push_back({*chosen, order[chosen->rank][chosen->first],
                     order[chosen->rank][chosen->second], steps + kTabuSteps});
    if (tabus.size() > kTabuSteps)
      tabus.erase(tabus.begin());
    exchange(*chosen);
    settle();
    return true;
  }

  /// Takes the order as it is.
  void settle() {
    (void)evaluate(kNever); // it has run before
    findChain();
    if (filler.makespanNs() < bestNs) {
      bestNs = filler.makespanNs();
      best = order;
    }
    note();
  }

  void note() {
    if (options.step)
      options.step();
  }

  /// Random changes of the best order. False: none can be executed.
  bool kick() {
    constexpr int kTries = 30;
    tabus.clear();
    order = best;
    if (filler.effort() >= endEffort || !evaluate(kNever))
      return false;
    findChain();
    int made = 0;
    for (int i = 0; i < kTries && made < kKicks && !chain.empty(); ++i) {
      size_t rank = chain[random() % chain.size()].rank;
      std::vector<Entry> before = order[rank];
      if (!change(rank))
        continue;
      if (evaluate(kNever)) {
        ++made;
        findChain();
      } else {
        order[rank] = std::move(before);
      }
    }
    if (made == 0 || !evaluate(kNever))
      return false;
    settle();
    return true;
  }

  /// Exchanges two neighbours of the chain, or all such pairs behind them, or
  /// moves one of them further away.
  bool change(size_t rank) {
    std::vector<Entry> &entries = order[rank];
    std::vector<size_t> places; // of the chain on this rank
    for (const Link &link : chain)
      if (link.rank == rank)
        places.push_back(link.place);
    size_t i = places[random() % places.size()];
    i -= std::min<size_t>(i, random() % 2);
    if (i + 1 >= entries.size())
      return false;
    Entry one = entries[i], other = entries[i + 1];
    switch (random() % 3) {
    case 0:
      std::swap(entries[i], entries[i + 1]);
      return one != other;
    case 1: {
      size_t end = std::min(entries.size(), i + 3 + random() % 8);
      std::rotate(entries.begin() + static_cast<ptrdiff_t>(i),
                  entries.begin() + static_cast<ptrdiff_t>(i) + 1,
                  entries.begin() + static_cast<ptrdiff_t>(end));
      return true;
    }
    default:
      for (size_t k = random() % 2 ? 0 : i; k + 1 < entries.size(); ++k)
        if (entries[k] == one && entries[k + 1] == other) {
          std::swap(entries[k], entries[k + 1]);
          ++k;
        }
      return one != other;
    }
  }

  WeightGradFiller &filler;
  Sequence &order;
  const ImprovementOptions &options;
  int64_t endEffort;
  Sequence best;
  int64_t bestNs = kNever, steps = 0;
  std::vector<Link> chain;
  std::vector<Move> moves;
  std::vector<Tabu> tabus;
  std::mt19937 random{1};
};

} // namespace

bool improveOrder(WeightGradFiller &filler, Sequence &order,
                  const ImprovementOptions &options) {
  return Improver(filler, order, options).run();
}

} // namespace moe::schedule

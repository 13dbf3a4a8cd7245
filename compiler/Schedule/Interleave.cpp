#include "compiler/Schedule/Interleave.h"

#include <algorithm>
#include <array>
#include <limits>

namespace moe::schedule {
namespace {

constexpr size_t kStreams = plan::kStreamCount;

/// The streams while ops are issued one after the other.
struct Clock {
  std::array<int64_t, kStreams> free{};

  /// Issues an op and returns its end.
  int64_t issue(plan::Stream stream, int64_t readyNs, int64_t timeNs) {
    int64_t &at = free[static_cast<size_t>(stream)];
    at = std::max(at, readyNs) + timeNs;
    return at;
  }
  int64_t end() const { return *std::max_element(free.begin(), free.end()); }
};

/// Issues the ops of one program in order.
struct Cursor {
  explicit Cursor(const plan::Program &program) : program(program) {}

  bool done() const { return ends.size() == program.ops.size(); }
  const plan::Op &next() const { return program.ops[ends.size()]; }
  /// When all that the next op waits for has ended.
  int64_t ready() const {
    int64_t at = 0;
    for (int64_t wait : next().waits)
      at = std::max(at, ends[wait]);
    return at;
  }
  int64_t begin(const Clock &clock) const {
    return std::max(ready(), clock.free[static_cast<size_t>(next().stream)]);
  }
  void issue(Clock &clock) {
    ends.push_back(clock.issue(next().stream, ready(), next().timeNs));
  }

  const plan::Program &program;
  std::vector<int64_t> ends; ///< of the ops issued so far
};

/// A program as the search sees it.
struct Chain {
  struct Op {
    size_t stream;
    int64_t ns;
    /// Places, among the ends pending before the op, of what it waits for.
    std::vector<size_t> waits;
    /// Streams, others than its own, of ops that wait for it.
    std::vector<size_t> waiters = {};
  };
  /// What is known about the rest of the program behind a prefix.
  struct Prefix {
    /// Ops of the prefix that the rest waits for, rising.
    std::vector<size_t> pending;
    /// For each of them its place in the pending of the prefix before; npos for
    /// the op that this prefix ends with.
    std::vector<size_t> from;
    std::array<int64_t, kStreams> remaining{}; ///< ns of the rest's ops
    /// By stream, the first op of the rest: the longest chain from its begin,
    /// and the places in `pending` of what it waits for. tail 0: none.
    struct Head {
      int64_t tail = 0;
      std::vector<size_t> waits;
    };
    std::array<Head, kStreams> heads;
  };
  static constexpr size_t npos = static_cast<size_t>(-1);

  explicit Chain(const plan::Program &program);

  std::vector<Op> ops;
  std::vector<Prefix> prefixes; ///< one more than ops
};

/// Ends are pending only for other streams: the own one is in order.
std::vector<std::vector<size_t>> crossWaits(const plan::Program &program) {
  std::vector<std::vector<size_t>> waits(program.ops.size());
  for (size_t i = 0; i < waits.size(); ++i) {
    for (int64_t wait : program.ops[i].waits)
      if (program.ops[wait].stream != program.ops[i].stream)
        waits[i].push_back(static_cast<size_t>(wait));
    std::sort(waits[i].begin(), waits[i].end());
  }
  return waits;
}

Chain::Chain(const plan::Program &program) {
  size_t count = program.ops.size();
  std::vector<std::vector<size_t>> waits = crossWaits(program);
  std::vector<size_t> lastWaiter(count, 0);
  for (size_t i = 0; i < count; ++i)
    for (size_t wait : waits[i])
      lastWaiter[wait] = i;

  prefixes.resize(count + 1);
  for (size_t i = 0; i < count; ++i) {
    const std::vector<size_t> &before = prefixes[i].pending;
    Prefix &prefix = prefixes[i + 1];
    for (size_t place = 0; place < before.size(); ++place)
      if (lastWaiter[before[place]] > i) {
        prefix.pending.push_back(before[place]);
        prefix.from.push_back(place);
      }
    if (lastWaiter[i] > i) {
      prefix.pending.push_back(i);
      prefix.from.push_back(npos);
    }
  }
  // Those of `of` that lie in the prefix of length `length`, as places.
  auto places = [&](const std::vector<size_t> &of, size_t length) {
    std::vector<size_t> found;
    const std::vector<size_t> &pending = prefixes[length].pending;
    for (size_t op : of)
      if (op < length)
        found.push_back(std::lower_bound(pending.begin(), pending.end(), op) -
                        pending.begin());
    return found;
  };

  std::vector<int64_t> behindWaiters(count, 0);
  std::array<int64_t, kStreams> tails{};
  std::array<size_t, kStreams> first;
  first.fill(npos);
  for (size_t i = count; i-- > 0;) {
    const plan::Op &op = program.ops[i];
    auto stream = static_cast<size_t>(op.stream);
    prefixes[i].remaining = prefixes[i + 1].remaining;
    prefixes[i].remaining[stream] += op.timeNs;
    tails[stream] = op.timeNs + std::max(tails[stream], behindWaiters[i]);
    for (size_t wait : waits[i])
      behindWaiters[wait] = std::max(behindWaiters[wait], tails[stream]);
    first[stream] = i;
    for (size_t s = 0; s < kStreams; ++s)
      if (first[s] != npos)
        prefixes[i].heads[s] = {tails[s], places(waits[first[s]], i)};
  }
  for (size_t i = 0; i < count; ++i)
    ops.push_back({static_cast<size_t>(program.ops[i].stream),
                   program.ops[i].timeNs, places(waits[i], i)});
  for (size_t i = 0; i < count; ++i)
    for (size_t wait : waits[i]) {
      std::vector<size_t> &waiters = ops[wait].waiters;
      if (std::find(waiters.begin(), waiters.end(), ops[i].stream) ==
          waiters.end())
        waiters.push_back(ops[i].stream);
    }
}

/// The search over all merges. A state is a row of numbers: when each stream is
/// free, then the pending ends of the first and of the second program.
class Search {
public:
  Search(const plan::Program &first, const plan::Program &second,
         int64_t mostStates)
      : chains{Chain(first), Chain(second)} {
    int64_t cells = static_cast<int64_t>(chains[0].prefixes.size()) *
                    static_cast<int64_t>(chains[1].prefixes.size());
    width = static_cast<size_t>(
        std::clamp<int64_t>(kStatesAtMost / cells, 2, mostStates));
  }

  /// No merge ends earlier.
  int64_t lowerBound() const {
    const std::array<int64_t, kStreams> begin{};
    return bound(begin.data(), 0, 0);
  }

  /// The best merge found that ends before `limitNs`; empty when there is none.
  std::vector<int64_t> run(int64_t limitNs);

private:
  static constexpr int64_t kStatesAtMost = 1 << 18;

  /// What is known of a state.
  struct Entry {
    int64_t bound = 0; ///< no completion of the state ends earlier
    int64_t sum = 0;   ///< of its numbers
    uint8_t back = 0;  ///< whose op came last; place in that cell, times two
  };
  /// States behind as many ops of either program, one row after the other.
  struct Cell {
    std::vector<Entry> entries;
    std::vector<int64_t> numbers;

    void clear() {
      entries.clear();
      numbers.clear();
    }
    void add(const Entry &entry, const std::vector<int64_t> &state) {
      entries.push_back(entry);
      numbers.insert(numbers.end(), state.begin(), state.end());
    }
    void erase(size_t place) {
      const size_t length = numbers.size() / entries.size();
      const auto row = numbers.begin() + static_cast<ptrdiff_t>(place * length);
      numbers.erase(row, row + static_cast<ptrdiff_t>(length));
      entries.erase(entries.begin() + static_cast<ptrdiff_t>(place));
    }
  };

  int64_t bound(const int64_t *state, size_t i, size_t j) const;
  void advance(const int64_t *state, size_t i, size_t j, size_t member);
  void insert(Cell &cell, const Entry &entry) const;
  void extend(Cell &cell, const Cell &from, size_t i, size_t j, size_t member,
              int64_t limitNs);

  std::array<Chain, 2> chains;
  size_t width;
  std::vector<int64_t> next; ///< the state that advance() made
};

int64_t Search::bound(const int64_t *state, size_t i, size_t j) const {
  std::array<const Chain::Prefix *, 2> rest = {&chains[0].prefixes[i],
                                               &chains[1].prefixes[j]};
  int64_t most = 0;
  for (size_t s = 0; s < kStreams; ++s)
    most = std::max(most,
                    state[s] + rest[0]->remaining[s] + rest[1]->remaining[s]);
  size_t base = kStreams;
  for (const Chain::Prefix *prefix : rest) {
    for (size_t s = 0; s < kStreams; ++s) {
      int64_t begin = state[s];
      for (size_t place : prefix->heads[s].waits)
        begin = std::max(begin, state[base + place]);
      most = std::max(most, begin + prefix->heads[s].tail);
    }
    base += prefix->pending.size();
  }
  return most;
}

/// Makes the state after the next op of `member` was issued in the state behind
/// i and j ops.
void Search::advance(const int64_t *state, size_t i, size_t j, size_t member) {
  std::array<size_t, 2> at = {i, j};
  const Chain &chain = chains[member];
  const Chain::Op &op = chain.ops[at[member]];
  std::array<size_t, 2> base;
  base[0] = kStreams;
  base[1] = kStreams + chains[0].prefixes[i].pending.size();
  int64_t begin = state[op.stream];
  for (size_t place : op.waits)
    begin = std::max(begin, state[base[member] + place]);
  int64_t end = begin + op.ns;

  next.assign(state, state + kStreams);
  next[op.stream] = end;
  for (size_t m = 0; m < 2; ++m) {
    const Chain::Prefix &prefix =
        chains[m].prefixes[at[m] + (m == member ? 1 : 0)];
    for (size_t k = 0; k < prefix.pending.size(); ++k) {
      int64_t ends = end;
      if (m != member)
        ends = state[base[m] + k];
      else if (prefix.from[k] != Chain::npos)
        ends = state[base[m] + prefix.from[k]];
      // Those who wait for it cannot begin before their streams are free:
      // earlier ends are all the same.
      int64_t free = std::numeric_limits<int64_t>::max();
      for (size_t stream : chains[m].ops[prefix.pending[k]].waiters)
        free = std::min(free, next[stream]);
      next.push_back(std::max(ends, free));
    }
  }
}

/// Keeps `next` in a cell, if no other state dominates it, instead of those
/// that it dominates; of all the most promising.
void Search::insert(Cell &cell, const Entry &entry) const {
  const size_t length = next.size();
  // No number is larger, hence neither the sum nor the bound.
  auto dominates = [&](const Entry &a, const int64_t *ofA, const Entry &b,
                       const int64_t *ofB) {
    if (a.sum > b.sum || a.bound > b.bound)
      return false;
    for (size_t k = 0; k < length; ++k)
      if (ofA[k] > ofB[k])
        return false;
    return true;
  };
  auto stateAt = [&](size_t place) {
    return cell.numbers.data() + place * length;
  };
  // Less promising than all that a full cell has, it would not stay.
  auto isMorePromising = [](const Entry &a, const Entry &b) {
    return a.bound != b.bound ? a.bound < b.bound : a.sum < b.sum;
  };
  if (cell.entries.size() == width &&
      std::all_of(
          cell.entries.begin(), cell.entries.end(),
          [&](const Entry &other) { return isMorePromising(other, entry); }))
    return;
  for (size_t place = 0; place < cell.entries.size(); ++place)
    if (dominates(cell.entries[place], stateAt(place), entry, next.data()))
      return;
  for (size_t place = cell.entries.size(); place-- > 0;)
    if (dominates(entry, next.data(), cell.entries[place], stateAt(place)))
      cell.erase(place);
  cell.add(entry, next);
  if (cell.entries.size() <= width)
    return;
  auto isBetter = [&](size_t a, size_t b) {
    const Entry &ofA = cell.entries[a], &ofB = cell.entries[b];
    if (ofA.bound != ofB.bound || ofA.sum != ofB.sum)
      return isMorePromising(ofA, ofB);
    return std::lexicographical_compare(stateAt(a), stateAt(a) + length,
                                        stateAt(b), stateAt(b) + length);
  };
  size_t worst = 0;
  for (size_t place = 1; place < cell.entries.size(); ++place)
    if (isBetter(worst, place))
      worst = place;
  cell.erase(worst);
}

/// Adds to `cell` what issuing the next op of `member` behind i and j ops makes
/// of the states of `from`.
void Search::extend(Cell &cell, const Cell &from, size_t i, size_t j,
                    size_t member, int64_t limitNs) {
  for (size_t place = 0; place < from.entries.size(); ++place) {
    const size_t length = from.numbers.size() / from.entries.size();
    advance(from.numbers.data() + place * length, i, j, member);
    Entry entry;
    entry.bound = bound(next.data(), i + (member == 0 ? 1 : 0),
                        j + (member == 1 ? 1 : 0));
    if (entry.bound >= limitNs)
      continue;
    for (int64_t each : next)
      entry.sum += each;
    entry.back = static_cast<uint8_t>(2 * place + member);
    insert(cell, entry);
  }
}

std::vector<int64_t> Search::run(int64_t limitNs) {
  size_t rows = chains[0].ops.size(), columns = chains[1].ops.size();
  // Cells are visited by i + j, so that only two such diagonals hold states;
  // the way back takes a byte a state.
  std::vector<uint8_t> back((rows + 1) * (columns + 1) * width);
  auto backAt = [&](size_t i, size_t j) {
    return back.begin() +
           static_cast<ptrdiff_t>((i * (columns + 1) + j) * width);
  };
  std::vector<Cell> diagonal(rows + 1), before(rows + 1);
  before[0].add({}, std::vector<int64_t>(kStreams, 0));
  for (size_t sum = 1; sum <= rows + columns; ++sum) {
    for (Cell &cell : diagonal)
      cell.clear();
    size_t from = sum > columns ? sum - columns : 0;
    for (size_t i = from; i <= std::min(rows, sum); ++i) {
      size_t j = sum - i;
      // The second program first: it is the backward, which frees bytes.
      if (j > 0)
        extend(diagonal[i], before[i], i, j - 1, 1, limitNs);
      if (i > 0)
        extend(diagonal[i], before[i - 1], i - 1, j, 0, limitNs);
      const std::vector<Entry> &entries = diagonal[i].entries;
      std::transform(entries.begin(), entries.end(), backAt(i, j),
                     [](const Entry &entry) { return entry.back; });
    }
    std::swap(diagonal, before);
  }
  // States of the last cell are ends of streams only: the largest is when both
  // programs end, which is the bound.
  const Cell &last = before[rows];
  if (last.entries.empty())
    return {};
  auto stateAt = [&](size_t place) {
    return last.numbers.begin() + static_cast<ptrdiff_t>(place * kStreams);
  };
  size_t place = 0;
  for (size_t other = 1; other < last.entries.size(); ++other) {
    const int64_t ns = last.entries[other].bound,
                  least = last.entries[place].bound;
    if (ns != least ? ns < least
                    : std::lexicographical_compare(
                          stateAt(other), stateAt(other) + kStreams,
                          stateAt(place), stateAt(place) + kStreams))
      place = other;
  }
  std::vector<int64_t> order;
  for (size_t i = rows, j = columns; i + j > 0;) {
    uint8_t step = backAt(i, j)[static_cast<ptrdiff_t>(place)];
    order.push_back(step % 2);
    place = step / 2;
    --(step % 2 == 0 ? i : j);
  }
  std::reverse(order.begin(), order.end());
  return order;
}

/// Issues whichever next op can begin first; of two that begin together the one
/// with the longer chain behind it.
std::vector<int64_t> listSchedule(const plan::Program &first,
                                  const plan::Program &second) {
  std::array<Chain, 2> chains = {Chain(first), Chain(second)};
  std::array<Cursor, 2> cursors = {Cursor(first), Cursor(second)};
  Clock clock;
  std::vector<int64_t> order;
  while (!cursors[0].done() || !cursors[1].done()) {
    int64_t member = 1;
    if (cursors[1].done()) {
      member = 0;
    } else if (!cursors[0].done()) {
      std::array<int64_t, 2> begins, tails;
      for (size_t m = 0; m < 2; ++m) {
        const Chain::Prefix &rest = chains[m].prefixes[cursors[m].ends.size()];
        begins[m] = cursors[m].begin(clock);
        tails[m] = 0;
        for (const Chain::Prefix::Head &head : rest.heads)
          tails[m] = std::max(tails[m], head.tail);
      }
      if (begins[0] != begins[1])
        member = begins[0] < begins[1] ? 0 : 1;
      else if (tails[0] != tails[1])
        member = tails[0] > tails[1] ? 0 : 1;
    }
    cursors[member].issue(clock);
    order.push_back(member);
  }
  return order;
}

/// The same order on each stream, with ops issued in the order in which they
/// begin as far as their programs' own orders allow it: whoever issues ops of
/// several streams from one thread that computes itself reaches an exchange in
/// time.
std::vector<int64_t> sortByBegin(const plan::Program &first,
                                 const plan::Program &second,
                                 const std::vector<int64_t> &order) {
  std::array<const plan::Program *, 2> programs = {&first, &second};
  std::array<Cursor, 2> cursors = {Cursor(first), Cursor(second)};
  std::array<std::vector<int64_t>, 2> begins;
  std::array<std::vector<int64_t>, kStreams> onStream; ///< whose op is next
  Clock clock;
  for (int64_t member : order) {
    onStream[static_cast<size_t>(cursors[member].next().stream)].push_back(
        member);
    begins[member].push_back(cursors[member].begin(clock));
    cursors[member].issue(clock);
  }
  std::array<size_t, 2> at{};
  std::array<size_t, kStreams> issued{};
  std::vector<int64_t> sorted;
  while (sorted.size() < order.size()) {
    // The op that comes first in `order` of those left can always be next.
    int64_t best = -1;
    for (int64_t member : {1, 0}) {
      const std::vector<plan::Op> &ops = programs[member]->ops;
      if (at[member] == ops.size())
        continue;
      auto stream = static_cast<size_t>(ops[at[member]].stream);
      if (onStream[stream][issued[stream]] != member)
        continue;
      auto key = [&](int64_t m) {
        return std::pair{begins[m][at[m]], programs[m]->ops[at[m]].stream ==
                                               plan::Stream::compute};
      };
      if (best == -1 || key(member) < key(best))
        best = member;
    }
    ++issued[static_cast<size_t>(programs[best]->ops[at[best]].stream)];
    ++at[best];
    sorted.push_back(best);
  }
  return sorted;
}

} // namespace

int64_t durationNs(const plan::Program &program) {
  Clock clock;
  Cursor cursor(program);
  while (!cursor.done())
    cursor.issue(clock);
  return clock.end();
}

std::vector<int64_t> endsNs(const plan::Program &program) {
  Clock clock;
  Cursor cursor(program);
  while (!cursor.done())
    cursor.issue(clock);
  return std::move(cursor.ends);
}

int64_t durationNs(const plan::Program &first, const plan::Program &second,
                   const std::vector<int64_t> &order) {
  Clock clock;
  std::array<Cursor, 2> cursors = {Cursor(first), Cursor(second)};
  for (int64_t member : order)
    cursors[member].issue(clock);
  return clock.end();
}

Interleaving interleave(const plan::Program &first, const plan::Program &second,
                        int64_t mostStates) {
  Interleaving best;
  best.ns = std::numeric_limits<int64_t>::max();
  auto consider = [&](std::vector<int64_t> order) {
    int64_t ns = durationNs(first, second, order);
    if (ns < best.ns)
      best = {std::move(order), ns};
  };
  consider(listSchedule(first, second));
  size_t rows = first.ops.size(), columns = second.ops.size();
  std::vector<int64_t> forwardFirst(rows + columns, 1);
  std::fill_n(forwardFirst.begin(), rows, 0);
  std::vector<int64_t> backwardFirst(rows + columns, 0);
  std::fill_n(backwardFirst.begin(), columns, 1);
  consider(std::move(backwardFirst));
  consider(std::move(forwardFirst));

  constexpr size_t cellsAtMost = size_t{1} << 24;
  if (rows < cellsAtMost && columns < cellsAtMost &&
      (rows + 1) * (columns + 1) <= cellsAtMost) {
    Search search(first, second, mostStates);
    if (search.lowerBound() < best.ns)
      if (std::vector<int64_t> order = search.run(best.ns); !order.empty())
        consider(std::move(order));
  }
  best.order = sortByBegin(first, second, best.order);
  return best;
}

KnownInterleavings::Timing
KnownInterleavings::timingOf(const plan::Program &program) {
  Timing timing;
  for (const plan::Op &op : program.ops) {
    timing.insert(timing.end(), {static_cast<int64_t>(op.stream), op.timeNs,
                                 static_cast<int64_t>(op.waits.size())});
    timing.insert(timing.end(), op.waits.begin(), op.waits.end());
  }
  return timing;
}

const std::vector<int64_t> &
KnownInterleavings::orderOf(const plan::Program &first,
                            const plan::Program &second) {
  auto [known, isNew] = orders.try_emplace({timingOf(first), timingOf(second)});
  if (isNew)
    known->second = interleave(first, second).order;
  return known->second;
}

} // namespace moe::schedule

#include "compiler/Optimize/PackingSearch.h"

#include "compiler/Optimize/PackingSections.h"

#include <algorithm>
#include <deque>
#include <limits>
#include <random>

namespace moe::optimize {
namespace {

using Item = Sections::Item;
using Section = Sections::Section;

/// Decisions that something follows from, one bit for each depth of the search.
/// Those too deep for a bit of their own share the last, which is never
/// cleared.
using Reason = std::vector<uint64_t>;

void add(Reason &reason, const Reason &other) {
  for (size_t i = 0; i < reason.size(); ++i)
    reason[i] |= other[i];
}
size_t bitOf(const Reason &reason, size_t depth) {
  return std::min(depth, 64 * reason.size() - 1);
}
void add(Reason &reason, size_t depth) {
  size_t bit = bitOf(reason, depth);
  reason[bit / 64] |= uint64_t{1} << bit % 64;
}
bool contains(const Reason &reason, size_t depth) {
  size_t bit = bitOf(reason, depth);
  return reason[bit / 64] >> bit % 64 & 1;
}
void remove(Reason &reason, size_t depth) {
  if (bitOf(reason, depth) == depth)
    reason[depth / 64] &= ~(uint64_t{1} << depth % 64);
}

enum class Outcome : uint8_t { found, failed, stopped };

/// A depth-first search for packings of one set of sections under a height.
class Search {
public:
  Search(const Sections &instance, int64_t height, size_t words)
      : items(instance.items), sections(instance.sections), height(height),
        words(words), failures(sections.size()), priority(items.size()),
        mark(items.size()), conflict(words), gathered(words),
        isEveryItemInterval(
            std::all_of(items.begin(), items.end(),
                        [](const Item &item) { return item.isInterval(); })) {}

  /// Buffers that may begin at one edge are tried by falling priority.
  void setPriority(size_t item, double value) { priority[item] = value; }

  /// Starts from nothing and tries at most `limit` decisions.
  Outcome run(int64_t limit) {
    stepsLeft = limit;
    start();
    return solveParts(0, sections.size(), 0);
  }

  int64_t stepsUsed(int64_t limit) const {
    return limit - std::max<int64_t>(stepsLeft, 0);
  }
  const std::vector<int64_t> &offsets() const { return place; }

  /// Failures count for the order of parts; those of long ago count less.
  void forget() {
    for (double &count : failures)
      count *= 0.9;
  }

private:
  /// What is known of a section.
  struct Column {
    int64_t top;   ///< end of the highest buffer placed there
    int64_t floor; ///< no other begins below; at least `top`
    int64_t left;  ///< bytes of those not placed yet
    /// How many of these live here and in the section before.
    int64_t crossing;
  };
  /// And of a buffer.
  struct Pending {
    int64_t isPlaced;
    int64_t floor;   ///< highest of its sections
    int64_t highest; ///< such a section
    int64_t support; ///< highest top of its sections
  };

  void start() {
    size_t count = sections.size();
    columns.assign(count, {0, 0, 0, 0});
    reasons.assign(count, Reason(words));
    for (size_t s = 0; s < count; ++s)
      columns[s].left = sections[s].bytes;
    pending.clear();
    for (const Item &item : items) {
      pending.push_back({0, 0, item.sections.front(), 0});
      for (size_t s = item.sections.front() + 1; s <= item.sections.back(); ++s)
        ++columns[s].crossing;
    }
    place.assign(items.size(), 0);
    changes.clear();
    savedReasons.clear();
    savedSections.clear();
  }

  // Changes, and taking them back.

  void set(int64_t &number, int64_t value) {
    if (number == value)
      return;
    changes.push_back({&number, number});
    number = value;
  }
  Reason &change(size_t section) {
    savedSections.push_back(section);
    savedReasons.insert(savedReasons.end(), reasons[section].begin(),
                        reasons[section].end());
    return reasons[section];
  }
  struct Mark {
    size_t changes, reasons;
  };
  Mark now() const { return {changes.size(), savedSections.size()}; }
  void goBack(Mark to) {
    for (; changes.size() > to.changes; changes.pop_back())
      *changes.back().number = changes.back().before;
    for (; savedSections.size() > to.reasons; savedSections.pop_back()) {
      auto begin = savedReasons.end() - static_cast<ptrdiff_t>(words);
      std::copy(begin, savedReasons.end(),
                reasons[savedSections.back()].begin());
      savedReasons.erase(begin, savedReasons.end());
    }
  }

  // Inference. Functions that return false leave the reason in `conflict`.

  bool failAt(size_t section, const Reason &reason) {
    failures[section] += 1;
    conflict = reason;
    return false;
  }

  void addAll(Reason &reason, const Item &item) const {
    for (uint32_t s : item.sections)
      add(reason, reasons[s]);
  }

  /// What follows for a buffer from the floors of its sections.
  bool updateItem(uint32_t index) {
    const Item &item = items[index];
    int64_t floor = -1, highest = 0, top = 0;
    int64_t lowest = std::numeric_limits<int64_t>::max();
    for (uint32_t s : item.sections) {
      if (columns[s].floor > floor) {
        floor = columns[s].floor;
        highest = s;
      }
      lowest = std::min(lowest, columns[s].floor);
      top = std::max(top, columns[s].top);
    }
    Pending &state = pending[index];
    set(state.support, top);
    set(state.highest, highest);
    set(state.floor, floor);
    if (floor + item.size > height)
      return failAt(static_cast<size_t>(highest), reasons[highest]);
    if (lowest < top + item.size)
      return true;
    // It would fit below all that is still to come: it could be moved down.
    conflict = reasons[item.sections.front()];
    addAll(conflict, item);
    return false;
  }

  /// Nothing begins in a section below where one of its buffers can.
  bool updateSection(size_t s) {
    Column &column = columns[s];
    int64_t lowest = std::numeric_limits<int64_t>::max();
    for (uint32_t i : sections[s].items)
      if (!pending[i].isPlaced)
        lowest = std::min(lowest, pending[i].floor);
    if (lowest > column.floor) {
      set(column.floor, lowest);
      Reason &reason = change(s);
      // A section of which the floor was raised just now has its reason from
      // the same buffers.
      for (uint32_t i : sections[s].items)
        if (!pending[i].isPlaced)
          add(reason, reasons[pending[i].highest]);
    }
    return column.floor + column.left <= height || failAt(s, reasons[s]);
  }

  /// What follows from new floors of sections.
  bool update(const std::vector<uint32_t> &changed) {
    ++stamp;
    size_t begin = sections.size(), end = 0;
    for (uint32_t s : changed)
      for (uint32_t i : sections[s].items) {
        if (pending[i].isPlaced || mark[i] == stamp)
          continue;
        mark[i] = stamp;
        if (!updateItem(i))
          return false;
        begin = std::min<size_t>(begin, items[i].sections.front());
        end = std::max<size_t>(end, items[i].sections.back() + 1);
      }
    for (size_t s = begin; s < end; ++s)
      if (columns[s].left > 0 && !updateSection(s))
        return false;
    return true;
  }

  /// Decides that a buffer begins at `offset`, the floor of all its sections.
  bool putAt(uint32_t index, int64_t offset, size_t depth) {
    const Item &item = items[index];
    place[index] = offset;
    set(pending[index].isPlaced, 1);
    for (uint32_t s : item.sections) {
      Column &column = columns[s];
      set(column.top, offset + item.size);
      set(column.floor, offset + item.size);
      set(column.left, column.left - item.size);
      add(change(s), depth);
    }
    for (size_t s = item.sections.front() + 1; s <= item.sections.back(); ++s)
      set(columns[s].crossing, columns[s].crossing - 1);
    return update(item.sections);
  }

  static constexpr size_t kForced = std::numeric_limits<size_t>::max();

  /// Decides that nothing begins at the floor of an edge, or sees that nothing
  /// can (`depth` is kForced).
  bool waste(size_t edge, size_t depth) {
    int64_t floor = columns[edge].floor;
    Reason &reason = gathered;
    reason = reasons[edge];
    if (depth != kForced)
      add(reason, depth);
    ++stamp;
    for (uint32_t i : sections[edge].items)
      mark[i] = stamp;
    int64_t next = std::numeric_limits<int64_t>::max();
    for (uint32_t i : sections[edge].items) {
      if (pending[i].isPlaced)
        continue;
      if (pending[i].floor > floor) {
        next = std::min(next, pending[i].floor);
        add(reason, reasons[pending[i].highest]);
        continue;
      }
      // Something that is not in the edge has to hold it up.
      int64_t lowest = std::numeric_limits<int64_t>::max();
      for (uint32_t s : items[i].sections) {
        add(reason, reasons[s]);
        for (uint32_t other : sections[s].items) {
          if (pending[other].isPlaced || mark[other] == stamp ||
              floor + items[other].size >= lowest)
            continue;
          if (pending[other].floor > floor)
            add(reason, reasons[pending[other].highest]);
          lowest = std::min(lowest, pending[other].floor + items[other].size);
        }
      }
      next = std::min(next, lowest);
    }
    if (next == std::numeric_limits<int64_t>::max() ||
        next + columns[edge].left > height)
      return failAt(edge, reason);
    set(columns[edge].floor, next);
    change(edge) = reason;
    return update({static_cast<uint32_t>(edge)});
  }

  // Decisions.

  struct Choice {
    size_t edge = 0;
    bool isRight = false;
    double score = std::numeric_limits<double>::max(); ///< lowest first
    bool isFound() const { return score < std::numeric_limits<double>::max(); }
  };

  /// Whether a buffer at an edge can be placed at its floor. It ends in the
  /// valley: all of its sections have that floor.
  bool canBegin(uint32_t index, int64_t floor) const {
    const Pending &item = pending[index];
    return !item.isPlaced && item.floor == floor && item.support == floor;
  }
  const std::vector<uint32_t> &touching(size_t edge, bool isRight) const {
    return isRight ? sections[edge].ends : sections[edge].begins;
  }

  /// The edge of a valley between two sections with the fewest choices and the
  /// least to waste, after wasting those at which nothing can begin. Not found:
  /// that failed.
  Choice choose(size_t begin, size_t end) {
    Choice best;
    for (bool isChanged = true; isChanged;) {
      isChanged = false;
      best = {};
      // Buffers with several lifetimes rest on the floor of a valley only if no
      // section has a lower one.
      int64_t lowest = std::numeric_limits<int64_t>::max();
      for (size_t s = begin; s < end; ++s)
        if (columns[s].left > 0)
          lowest = std::min(lowest, columns[s].floor);
      for (size_t s = begin; s < end && !isChanged;) {
        size_t first = s;
        int64_t floor = columns[s].floor;
        if (columns[s].left == 0) {
          ++s;
          continue;
        }
        while (s < end && columns[s].left > 0 && columns[s].floor == floor)
          ++s;
        auto isLower = [&](size_t beside) {
          return columns[beside].left > 0 && columns[beside].floor < floor;
        };
        if ((first > begin && isLower(first - 1)) || (s < end && isLower(s)) ||
            (!isEveryItemInterval && floor > lowest))
          continue; // no valley
        for (bool isRight : {false, true}) {
          size_t edge = isRight ? s - 1 : first;
          int64_t count = 0;
          for (uint32_t i : touching(edge, isRight))
            count += canBegin(i, floor);
          if (count == 0) {
            if (!waste(edge, kForced))
              return {};
            isChanged = true;
            break;
          }
          auto slack = static_cast<double>(height - floor - columns[edge].left);
          double score = static_cast<double>(count) +
                         kSlackWeight * slack / static_cast<double>(height);
          if (score < best.score)
            best = {edge, isRight, score};
        }
      }
    }
    return best;
  }

  /// Packs all that lives between two sections; nothing else that is not placed
  /// meets it.
  Outcome solve(size_t begin, size_t end, size_t depth) {
    if (--stepsLeft < 0)
      return Outcome::stopped;
    Mark before = now();
    Choice choice = choose(begin, end);
    if (!choice.isFound()) {
      goBack(before);
      return Outcome::failed;
    }
    int64_t floor = columns[choice.edge].floor;
    std::vector<uint32_t> candidates;
    for (uint32_t i : touching(choice.edge, choice.isRight))
      if (canBegin(i, floor) &&
          std::none_of(candidates.begin(), candidates.end(), [&](uint32_t j) {
            return items[j].size == items[i].size &&
                   items[j].sections == items[i].sections;
          }))
        candidates.push_back(i);
    std::sort(
        candidates.begin(), candidates.end(), [&](uint32_t a, uint32_t b) {
          return priority[a] != priority[b] ? priority[a] > priority[b] : a < b;
        });

    while (depth >= accumulated.size())
      accumulated.emplace_back();
    Reason &all = accumulated[depth];
    all.assign(words, 0);
    for (size_t k = 0; k <= candidates.size(); ++k) {
      Mark mark = now();
      Outcome outcome = Outcome::failed;
      if (k == candidates.size()) {
        if (waste(choice.edge, depth))
          outcome = solve(begin, end, depth + 1);
      } else if (putAt(candidates[k], floor, depth)) {
        outcome = solveParts(begin, end, depth + 1);
      }
      if (outcome != Outcome::failed)
        return outcome;
      goBack(mark);
      if (!contains(conflict, depth)) {
        // Whatever is decided here, the same goes wrong.
        goBack(before);
        return Outcome::failed;
      }
      add(all, conflict);
    }
    // There is no other candidate because of where things stand.
    add(all, reasons[choice.edge]);
    for (uint32_t i : sections[choice.edge].items)
      if (!pending[i].isPlaced) {
        if (pending[i].floor > floor)
          add(all, reasons[pending[i].highest]);
        else
          addAll(all, items[i]);
      }
    remove(all, depth);
    conflict = all;
    goBack(before);
    return Outcome::failed;
  }

  /// Packs what lives between two sections, part by part where it falls apart:
  /// if one of them fails, other packings of those before do not help.
  Outcome solveParts(size_t begin, size_t end, size_t depth) {
    struct Part {
      double failures;
      size_t begin, end;
    };
    std::vector<Part> parts;
    for (size_t first = begin, s = begin + 1; s <= end; ++s) {
      if (s < end && columns[s].crossing > 0)
        continue;
      Part part = {0, first, s};
      bool isEmpty = true;
      for (size_t k = first; k < s; ++k) {
        isEmpty &= columns[k].left == 0;
        part.failures = std::max(part.failures, failures[k]);
      }
      if (!isEmpty)
        parts.push_back(part);
      first = s;
    }
    std::sort(parts.begin(), parts.end(), [](const Part &a, const Part &b) {
      return a.failures != b.failures ? a.failures > b.failures
                                      : a.begin < b.begin;
    });
    for (const Part &part : parts)
      if (Outcome outcome = solve(part.begin, part.end, depth);
          outcome != Outcome::found)
        return outcome;
    return Outcome::found;
  }

  /// How many more choices are worth an edge where all could be wasted.
  static constexpr double kSlackWeight = 3;

  const std::vector<Item> &items;
  const std::vector<Section> &sections;
  int64_t height;
  size_t words;                 ///< of reasons
  std::vector<double> failures; ///< by section
  std::vector<double> priority; ///< by item

  std::vector<Column> columns;
  std::vector<Pending> pending;
  std::vector<int64_t> place;
  std::vector<Reason> reasons; ///< of the floors of sections
  struct Change {
    int64_t *number;
    int64_t before;
  };
  std::vector<Change> changes;
  std::vector<size_t> savedSections;
  std::vector<uint64_t> savedReasons; ///< as many words for each of those

  std::vector<uint64_t> mark; ///< by item: the last `stamp` that saw it
  uint64_t stamp = 0;
  Reason conflict, gathered;
  std::deque<Reason> accumulated; ///< by depth
  int64_t stepsLeft = 0;
  bool isEveryItemInterval;
};

/// The k-th number of 1, 1, 2, 1, 1, 2, 4, 1, ...; k >= 1.
int64_t luby(int64_t k) {
  while (true) {
    int64_t power = 1;
    while (2 * power - 1 < k)
      power *= 2;
    if (2 * power - 1 == k)
      return power;
    k -= power - 1;
  }
}

/// Searches again and again, with other priorities.
FitAnswer fitSections(const Sections &instance, int64_t height, int64_t steps) {
  constexpr int64_t restartSteps = 2000;
  FitAnswer answer;
  for (const Section &section : instance.sections)
    if (section.bytes > height)
      return {Fit::no, {}, 0};
  size_t words = (2 * instance.items.size() + 127) / 64;
  Search search(instance, height, words);
  // NOLINTNEXTLINE(bugprone-random-generator-seed): equal calls, equal answers
  std::mt19937_64 random(1);
  for (int64_t round = 1; answer.steps < steps; ++round) {
    for (size_t i = 0; i < instance.items.size(); ++i) {
      const Item &item = instance.items[i];
      auto length = static_cast<double>(item.sections.size());
      bool byArea = round % 3 != 0;
      double noise =
          round == 1 ? 1 : 0.6 + static_cast<double>(random() >> 11) * 0x1p-53;
      search.setPriority(i, noise * length *
                                (byArea ? static_cast<double>(item.size) : 1));
    }
    int64_t limit = std::min(steps - answer.steps, restartSteps * luby(round));
    Outcome outcome = search.run(limit);
    answer.steps += search.stepsUsed(limit);
    if (outcome != Outcome::stopped) {
      answer.fit = outcome == Outcome::found ? Fit::yes : Fit::no;
      answer.offsets = search.offsets();
      return answer;
    }
    search.forget();
  }
  return answer;
}

} // namespace

FitAnswer fitUnder(const PackingProblem &problem,
                   const std::vector<uint32_t> &members, int64_t height,
                   int64_t steps) {
  constexpr size_t mostBuffers = 2000;
  // Offsets are sums of sizes: these must be multiples of all alignments.
  int64_t alignment = 1;
  for (uint32_t i : members)
    alignment = std::max(alignment, problem.buffers[i].alignment);
  bool isOnGrid = std::all_of(members.begin(), members.end(), [&](uint32_t i) {
    const Buffer &buffer = problem.buffers[i];
    return buffer.size % alignment == 0 && alignment % buffer.alignment == 0;
  });
  Sections sections = findSections(problem, members);
  if (!isOnGrid || sections.items.size() > mostBuffers)
    return {};
  FitAnswer found = fitSections(sections, height, steps);
  if (found.fit != Fit::yes)
    return found;
  FitAnswer answer{Fit::yes, {}, found.steps};
  size_t next = 0; // items are those of the members that have bytes
  for (uint32_t i : members)
    answer.offsets.push_back(problem.buffers[i].size > 0 ? found.offsets[next++]
                                                         : 0);
  return answer;
}

} // namespace moe::optimize

#include "compiler/Export/Compare.h"

#include "compiler/Export/Phrases.h"
#include "compiler/Export/Summary.h"
#include "compiler/Export/Table.h"
#include "compiler/Export/Treatments.h"

#include <algorithm>
#include <array>
#include <map>

namespace moe::report {

namespace {

constexpr size_t kWidth = 110;
using Align = Table::Align;

/// "+4.2 %" of what the first has; "-" where that is nothing.
std::string change(double first, double second) {
  if (first == second)
    return "=";
  if (first == 0)
    return "-";
  return printNumber((second / first - 1) * 100, "%+.1f %%");
}

/// "+4.2 points" between two shares.
std::string changeOfShare(double first, double second) {
  if (first == second)
    return "=";
  return printNumber((second - first) * 100, "%+.1f points");
}

std::string layoutOf(const plan::Plan &plan) {
  const plan::Layout &layout = plan.layout;
  return "pp=" + std::to_string(layout.pipeline) +
         ",ep=" + std::to_string(layout.expert) +
         ",dp=" + std::to_string(layout.data) + "; " +
         formatCount(layout.microbatches) + " x " +
         formatCount(layout.microbatchSize) + " x " +
         formatCount(layout.sequenceLength) + " tokens";
}

std::string modelOf(const plan::Plan &plan) {
  std::string text = plan.model.name;
  for (const std::string &reduction : plan.model.reductions)
    text += " " + reduction;
  return text;
}

/// Two columns of text under the names of the plans.
class Sides {
public:
  Sides() {
    table.addColumn("", Align::left);
    table.addColumn("first", Align::left);
    table.addColumn("second", Align::left);
  }
  void addIfDifferent(const std::string &what, const std::string &first,
                      const std::string &second) {
    if (first == second)
      return;
    table.addRow({what, first, second});
    isEmpty = false;
  }
  std::string print() const {
    return isEmpty ? "  the same\n" : table.print(2, kWidth);
  }

private:
  Table table;
  bool isEmpty = true;
};

std::string inputs(const plan::Plan &first, const plan::Plan &second) {
  Sides sides;
  auto add = [&](const std::string &what, auto describe) {
    sides.addIfDifferent(what, describe(first), describe(second));
  };
  using plan::Plan;
  add("model", modelOf);
  add("machine", [](const Plan &plan) { return plan.machine.name; });
  add("budget",
      [](const Plan &plan) { return formatBytes(plan.machine.budgetBytes); });
  add("layout", layoutOf);
  add("schedule", [](const Plan &plan) { return plan.schedule; });
  add("dtype", [](const Plan &plan) { return std::string(name(plan.dtype)); });
  add("capacity", [](const Plan &plan) {
    return plan.capacityFactor > 0 ? printNumber(plan.capacityFactor, "%g")
                                   : std::string("max");
  });
  add("imbalance",
      [](const Plan &plan) { return printNumber(plan.imbalance, "%g"); });
  return "Inputs\n" + sides.print();
}

std::string times(const plan::Plan &first, const plan::Plan &second) {
  Table table;
  table.addColumn("", Align::left);
  for (const char *heading : {"first", "second", "change"})
    table.addColumn(heading, Align::right);
  auto add = [&](const std::string &what, double a, double b, auto print) {
    table.addRow({what, print(a), print(b), change(a, b)});
  };
  auto addShare = [&](const std::string &what, double a, double b) {
    table.addRow(
        {what, formatPercent(a), formatPercent(b), changeOfShare(a, b)});
  };
  auto ns = [](double value) {
    return formatNanoseconds(static_cast<int64_t>(value));
  };
  add("step time", static_cast<double>(first.prediction.stepNs),
      static_cast<double>(second.prediction.stepNs), ns);
  add("tokens/s", tokensPerSecond(first), tokensPerSecond(second),
      [](double value) { return formatCount(static_cast<int64_t>(value)); });
  addShare("bubble", first.prediction.bubble, second.prediction.bubble);
  addShare("model FLOPs utilization", first.prediction.modelFlopsUtilization,
           second.prediction.modelFlopsUtilization);
  auto exposed = [](const plan::Plan &plan) {
    int64_t most = 0;
    for (const plan::Rank &rank : plan.ranks)
      most = std::max(most, rank.exposedCommunicationNs);
    return static_cast<double>(most);
  };
  add("exposed communication, most of a rank", exposed(first), exposed(second),
      ns);
  return "Step\n" + table.print(2, kWidth);
}

std::string ranks(const plan::Plan &first, const plan::Plan &second) {
  Table table;
  table.addColumn("rank", Align::right);
  for (const char *heading :
       {"arena", "arena", "change", "margin", "margin", "saved", "saved"})
    table.addColumn(heading, Align::right);
  table.addColumn("layers", Align::left);
  size_t most = std::max(first.ranks.size(), second.ranks.size());
  for (size_t r = 0; r < most; ++r) {
    auto cells = [&](const plan::Plan &plan) -> std::array<std::string, 4> {
      if (r >= plan.ranks.size())
        return {"-", "-", "-", "-"};
      const plan::Rank &rank = plan.ranks[r];
      return {formatBytes(rank.arenaBytes),
              formatBytes(plan.machine.budgetBytes - plan.machine.reserveBytes -
                          rank.arenaBytes),
              formatBytes(rank.peak[plan::MemoryClass::saved]),
              blocksOf(plan, rank)};
    };
    std::array<std::string, 4> a = cells(first), b = cells(second);
    bool both = r < first.ranks.size() && r < second.ranks.size();
    std::string changed =
        both ? change(static_cast<double>(first.ranks[r].arenaBytes),
                      static_cast<double>(second.ranks[r].arenaBytes))
             : "-";
    table.addRow({std::to_string(r), a[0], b[0], changed, a[1], b[1], a[2],
                  b[2], a[3] == b[3] ? a[3] : a[3] + " -> " + b[3]});
  }
  return "Ranks (first, second): arena, margin to the budget, saved at the "
         "peak\n" +
         table.print(2, kWidth);
}

/// What two plans do with the values that one of them keeps, makes again or
/// offloads, where that is not the same.
class Decisions {
public:
  Decisions(const plan::Plan &first, const plan::Plan &second) {
    note(first, &Sides::first);
    note(second, &Sides::second);
    for (const Place &place : places)
      if (const Sides &each = sides[place]; each.first != each.second)
        addChange(place, each);
  }

  std::string print() const {
    if (changes.empty())
      return "Decisions\n  the same\n";
    Table table;
    for (const char *heading : {"value", "first -> second", ""})
      table.addColumn(heading, Align::left);
    constexpr size_t most = 24; // a screenful
    size_t rows = 0, rest = 0;
    for (size_t begin = 0, end = 0; begin < changes.size(); begin = end) {
      // Results of one op, where all else is the same.
      std::vector<std::string_view> parts;
      for (; end < changes.size() && isOfSameOp(changes[begin], changes[end]);
           ++end)
        parts.push_back(changes[end].part);
      if (++rows > most)
        rest += parts.size();
      else
        table.addRow({joinOutputs(parts),
                      std::string(changes[begin].sides.first) + " -> " +
                          std::string(changes[begin].sides.second),
                      placesOf(changes[begin].blocks)});
    }
    return "Decisions that differ\n" + table.print(2, kWidth) +
           (rest > 0 ? "  and " + std::to_string(rest) + " more\n" : "");
  }

private:
  /// Block, or where a value is of none, stage; and the value in it.
  using Place = std::pair<std::string, std::string_view>;
  struct Sides {
    // What becomes of it unless a plan says.
    std::string_view first = "not needed", second = "not needed";
    bool operator==(const Sides &) const = default;
  };
  /// Of one value in several blocks.
  struct Change {
    std::string_view part;
    Sides sides;
    std::vector<std::string> blocks;
  };

  static bool isOfSameOp(const Change &a, const Change &b) {
    return a.part.substr(0, a.part.find(':')) ==
               b.part.substr(0, b.part.find(':')) &&
           a.sides == b.sides && a.blocks == b.blocks;
  }

  void note(const plan::Plan &plan, std::string_view Sides::*side) {
    for (size_t s = 0; s < plan.stages.size(); ++s)
      for (const Treated &value : treatedOf(plan, s)) {
        const std::string_view block = blockOf(value.name);
        Place place{block.empty() ? "stage " + plan.stages[s].name
                                  : std::string(block),
                    partOf(value.name)};
        auto [known, isNew] = sides.try_emplace(place);
        if (isNew)
          places.push_back(std::move(place));
        known->second.*side = value.treatment;
      }
  }

  void addChange(const Place &place, const Sides &each) {
    auto known =
        std::find_if(changes.begin(), changes.end(), [&](const Change &change) {
          return change.part == place.second && change.sides == each;
        });
    if (known == changes.end())
      known = changes.insert(known, {place.second, each, {}});
    known->blocks.push_back(place.first);
  }

  std::map<Place, Sides> sides;
  std::vector<Place> places; ///< as the plans list them
  std::vector<Change> changes;
};

} // namespace

std::string compare(const plan::Plan &first, const plan::Plan &second) {
  return inputs(first, second) + "\n" + times(first, second) + "\n" +
         ranks(first, second) + "\n" + Decisions(first, second).print();
}

} // namespace moe::report

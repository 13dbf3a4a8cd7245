#include "compiler/Export/Compare.h"

#include "compiler/Export/Phrases.h"
#include "compiler/Export/Summary.h"
#include "compiler/Export/Table.h"

#include <algorithm>
#include <array>

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
  auto ns = [](double value) {
    return formatNanoseconds(static_cast<int64_t>(value));
  };
  auto share = [](double value) { return formatPercent(value); };
  add("step time", static_cast<double>(first.prediction.stepNs),
      static_cast<double>(second.prediction.stepNs), ns);
  add("tokens/s", tokensPerSecond(first), tokensPerSecond(second),
      [](double value) { return formatCount(static_cast<int64_t>(value)); });
  add("bubble", first.prediction.bubble, second.prediction.bubble, share);
  add("model FLOPs utilization", first.prediction.modelFlopsUtilization,
      second.prediction.modelFlopsUtilization, share);
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

} // namespace

std::string compare(const plan::Plan &first, const plan::Plan &second) {
  return inputs(first, second) + "\n" + times(first, second) + "\n" +
         ranks(first, second);
}

} // namespace moe::report

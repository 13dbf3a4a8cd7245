#include "compiler/Export/Summary.h"

#include "compiler/Export/Phrases.h"
#include "compiler/Export/Table.h"
#include "support/Words.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <map>
#include <set>

namespace moe::report {

namespace {

constexpr size_t kWidth = 110;
using Align = Table::Align;

std::string join(const std::vector<std::string> &items) {
  std::string text;
  for (const std::string &item : items)
    text += (text.empty() ? "" : ", ") + item;
  return text;
}

/// "212: backward 5, layers.3.mlp.experts.down": step, phase or kind of step,
/// microbatch, op.
std::string peakPlace(const plan::Rank &rank) {
  if (rank.peakStep < 0 ||
      rank.peakStep >= static_cast<int64_t>(rank.steps.size()))
    return "-";
  const plan::Step &step = rank.steps[static_cast<size_t>(rank.peakStep)];
  std::string text = std::to_string(rank.peakStep) + ": ";
  text += step.kind == plan::StepKind::run ? name(step.phase) : name(step.kind);
  if (step.microbatch >= 0)
    text += " " + std::to_string(step.microbatch);
  if (!rank.peakOp.empty())
    text += ", " + rank.peakOp;
  return text;
}

/// "3.25G" for "3.25 GiB": narrow enough for a table of ten columns.
std::string compact(int64_t bytes) {
  std::string text = bytes == 0 ? "-" : formatBytes(bytes);
  size_t space = text.find(' ');
  return space == std::string::npos
             ? text
             : text.substr(0, space) + text.substr(space + 1, 1);
}

/// What the rank has left of the budget; negative when it does not fit.
int64_t margin(const plan::Plan &plan, const plan::Rank &rank) {
  return plan.machine.budgetBytes - plan.machine.reserveBytes - rank.arenaBytes;
}

std::string header(const plan::Plan &plan) {
  const plan::Model &model = plan.model;
  const plan::Machine &machine = plan.machine;
  const plan::Layout &layout = plan.layout;
  int64_t devices = layout.pipeline * layout.expert * layout.data *
                    layout.tensor * layout.context;
  Table table;
  table.addColumn("", Align::left);
  table.addColumn("", Align::left);
  table.addRow({"model", model.name + " (" + model.architecture + "), " +
                             formatCount(model.layers) + " " +
                             plural(model.layers, "layer") + ", hidden " +
                             formatCount(model.hidden) + ", vocabulary " +
                             formatCount(model.vocabulary)});
  table.addRow({"", formatCount(model.totalParameters) + " parameters, " +
                        formatCount(model.activeParameters) +
                        " active per token"});
  if (!model.reductions.empty())
    table.addRow({"", "reduced from the published configuration: " +
                          join(model.reductions)});
  table.addRow({"machine",
                machine.name + ", " + formatBytes(machine.memoryBytes) +
                    " per device; budget " + formatBytes(machine.budgetBytes) +
                    ", reserve for libraries inside it " +
                    formatBytes(machine.reserveBytes)});
  table.addRow(
      {"layout", "pp=" + std::to_string(layout.pipeline) +
                     ", ep=" + std::to_string(layout.expert) +
                     ", dp=" + std::to_string(layout.data) +
                     ", tp=" + std::to_string(layout.tensor) +
                     ", cp=" + std::to_string(layout.context) + ": " +
                     formatCount(devices) + " " + plural(devices, "device") +
                     "; " + formatCount(layout.microbatches) + " " +
                     plural(layout.microbatches, "microbatch") + " of " +
                     formatCount(layout.microbatchSize) + " x " +
                     formatCount(layout.sequenceLength) + " tokens on each"});
  table.addRow({"schedule",
                plan.schedule + ", " + std::string(name(plan.dtype)) +
                    "; routed rows: memory for " +
                    (plan.capacityFactor > 0
                         ? printNumber(plan.capacityFactor, "%g") + "x balanced"
                         : std::string("all that routing can produce")) +
                    ", time for " + printNumber(plan.imbalance, "%g") +
                    "x balanced"});
  return plan.generator + "\n" + table.print(2, kWidth);
}

/// Short enough for ten columns.
std::string heading(plan::MemoryClass memoryClass) {
  switch (memoryClass) {
  case plan::MemoryClass::parameters:
    return "params";
  case plan::MemoryClass::gradients:
    return "grads";
  case plan::MemoryClass::expert_communication:
    return "exchange";
  default:
    return std::string(name(memoryClass));
  }
}

std::string memoryTable(const plan::Plan &plan) {
  Table table;
  table.addColumn("rank", Align::right);
  std::vector<plan::MemoryClass> classes;
  for (size_t i = 0; i < plan::kMemoryClassCount; ++i) {
    auto memoryClass = static_cast<plan::MemoryClass>(i);
    bool used = std::any_of(
        plan.ranks.begin(), plan.ranks.end(),
        [&](const plan::Rank &rank) { return rank.peak[memoryClass] != 0; });
    if (!used || memoryClass == plan::MemoryClass::host)
      continue;
    classes.push_back(memoryClass);
    table.addColumn(heading(memoryClass), Align::right);
  }
  table.addColumn("peak", Align::right);
  for (const plan::Rank &rank : plan.ranks) {
    std::vector<std::string> cells = {std::to_string(rank.rank)};
    for (plan::MemoryClass memoryClass : classes)
      cells.push_back(compact(rank.peak[memoryClass]));
    cells.push_back(compact(rank.peak.total()));
    table.addRow(std::move(cells));
  }
  return "Memory of one device at its peak, by class (G = GiB, M = MiB, K = "
         "KiB)\n" +
         table.print(2, kWidth);
}

bool usesHost(const plan::Plan &plan) {
  return std::any_of(
      plan.ranks.begin(), plan.ranks.end(),
      [](const plan::Rank &rank) { return rank.hostArenaBytes > 0; });
}

std::string rankTable(const plan::Plan &plan) {
  bool hasHost = usesHost(plan);
  Table table;
  table.addColumn("rank", Align::right);
  table.addColumn("arena", Align::right);
  table.addColumn("margin", Align::right);
  if (hasHost)
    table.addColumn("host", Align::right);
  table.addColumn("busy", Align::right);
  table.addColumn("layers", Align::left);
  table.addColumn("peak at step", Align::left);
  for (const plan::Rank &rank : plan.ranks) {
    double busy = plan.prediction.stepNs > 0
                      ? static_cast<double>(rank.busyNs) /
                            static_cast<double>(plan.prediction.stepNs)
                      : 0;
    std::vector<std::string> cells = {std::to_string(rank.rank),
                                      compact(rank.arenaBytes),
                                      compact(margin(plan, rank))};
    if (hasHost)
      cells.push_back(compact(rank.hostArenaBytes));
    cells.push_back(formatPercent(busy));
    cells.push_back(blocksOf(plan, rank));
    cells.push_back(peakPlace(rank));
    table.addRow(std::move(cells));
  }
  return std::string("Ranks (margin = budget - reserve - arena") +
         (hasHost ? "; host = pinned host memory for each device" : "") +
         ")\n" + table.print(2, kWidth);
}

std::string verdict(const plan::Plan &plan) {
  std::string budget = formatBytes(plan.machine.budgetBytes);
  std::string over;
  int64_t count = 0;
  const plan::Rank *tightest = nullptr;
  for (const plan::Rank &rank : plan.ranks) {
    if (!tightest || margin(plan, rank) < margin(plan, *tightest))
      tightest = &rank;
    if (margin(plan, rank) >= 0)
      continue;
    ++count;
    over += (over.empty() ? "" : ", ") + std::string("rank ") +
            std::to_string(rank.rank) + " by " +
            formatBytes(-margin(plan, rank));
  }
  std::string text;
  if (count > 0)
    text = "DOES NOT FIT: " + std::to_string(count) + " of " +
           counted(static_cast<int64_t>(plan.ranks.size()), "rank") +
           (count == 1 ? " exceeds" : " exceed") + " the budget of " + budget +
           ": " + over;
  else if (tightest)
    text = "Fits: every rank stays within " + budget + "; the tightest, rank " +
           std::to_string(tightest->rank) + ", has " +
           formatBytes(margin(plan, *tightest)) + " left";
  for (const plan::Rank &rank : plan.ranks)
    if (plan.machine.hostMemoryBytes > 0 &&
        rank.hostArenaBytes > plan.machine.hostMemoryBytes)
      text += "; DOES NOT FIT: rank " + std::to_string(rank.rank) + " needs " +
              formatBytes(rank.hostArenaBytes) +
              " of the host for each device, which has " +
              formatBytes(plan.machine.hostMemoryBytes);
  std::string lines;
  for (const std::string &line : wrap(text, kWidth))
    lines += line + "\n";
  return lines;
}

std::string timeLine(const plan::Plan &plan) {
  const plan::Layout &layout = plan.layout;
  const plan::Prediction &prediction = plan.prediction;
  if (prediction.stepNs <= 0)
    return "Step time: not estimated\n";
  double tokens = tokensPerSecond(plan);
  double devices =
      static_cast<double>(layout.pipeline) *
      static_cast<double>(layout.expert) * static_cast<double>(layout.data) *
      static_cast<double>(layout.tensor) * static_cast<double>(layout.context);
  auto rate = [&](double value) {
    return formatCount(static_cast<int64_t>(std::min(value, 0x1p62)));
  };
  return "Step time: " + formatNanoseconds(prediction.stepNs) +
         " estimated, bubble " + formatPercent(prediction.bubble) + ", " +
         rate(tokens) + " tokens/s (" + rate(tokens / devices) +
         " per device)\n";
}

/// "14.1 % of it on average, at most 14.4 % (rank 0)".
std::string exposed(const plan::Plan &plan, int64_t plan::Rank::*ns) {
  double sum = 0;
  const plan::Rank *most = &plan.ranks.front();
  for (const plan::Rank &rank : plan.ranks) {
    sum += static_cast<double>(rank.*ns);
    if (rank.*ns > most->*ns)
      most = &rank;
  }
  auto stepNs = static_cast<double>(plan.prediction.stepNs);
  std::string text =
      formatPercent(sum / static_cast<double>(plan.ranks.size()) / stepNs) +
      " of it on average";
  if (most->*ns > 0)
    text += ", at most " +
            formatPercent(static_cast<double>(most->*ns) / stepNs) + " (rank " +
            std::to_string(most->rank) + ")";
  return text;
}

/// Model FLOPs utilization and exposed communication and copies, as far as
/// known.
std::string efficiencyLine(const plan::Plan &plan) {
  const plan::Prediction &prediction = plan.prediction;
  if (prediction.stepNs <= 0 || plan.ranks.empty())
    return "";
  std::string text = "Exposed communication: " +
                     exposed(plan, &plan::Rank::exposedCommunicationNs);
  if (prediction.modelFlopsUtilization > 0)
    text += "; model FLOPs utilization " +
            formatPercent(prediction.modelFlopsUtilization);
  if (usesHost(plan))
    text += "\nExposed copies to and from the host: " +
            exposed(plan, &plan::Rank::exposedCopyNs);
  return text + "\n";
}

/// Decisions of the same kind and reason together.
std::string decisionTable(const plan::Plan &plan) {
  struct Sum {
    const plan::Decision *first;
    int64_t values = 0, bytes = 0, timeNs = 0;
  };
  std::vector<Sum> sums;
  for (const plan::Decision &decision : plan.decisions) {
    auto sum = std::find_if(sums.begin(), sums.end(), [&](const Sum &known) {
      return known.first->action == decision.action &&
             known.first->reason == decision.reason;
    });
    if (sum == sums.end())
      sum = sums.insert(sum, {&decision});
    ++sum->values;
    sum->bytes += decision.bytes;
    sum->timeNs += decision.timeNs;
  }
  if (sums.empty())
    return "";
  Table table;
  table.addColumn("decision", Align::left);
  table.addColumn("why", Align::left);
  table.addColumn("values", Align::right);
  table.addColumn("saved", Align::right);
  table.addColumn("costs", Align::right);
  for (const Sum &sum : sums)
    table.addRow({std::string(name(sum.first->action)), sum.first->reason,
                  std::to_string(sum.values), compact(sum.bytes),
                  formatNanoseconds(sum.timeNs)});
  return "\nDecisions (bytes and time of one microbatch, over all stages)\n" +
         table.print(2, kWidth);
}

std::string assumptionTable(const plan::Plan &plan) {
  if (plan.assumptions.empty())
    return "";
  Table table;
  table.addColumn("", Align::left);
  table.addColumn("", Align::left);
  table.addColumn("", Align::left);
  // A long value would take the room of all sources.
  constexpr size_t longest = 20;
  for (const plan::Assumption &assumption : plan.assumptions)
    if (assumption.value.size() <= longest)
      table.addRow({assumption.name, assumption.value, assumption.source});
    else
      table.addRow({assumption.name, "",
                    assumption.value + " (" + assumption.source + ")"});
  return "\nAssumptions\n" + table.print(2, kWidth);
}

} // namespace

std::string summarize(const plan::Plan &plan) {
  return header(plan) + "\n" + memoryTable(plan) + "\n" + rankTable(plan) +
         "\n" + verdict(plan) + timeLine(plan) + efficiencyLine(plan) +
         decisionTable(plan) + assumptionTable(plan);
}

} // namespace moe::report

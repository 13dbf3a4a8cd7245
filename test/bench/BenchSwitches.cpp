//===- BenchSwitches.cpp - the planner against global switches ------------===//
//
//   bench_switches [--all] [MODEL...]
//
// For each shipped configuration, at a layout in use, and budgets from just
// above the least to everything kept: the quickest setting of global switches
// (test/bench/Switches.h) beside what the planner chooses by itself, all by the
// plans' own simulation. A Markdown table on stdout, progress on stderr. --all
// makes the plans of all settings at every budget instead of those that bounds
// leave. Exit status 1: the planner is slower somewhere; 2: an error.
//
//===----------------------------------------------------------------------===//

#include "test/bench/Switches.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <iterator>
#include <string_view>

using namespace moe;

namespace {

struct Case {
  const char *model;
  int64_t pipeline, expert, microbatches;
};
constexpr Case kCases[] = {
    {"olmoe-1b-7b", 2, 4, 16},      {"gpt-oss-20b", 2, 4, 16},
    {"deepseek-v2-lite", 4, 4, 32}, {"qwen3-30b-a3b", 4, 8, 32},
    {"mixtral-8x7b", 4, 8, 32},     {"glm-4.5-air", 8, 16, 64},
    {"qwen3-235b-a22b", 8, 16, 64}, {"deepseek-v3", 16, 64, 64}};

/// Of the way from the least to everything kept, in hundredths.
constexpr int64_t kParts[] = {0, 10, 25, 50, 75, 100};
/// Budgets are whole multiples: readable, and enough of them.
constexpr int64_t kBudgetUnit = int64_t{1} << 27;

constexpr double kGiB = 0x1p30;

/// What is left to the planner, and whether its rivals may offload.
struct Mode {
  const char *recompute, *offload, *partition;
  bool offloads;
};
constexpr Mode kModes[] = {{"auto", "", "", false},
                           {"auto", "auto", "", true},
                           {"auto", "auto", "auto", true}};

/// How much longer than the best switch, worst first found.
struct Worst {
  double ratio = 0;
  std::string where;

  void add(int64_t planned, int64_t best, const std::string &place) {
    double found = static_cast<double>(planned) / static_cast<double>(best);
    if (found > ratio) {
      ratio = found;
      where = place;
    }
  }
};

std::string seconds(int64_t ns) {
  std::array<char, 32> text;
  snprintf(text.data(), text.size(), "%.3f", static_cast<double>(ns) * 1e-9);
  return text.data();
}

/// A switch as users of the table read it.
std::string describe(const bench::Best &best) {
  if (!best.setting)
    return "nothing fits";
  std::string text;
  if (!best.setting->recompute.empty())
    text = "`" + best.setting->recompute + "`";
  if (!best.setting->modules.empty())
    text += (text.empty() ? "" : ", ") + ("offload `" + best.setting->modules) +
            "`";
  return text.empty() ? "none" : text;
}

/// The planner's step; 0: nothing fits.
Result<int64_t> planned(driver::PlanRequest request, const Mode &mode) {
  request.recompute = mode.recompute;
  request.offload = mode.offload;
  request.partition = mode.partition;
  Result<driver::PlanAnswer> made = driver::makePlan(request);
  if (!made)
    return made.error();
  return made->plan.prediction.fits ? made->plan.prediction.stepNs : 0;
}

class Comparison {
public:
  Comparison(const Case &configuration, bool all)
      : configuration(configuration), all(all) {
    request.modelPath = std::string(MOE_SOURCE_DIR "/examples/models/") +
                        configuration.model + ".json";
    request.layout.pipeline = configuration.pipeline;
    request.layout.expert = configuration.expert;
    request.layout.microbatches = configuration.microbatches;
    request.layout.sequenceLength = 4096;
    request.reportsLevers = false;
  }

  Status run(Worst &worst) {
    Result<driver::Inputs> inputs = driver::gatherInputs(request);
    if (!inputs)
      return inputs.error();
    fprintf(stderr, "%s: recompute settings\n", configuration.model);
    Result<bench::Switches> switches =
        bench::Switches::make(std::make_unique<driver::Inputs>(*inputs));
    if (!switches)
      return switches.error();
    Result<int64_t> least = switches->leastBytes();
    if (!least)
      return least.error();
    printf("**%s**, PP%lld EP%lld, %lld microbatches, %zu settings:\n\n"
           "| budget, GiB | recompute switches | step, s | planner: recompute "
           "| all switches | step, s | planner: and offload | and partition "
           "|\n|---|---|---|---|---|---|---|---|\n",
           configuration.model, static_cast<long long>(configuration.pipeline),
           static_cast<long long>(configuration.expert),
           static_cast<long long>(configuration.microbatches),
           switches->count());
    for (int64_t part : kParts) {
      int64_t bytes = *least + (switches->mostBytes() - *least) * part / 100 +
                      switches->reserveBytes();
      request.budgetBytes =
          (bytes + kBudgetUnit - 1) / kBudgetUnit * kBudgetUnit;
      MOE_RETURN_IF_ERROR(row(*switches, worst));
    }
    printf("\n");
    fprintf(stderr, "%s: %lld plans of switches made\n", configuration.model,
            static_cast<long long>(switches->plansMade()));
    return {};
  }

private:
  Status row(bench::Switches &switches, Worst &worst) {
    std::array<char, 32> budget;
    snprintf(budget.data(), budget.size(), "%.3f",
             static_cast<double>(request.budgetBytes) / kGiB);
    fprintf(stderr, "%s: budget %s GiB, %lld plans of switches made\n",
            configuration.model, budget.data(),
            static_cast<long long>(switches.plansMade()));
    int64_t whole = request.budgetBytes - switches.reserveBytes();
    std::array<bench::Best, 2> best;
    for (bool offloads : {false, true}) {
      Result<bench::Best> found = switches.best(whole, offloads, all);
      if (!found)
        return found.error();
      best[offloads] = *found;
    }
    std::array<std::string, std::size(kModes)> cells;
    for (size_t m = 0; m < std::size(kModes); ++m) {
      Result<int64_t> stepNs = planned(request, kModes[m]);
      if (!stepNs)
        return stepNs.error();
      const bench::Best &rival = best[kModes[m].offloads];
      cells[m] = *stepNs ? seconds(*stepNs) : "-";
      if (!rival.setting)
        continue;
      std::string place = std::string(configuration.model) + " at " +
                          budget.data() + " GiB against " + describe(rival);
      if (*stepNs == 0)
        return Error{place + ": the planner finds nothing that fits"};
      worst.add(*stepNs, rival.stepNs, place);
      if (*stepNs > rival.stepNs)
        cells[m] = "**" + cells[m] + "**";
    }
    auto step = [](const bench::Best &each) {
      return each.setting ? seconds(each.stepNs) : std::string("-");
    };
    printf("| %s | %s | %s | %s | %s | %s | %s | %s |\n", budget.data(),
           describe(best[0]).c_str(), step(best[0]).c_str(), cells[0].c_str(),
           describe(best[1]).c_str(), step(best[1]).c_str(), cells[1].c_str(),
           cells[2].c_str());
    fflush(stdout);
    return {};
  }

  const Case &configuration;
  bool all;
  driver::PlanRequest request;
};

} // namespace

int main(int argc, char **argv) {
  bool all = false;
  std::vector<std::string_view> models;
  for (int i = 1; i < argc; ++i)
    if (argv[i] == std::string_view("--all"))
      all = true;
    else
      models.emplace_back(argv[i]);
  for (std::string_view model : models)
    if (std::none_of(std::begin(kCases), std::end(kCases),
                     [&](const Case &each) { return model == each.model; })) {
      fprintf(stderr, "bench_switches: no configuration '%s'; there are:",
              std::string(model).c_str());
      for (const Case &each : kCases)
        fprintf(stderr, " %s", each.model);
      fprintf(stderr, "\n");
      return 2;
    }
  Worst worst;
  for (const Case &each : kCases) {
    if (!models.empty() &&
        std::find(models.begin(), models.end(), each.model) == models.end())
      continue;
    if (Status status = Comparison(each, all).run(worst); !status.ok()) {
      fprintf(stderr, "bench_switches: %s\n", status.error().message.c_str());
      return 2;
    }
  }
  printf("Worst: %+.3f %% (%s)\n", (worst.ratio - 1) * 100,
         worst.where.c_str());
  return worst.ratio > 1 ? 1 : 0;
}

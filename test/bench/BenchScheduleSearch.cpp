//===- BenchScheduleSearch.cpp - what the search takes and gains ----------===//
//
//   bench_schedule_search             times
//   bench_schedule_search --wins      auto against the best generator
//   bench_schedule_search --optimal   auto against the optimum, small cases
//
// Figures: docs/schedule-search.md.
//
//===----------------------------------------------------------------------===//

#include "compiler/Schedule/Exact.h"
#include "compiler/Schedule/Search.h"
#include "test/unit/Schedule/SearchCases.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>

using namespace moe;
using namespace moe::schedule;
using namespace moe::schedule::test;

/// Three structures of one model; the limit in units, 0: none.
static void searchAll(benchmark::State &state) {
  int64_t ranks = state.range(0), microbatches = state.range(1);
  std::vector<double> units;
  if (state.range(2) > 0)
    units.assign(static_cast<size_t>(ranks),
                 static_cast<double>(state.range(2)));
  std::vector<Structure> structures =
      structuresOf(ranks, microbatches, Profile::measured, 1, units);
  for (auto _ : state) {
    Result<SearchResult> result = searchSchedule(structures);
    if (!result)
      state.SkipWithError(result.error().message.c_str());
    else
      state.counters["gap"] = result->gap;
    benchmark::DoNotOptimize(result);
  }
}
BENCHMARK(searchAll)
    ->Args({8, 32, 0})
    ->Args({8, 32, 4})
    ->Args({16, 64, 0})
    ->Args({16, 64, 8})
    ->Args({32, 96, 0})
    ->Args({32, 96, 16})
    ->Args({32, 96, 32})
    ->Args({64, 1024, 32})
    ->Unit(benchmark::kMillisecond);

static void bound(benchmark::State &state) {
  std::vector<Structure> structures =
      structuresOf(32, 96, Profile::measured, 1, std::vector<double>(32, 16.0));
  for (auto _ : state)
    benchmark::DoNotOptimize(
        lowerBound(structures[1].problem, structures[1].costs));
}
BENCHMARK(bound)->Unit(benchmark::kMicrosecond);

namespace {

struct Tally {
  int cases = 0, wins = 0, alone = 0;
  double sum = 0, most = 0, gaps = 0;
};

int printWins() {
  std::map<std::string, Tally> tallies;
  std::vector<std::string> limits;
  for (const GridCase &one : gridOf({4, 8, 16})) {
    if (!tallies.contains(one.limit))
      limits.push_back(one.limit);
    Tally &tally = tallies[one.limit];
    Result<SearchResult> result = searchSchedule(one.structures);
    if (!result) {
      std::fprintf(stderr, "%s\n", result.error().message.c_str());
      return 1;
    }
    int64_t best = 0;
    for (const SearchCandidate &candidate : result->candidates)
      if (candidate.origin != "search" &&
          (best == 0 || candidate.makespanNs < best))
        best = candidate.makespanNs;
    ++tally.cases;
    tally.gaps += result->gap;
    if (best == 0) {
      ++tally.alone;
      continue;
    }
    double gain = 1 - static_cast<double>(result->evaluation.makespanNs) /
                          static_cast<double>(best);
    tally.wins += gain > 0;
    tally.sum += gain;
    tally.most = std::max(tally.most, gain);
  }
  std::printf("| limit | cases | auto is shorter | no generator fits | mean "
              "gain | largest gain | mean gap to the bound |\n"
              "|---|---|---|---|---|---|---|\n");
  for (const std::string &limit : limits) {
    const Tally &tally = tallies[limit];
    int compared = std::max(1, tally.cases - tally.alone);
    std::printf("| %s | %d | %d | %d | %.1f %% | %.1f %% | %.1f %% |\n",
                limit.c_str(), tally.cases, tally.wins, tally.alone,
                100 * tally.sum / compared, 100 * tally.most,
                100 * tally.gaps / tally.cases);
  }
  return 0;
}

int printOptimal() {
  std::printf("| P | M | stages a rank | limit, units | profile | bound | "
              "optimum | auto | auto above it | nodes |\n"
              "|---|---|---|---|---|---|---|---|---|---|\n");
  struct Size {
    int64_t ranks, microbatches, stagesPerRank;
  };
  for (Size size : {Size{2, 4, 1},
                    {2, 8, 1},
                    {3, 6, 1},
                    {4, 4, 1},
                    {4, 6, 1},
                    {2, 4, 2},
                    {3, 3, 2}})
    for (Profile profile : {Profile::unit, Profile::measured, Profile::ends})
      for (double units : {1.0, 2.0, 3.0, 4.0}) {
        Placement placement =
            size.stagesPerRank == 1 ? Placement::loop : Placement::v;
        ScheduleProblem problem = problemOf(size.ranks, size.microbatches,
                                            size.stagesPerRank, placement);
        Structure structure{problem, costsOf(problem, profile, 1)};
        structure.costs.limitBytes.assign(static_cast<size_t>(size.ranks),
                                          static_cast<int64_t>(units * 1000) +
                                              300);
        Result<SearchResult> found = searchSchedule({&structure, 1});
        if (!found)
          return 1;
        ExactOptions options;
        options.maxSeconds = 20;
        Result<ExactResult> exact =
            solveExactly(found->schedule, structure.costs, options);
        if (!exact) {
          std::fprintf(stderr, "%s\n", exact.error().message.c_str());
          return 1;
        }
        auto makespan = static_cast<double>(found->evaluation.makespanNs);
        constexpr std::array<const char *, 3> kNames = {"unit", "measured",
                                                        "ends"};
        std::printf(
            "| %d | %d | %d | %g | %s | %lld | %s%lld | %lld | %.2f %% "
            "| %lld |\n",
            static_cast<int>(size.ranks), static_cast<int>(size.microbatches),
            static_cast<int>(size.stagesPerRank), units,
            kNames[static_cast<size_t>(profile)],
            static_cast<long long>(found->bound.makespanNs),
            exact->optimal ? "" : ">= ", static_cast<long long>(exact->boundNs),
            static_cast<long long>(found->evaluation.makespanNs),
            100 * (makespan / static_cast<double>(exact->boundNs) - 1),
            static_cast<long long>(exact->nodes));
        std::fflush(stdout);
      }
  return 0;
}

} // namespace

int main(int argc, char **argv) {
  if (argc == 2 && std::strcmp(argv[1], "--wins") == 0)
    return printWins();
  if (argc == 2 && std::strcmp(argv[1], "--optimal") == 0)
    return printOptimal();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

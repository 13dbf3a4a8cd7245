#include "compiler/Optimize/UniformChoices.h"

#include "compiler/Optimize/Moments.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <tuple>

namespace moe::optimize {

namespace {

/// The option of each kind of block on the rank.
using OptionOf = std::map<int64_t, int64_t>;

/// The kind of blocks whose option a kind of layers takes.
int64_t kindOf(int64_t kind, const std::vector<int64_t> &alike) {
  const int64_t block = kind / 2;
  return block < std::ssize(alike) ? alike[static_cast<size_t>(block)] : block;
}

Choices choicesOf(const PolicyProblem &rank, const std::vector<int64_t> &alike,
                  const OptionOf &options) {
  Choices choices;
  for (const std::vector<int64_t> &stage : rank.stages) {
    std::vector<int64_t> &made = choices.emplace_back();
    for (int64_t kind : stage)
      made.push_back(options.at(kindOf(kind, alike)));
  }
  return choices;
}

} // namespace

UniformFront::UniformFront(const PolicyProblem &rank,
                           const std::vector<int64_t> &alike) {
  OptionOf options;
  std::vector<std::pair<int64_t, int64_t>> counts; // kinds that vary
  size_t combinations = 1;
  for (const std::vector<int64_t> &stage : rank.stages)
    for (int64_t kind : stage) {
      size_t count = rank.kinds[static_cast<size_t>(kind)].size();
      if (!options.try_emplace(kindOf(kind, alike), 0).second ||
          combinations * count > kMostUniform)
        continue;
      combinations *= count;
      counts.emplace_back(kindOf(kind, alike), count);
    }
  auto choicesOfNumber = [&](size_t number) {
    auto left = static_cast<int64_t>(number);
    for (auto [kind, count] : counts) {
      options[kind] = left % count;
      left /= count;
    }
    return choicesOf(rank, alike, options);
  };
  PolicyProblem bound = rank; // whose peaks are the same
  bound.moments = binding(rank.moments);
  std::vector<std::tuple<int64_t, int64_t, size_t>> all; // peak, time, number
  for (size_t number = 0; number < combinations; ++number) {
    PolicyOutcome outcome = evaluate(bound, choicesOfNumber(number));
    all.emplace_back(outcome.peakBytes, outcome.extraNs, number);
  }
  std::sort(all.begin(), all.end());
  for (auto [peakBytes, extraNs, number] : all)
    // Of equal times the largest peak that fits treats the fewest bytes.
    if (points.empty() || extraNs <= points.back().extraNs)
      points.push_back({peakBytes, extraNs, choicesOfNumber(number)});
}

const Choices &UniformFront::within(int64_t capacityBytes) const {
  auto above = std::partition_point(
      points.begin(), points.end(),
      [&](const Point &point) { return point.peakBytes <= capacityBytes; });
  return (above == points.begin() ? above : std::prev(above))->choices;
}

} // namespace moe::optimize

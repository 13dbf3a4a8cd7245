#include "compiler/Optimize/UniformChoices.h"

#include <algorithm>
#include <map>
#include <tuple>

namespace moe::optimize {

namespace {

/// The option of each kind of block on the rank.
using OptionOf = std::map<int64_t, int64_t>;

Choices choicesOf(const PolicyProblem &rank, const OptionOf &options) {
  Choices choices;
  for (const std::vector<int64_t> &stage : rank.stages) {
    std::vector<int64_t> &made = choices.emplace_back();
    for (int64_t kind : stage)
      made.push_back(options.at(kind / 2));
  }
  return choices;
}

} // namespace

Choices uniformChoices(const PolicyProblem &rank, int64_t capacityBytes) {
  OptionOf options;
  std::vector<std::pair<int64_t, int64_t>> counts; // kinds that vary
  size_t combinations = 1;
  for (const std::vector<int64_t> &stage : rank.stages)
    for (int64_t kind : stage) {
      size_t count = rank.kinds[static_cast<size_t>(kind)].size();
      if (!options.try_emplace(kind / 2, 0).second ||
          combinations * count > kMostUniform)
        continue;
      combinations *= count;
      counts.emplace_back(kind / 2, count);
    }
  Choices best;
  std::tuple<int64_t, int64_t, int64_t> value;
  for (size_t number = 0; number < combinations; ++number) {
    auto left = static_cast<int64_t>(number);
    for (auto [kind, count] : counts) {
      options[kind] = left % count;
      left /= count;
    }
    Choices choices = choicesOf(rank, options);
    PolicyOutcome outcome = evaluate(rank, choices);
    std::tuple found(std::max<int64_t>(0, outcome.peakBytes - capacityBytes),
                     outcome.extraNs, outcome.peakBytes);
    if (number == 0 || found < value) {
      value = found;
      best = std::move(choices);
    }
  }
  return best;
}

} // namespace moe::optimize

#include "compiler/Optimize/UniformChoices.h"

#include "compiler/Optimize/Moments.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <tuple>

namespace moe::optimize {

namespace {

/// The kind of blocks whose option a kind of layers takes.
int64_t kindOf(int64_t kind, const std::vector<int64_t> &alike) {
  const int64_t block = kind / 2;
  return block < std::ssize(alike) ? alike[static_cast<size_t>(block)] : block;
}

} // namespace

UniformFront::UniformFront(const PolicyProblem &rank,
                           const std::vector<int64_t> &alike) {
  // Kinds of blocks by when they first come, and how many of their options, the
  // first ones, are gone through: all or one.
  std::map<int64_t, size_t> placeOf;
  std::vector<size_t> counts;
  std::vector<std::vector<size_t>> places; // of the layers of each stage
  size_t combinations = 1;
  for (const std::vector<int64_t> &stage : rank.stages) {
    std::vector<size_t> &ofLayers = places.emplace_back();
    for (int64_t kind : stage) {
      auto [place, isNew] =
          placeOf.try_emplace(kindOf(kind, alike), counts.size());
      ofLayers.push_back(place->second);
      if (!isNew)
        continue;
      const size_t count = rank.kinds[static_cast<size_t>(kind)].size();
      counts.push_back(combinations * count > kMostUniform ? 1 : count);
      combinations *= counts.back();
    }
  }
  std::vector<size_t> options(counts.size());
  auto setOptions = [&](size_t number) {
    for (size_t place = 0; place < counts.size(); ++place) {
      options[place] = number % counts[place];
      number /= counts[place];
    }
  };
  auto choicesOfNumber = [&](size_t number) {
    setOptions(number);
    Choices choices;
    for (const std::vector<size_t> &stage : places) {
      std::vector<int64_t> &made = choices.emplace_back();
      for (size_t place : stage)
        made.push_back(static_cast<int64_t>(options[place]));
    }
    return choices;
  };
  const std::vector<Moment> moments = binding(rank.moments);
  std::vector<StageSums> sums(rank.stages.size());
  std::vector<std::tuple<int64_t, int64_t, size_t>> all; // peak, time, number
  for (size_t number = 0; number < combinations; ++number) {
    setOptions(number);
    int64_t extraNs = 0, peakBytes = 0;
    for (size_t s = 0; s < places.size(); ++s) {
      sums[s] = {};
      for (size_t l = 0; l < places[s].size(); ++l)
        sums[s].add(rank.kinds[static_cast<size_t>(rank.stages[s][l])]
                              [options[places[s][l]]],
                    rank.hostBytesPerNs);
      extraNs += sums[s].takenNs();
    }
    for (const Moment &moment : moments)
      peakBytes = std::max(peakBytes, bytesAt(moment, sums));
    all.emplace_back(peakBytes, extraNs, number);
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

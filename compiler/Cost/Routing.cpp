#include "compiler/Cost/Routing.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <math.h> // lgamma_r, of POSIX
#include <utility>
#include <vector>

namespace moe::cost {

namespace {

/// C(n - left, k) / C(n, k): the share of the k-subsets of n things that avoid
/// `left` given ones.
double avoiding(int64_t n, int64_t left, int64_t k) {
  double share = 1;
  for (int64_t i = 0; i < k; ++i)
    share *= static_cast<double>(std::max<int64_t>(n - left - i, 0)) /
             static_cast<double>(n - i);
  return share;
}

/// log n!. std::lgamma writes to a variable of the process, which two plans
/// that are made at the same time must not.
double logFactorial(int64_t n) {
  int sign = 0;
  return lgamma_r(static_cast<double>(n + 1), &sign);
}

/// log C(n, k).
double logBinomial(int64_t n, int64_t k) {
  return logFactorial(n) - logFactorial(k) - logFactorial(n - k);
}

} // namespace

std::string problem(const Routing &routing) {
  auto text = [](int64_t value) { return std::to_string(value); };
  if (routing.topK < 1 || routing.experts < 1 || routing.groups < 1 ||
      routing.topGroups < 1)
    return "top_k, experts, groups and top_groups must be positive";
  // Far more than any model has; work below grows with the square.
  constexpr int64_t most = 4096;
  if (routing.experts > most)
    return "experts must be at most " + text(most) + ", is " +
           text(routing.experts);
  if (routing.experts % routing.groups != 0)
    return "groups = " + text(routing.groups) +
           " must divide experts = " + text(routing.experts);
  if (routing.topGroups > routing.groups)
    return "top_groups = " + text(routing.topGroups) +
           " exceeds groups = " + text(routing.groups);
  int64_t eligible = routing.experts / routing.groups * routing.topGroups;
  if (routing.topK > eligible)
    return "top_k = " + text(routing.topK) + " exceeds the " + text(eligible) +
           " experts to choose from";
  return "";
}

double hitProbability(const Routing &routing, int64_t begin, int64_t end) {
  begin = std::max<int64_t>(begin, 0);
  end = std::min(end, routing.experts);
  if (begin >= end)
    return 0;
  const int64_t size = routing.experts / routing.groups;
  const int64_t eligible = size * routing.topGroups;
  // How much of its first and of its last group the block covers, where that is
  // not all, and how many groups it covers whole.
  std::vector<int64_t> partial;
  int64_t whole = 0;
  for (int64_t group = begin / size; group * size < end; ++group) {
    int64_t covered =
        std::min(end, (group + 1) * size) - std::max(begin, group * size);
    if (covered == size)
      ++whole;
    else
      partial.push_back(covered);
  }
  const int64_t others =
      routing.groups - whole - static_cast<int64_t>(partial.size());
  const double all = logBinomial(routing.groups, routing.topGroups);
  double missed = 0;
  for (size_t subset = 0; subset < size_t{1} << partial.size(); ++subset) {
    int64_t taken = 0, covered = 0;
    for (size_t i = 0; i < partial.size(); ++i)
      if (subset >> i & 1) {
        ++taken;
        covered += partial[i];
      }
    for (int64_t chosen = 0; chosen <= whole; ++chosen) {
      int64_t rest = routing.topGroups - taken - chosen;
      if (rest < 0 || rest > others)
        continue;
      double probability = std::exp(logBinomial(whole, chosen) +
                                    logBinomial(others, rest) - all);
      missed += probability *
                avoiding(eligible, covered + chosen * size, routing.topK);
    }
  }
  return std::clamp(1 - missed, 0.0, 1.0);
}

double expectedParts(const Routing &routing, int64_t parts) {
  // Parts that lie alike against the groups are hit alike.
  const int64_t size = routing.experts / routing.groups;
  std::map<std::pair<int64_t, int64_t>, double> known; // begin, length
  double expected = 0;
  for (int64_t part = 0; part < parts; ++part) {
    int64_t begin = routing.experts * part / parts;
    int64_t end = routing.experts * (part + 1) / parts;
    auto [entry, isNew] = known.try_emplace({begin % size, end - begin}, 0);
    if (isNew)
      entry->second = hitProbability(routing, begin, end);
    expected += entry->second;
  }
  return expected;
}

Traffic exchangeTraffic(const Machine &machine, const Fanout &fanout,
                        double imbalance, int64_t groupSize) {
  if (groupSize <= 1 || fanout.tokens <= 0)
    return {};
  const double ranks = static_cast<double>(groupSize);
  const double inside =
      static_cast<double>(std::min(groupSize, machine.nvlinkDomain));
  const double domains = ranks / inside;
  const double bytes =
      static_cast<double>(fanout.tokens) * static_cast<double>(fanout.rowBytes);
  auto once = [&](double probability) {
    return std::min(1.0, probability * imbalance);
  };
  if (machine.copies == Copies::choice) {
    double rows = static_cast<double>(fanout.routing.topK) / ranks * imbalance;
    return {bytes * rows * (inside - 1), bytes * rows * (ranks - inside)};
  }
  double rank = once(expectedParts(fanout.routing, groupSize) / ranks);
  if (machine.copies == Copies::rank)
    return {bytes * rank * (inside - 1), bytes * rank * (ranks - inside)};
  // The first domain stands for all; a group that does not fill its last one
  // is treated as if it did.
  double domain = once(hitProbability(
      fanout.routing, 0,
      std::llround(static_cast<double>(fanout.routing.experts) / domains)));
  return {bytes * rank * (ranks - domains), bytes * domain * (domains - 1)};
}

} // namespace moe::cost

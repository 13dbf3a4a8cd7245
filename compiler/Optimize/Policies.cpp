#include "compiler/Optimize/Policies.h"

#include "compiler/Optimize/ChoiceBounds.h"
#include "compiler/Optimize/ChoiceSearch.h"
#include "compiler/Optimize/Moments.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <utility>

namespace moe::optimize {

LayerOption amongAlike(LayerOption option) {
  auto waitNs = [](CopiesBack &copies) {
    const int64_t ns = copies.earlyNs - copies.linkFreeNs;
    copies = {};
    return std::max<int64_t>(0, ns);
  };
  const int64_t weightGradNs = waitNs(option.weightGrad);
  option.weightGradNs += weightGradNs;
  option.extraNs += waitNs(option.backward) + weightGradNs;
  return option;
}

void countCertainWaits(const std::vector<std::vector<LayerOption> *> &options) {
  for (CopiesBack LayerOption::*program :
       {&LayerOption::backward, &LayerOption::weightGrad}) {
    int64_t mostFreeNs = 0;
    for (const std::vector<LayerOption> *each : options)
      for (const LayerOption &option : *each)
        mostFreeNs = std::max(mostFreeNs, (option.*program).linkFreeNs);
    for (std::vector<LayerOption> *each : options)
      for (LayerOption &option : *each) {
        CopiesBack &copies = option.*program;
        // Unlimited: it never waits.
        const int64_t waitNs = std::max<int64_t>(
            0, copies.earlyNs - mostFreeNs - copies.mayWaitNs);
        copies.earlyNs -= waitNs;
        option.extraNs += waitNs;
        if (program == &LayerOption::weightGrad)
          option.weightGradNs += waitNs;
      }
  }
}

Status PolicyProblem::check() const {
  // Sums over layers and microbatches in flight stay below this.
  constexpr int64_t most = int64_t{1} << 62;
  int64_t layers = 0;
  for (const std::vector<int64_t> &stage : stages) {
    if (stage.empty())
      return Error{"policies: a stage without layers"};
    for (int64_t kind : stage)
      if (kind < 0 || kind >= static_cast<int64_t>(kinds.size()))
        return Error{"policies: no kind of layer " + std::to_string(kind)};
    layers += static_cast<int64_t>(stage.size());
  }
  int64_t holds = 1, others = 0;
  for (const Moment &moment : moments) {
    if (moment.held.size() != stages.size() || moment.running < 0 ||
        moment.running >= static_cast<int64_t>(stages.size()) ||
        moment.overlapped >= static_cast<int64_t>(stages.size()))
      return Error{"policies: a moment that does not fit the stages"};
    if (!moment.pending.empty() && moment.pending.size() != moment.held.size())
      return Error{"policies: a moment that does not fit the stages"};
    int64_t held = 2;
    for (const auto *counts : {&moment.held, &moment.pending})
      for (int64_t count : *counts) {
        if (count < 0 || count > (int64_t{1} << 30))
          return Error{"policies: microbatches held must be 0 to 2^30, are " +
                       std::to_string(count)};
        held += count;
      }
    holds = std::max(holds, held);
    if (moment.otherBytes < 0)
      return Error{"policies: negative bytes"};
    others = std::max(others, moment.otherBytes);
  }
  if (hostCapacityBytes < 0 || !(hostBytesPerNs >= 0))
    return Error{"policies: a host with negative bytes or rate"};
  if (moments.empty() || stages.empty())
    return Error{"policies: nothing to decide: no stages or no moments"};
  int64_t each = (most - others) / std::max<int64_t>(1, layers) / holds;
  for (const std::vector<LayerOption> &options : kinds) {
    if (options.empty())
      return Error{"policies: a kind of layer without options"};
    for (const LayerOption &option : options) {
      if (std::min({option.extraNs - option.weightGradNs, option.weightGradNs,
                    option.keptBytes, option.hostBytes, option.aheadBytes,
                    option.latePeakBytes, option.tailNs, option.pendingBytes,
                    option.backward.earlyNs, option.backward.mayWaitNs,
                    option.weightGrad.earlyNs, option.weightGrad.mayWaitNs}) <
              0 ||
          option.forwardPeakBytes < 0 ||
          option.peakBytes <
              std::max(option.keptBytes, option.forwardPeakBytes) ||
          option.tailNs < option.queueNs)
        return Error{"policies: an option needs 0 <= keptBytes <= peakBytes, 0 "
                     "<= forwardPeakBytes <= peakBytes, queueNs <= tailNs, "
                     "weightGradNs <= extraNs, and no other figure below 0"};
      if (std::max({option.extraNs, option.peakBytes, option.hostBytes,
                    option.aheadBytes, option.latePeakBytes, option.tailNs,
                    -option.queueNs, option.pendingBytes,
                    option.backward.earlyNs, -option.backward.linkFreeNs,
                    option.weightGrad.earlyNs,
                    -option.weightGrad.linkFreeNs}) >= each ||
          hostBytesPerNs * static_cast<double>(option.tailNs) >=
              static_cast<double>(each))
        return Error{"policies: sums over layers and microbatches exceed 2^62"};
    }
    if (hostCapacityBytes < kUnlimitedBytes &&
        std::none_of(
            options.begin(), options.end(),
            [](const LayerOption &o) { return o.hostBytes == 0; }))
      return Error{"policies: a kind of layer that leaves something to a "
                   "limited host with every option"};
  }
  return {};
}

namespace {

StageSums sumsOf(const PolicyProblem &problem, size_t stage,
                 const std::vector<int64_t> &choices) {
  StageSums sums;
  const std::vector<int64_t> &layers = problem.stages[stage];
  for (size_t l = 0; l < layers.size(); ++l)
    sums.add(problem.kinds[static_cast<size_t>(layers[l])]
                          [static_cast<size_t>(choices[l])],
             problem.hostBytesPerNs);
  return sums;
}

/// Points of the front of a stage. Fast: steps of 0.8 % of the range for a rank
/// of one stage; where points of several stages meet, fewer. Exact: what some
/// seconds allow.
size_t mostPoints(const PolicyProblem &problem, Effort effort) {
  if (effort == Effort::exact)
    return size_t{1} << 16;
  return problem.stages.size() == 1 ? 256 : 128;
}

/// Combinations of two fronts that are weighed in the exact mode, and those
/// that are compared with each other.
constexpr size_t kMostCombined = size_t{1} << 22;
constexpr size_t kMostCompared = size_t{1} << 13;

/// Choices for the first few stages.
struct Partial {
  std::vector<int64_t> loads; ///< by moment
  std::vector<int64_t> host;  ///< on the host, by moment of its limit
  int64_t ns = 0;
  std::vector<uint32_t> points; ///< of the fronts of the stages
  int64_t peak() const { return *std::max_element(loads.begin(), loads.end()); }
};

int64_t mostOf(const std::vector<int64_t> &bytes) {
  return bytes.empty() ? 0 : *std::max_element(bytes.begin(), bytes.end());
}

/// Such, and a point of the front of the next stage.
struct Candidate {
  const Partial *below;
  uint32_t point;
  int64_t peak = 0, host = 0, ns = 0;
  std::pair<const std::vector<uint32_t> &, uint32_t> name() const {
    return {below->points, point};
  }
  int64_t hostBytes() const { return host; }
};

/// Drops what another one is no worse than in time and at every moment.
void dropDominated(std::vector<Partial> &partials) {
  std::sort(partials.begin(), partials.end(),
            [](const Partial &a, const Partial &b) {
              if (a.ns != b.ns)
                return a.ns < b.ns;
              if (a.loads != b.loads)
                return a.loads < b.loads;
              return a.host != b.host ? a.host < b.host : a.points < b.points;
            });
  std::vector<Partial> remaining;
  for (Partial &partial : partials) {
    bool dominated = std::any_of(
        remaining.begin(), remaining.end(), [&](const Partial &other) {
          for (size_t m = 0; m < partial.loads.size(); ++m)
            if (other.loads[m] > partial.loads[m])
              return false;
          for (size_t m = 0; m < partial.host.size(); ++m)
            if (other.host[m] > partial.host[m])
              return false;
          return true;
        });
    if (!dominated)
      remaining.push_back(std::move(partial));
  }
  partials = std::move(remaining);
}

} // namespace

StageTimes timesOf(const PolicyProblem &problem, size_t stage,
                   const std::vector<int64_t> &choices) {
  const StageSums sums = sumsOf(problem, stage, choices);
  return {sums.lagNs, sums.extraNs, sums.weightGradNs};
}

PolicyOutcome evaluate(const PolicyProblem &problem, const Choices &choices) {
  PolicyOutcome outcome;
  std::vector<StageSums> sums;
  for (size_t s = 0; s < problem.stages.size(); ++s) {
    sums.push_back(sumsOf(problem, s, choices[s]));
    outcome.extraNs += sums.back().takenNs();
  }
  for (size_t m = 0; m < problem.moments.size(); ++m) {
    const Moment &moment = problem.moments[m];
    const int64_t bytes = bytesAt(moment, sums);
    int64_t host = 0;
    for (size_t s = 0; s < sums.size(); ++s)
      host += hostedAt(moment, s) * sums[s].host;
    outcome.hostBytes = std::max(outcome.hostBytes, host);
    if (m == 0 || bytes > outcome.peakBytes) {
      outcome.peakBytes = bytes;
      outcome.moment = m;
    }
  }
  return outcome;
}

PolicyFront::PolicyFront(const PolicyProblem &problem, Effort effort,
                         std::shared_ptr<StageFronts> shared)
    : store(shared ? std::move(shared) : std::make_shared<StageFronts>()) {
  assert(problem.check().ok());
  std::vector<Moment> moments = binding(problem.moments);
  const HostLimit limit(problem);
  size_t most = mostPoints(problem, effort);
  const size_t options = effort == Effort::exact
                             ? std::numeric_limits<size_t>::max()
                             : kFollowedOptions;
  std::vector<Partial> partials(1);
  for (const Moment &moment : moments)
    partials.front().loads.push_back(moment.otherBytes);
  partials.front().host.assign(limit.hosted.size(), 0);
  auto thin = [&](std::vector<Candidate> &states, size_t least, bool last) {
    auto peakOf = [](const Candidate &candidate) { return candidate.peak; };
    auto timeOf = [](const Candidate &candidate) { return candidate.ns; };
    return limit.isLimit() && !last
               ? keepFrontByHost(states, peakOf, timeOf, limit.capacityBytes,
                                 least)
               : keepFront(states, peakOf, timeOf, least);
  };
  for (size_t s = 0; s < problem.stages.size(); ++s) {
    int64_t weight = 0;
    for (const Moment &moment : moments)
      weight = std::max(weight, moment.held[s]);
    const int64_t within = limit.within(s);
    const bool isFollowed = effort == Effort::exact;
    const StageFront *front = &store->of(
        problem, s,
        {weight, within, problem.hostBytesPerNs, most, options, isFollowed});
    if (partials.size() * front->finished().size() > kMostCombined) {
      front =
          &store->of(problem, s,
                     {weight, within, problem.hostBytesPerNs,
                      mostPoints(problem, Effort::fast), options, isFollowed});
      std::vector<Candidate> fewer;
      for (const Partial &each : partials)
        fewer.push_back({&each, 0, each.peak(), mostOf(each.host), each.ns});
      thin(fewer, kMostCombined / front->finished().size(), false);
      std::vector<Partial> remaining;
      for (const Candidate &each : fewer)
        remaining.push_back(*each.below);
      partials = std::move(remaining);
      exact = false;
    }
    fronts.push_back(front);
    exact &= front->isExact();
    std::vector<Candidate> candidates;
    candidates.reserve(partials.size() * front->finished().size());
    for (const Partial &partial : partials)
      for (uint32_t point : front->finished()) {
        Candidate &more = candidates.emplace_back(Candidate{&partial, point});
        const StageSums &sums = front->sums(point);
        for (size_t m = 0; m < moments.size(); ++m)
          more.peak = std::max(more.peak,
                               partial.loads[m] + loadOf(moments[m], s, sums));
        for (size_t m = 0; m < limit.hosted.size(); ++m)
          more.host = std::max(more.host, partial.host[m] +
                                              limit.hosted[m][s] * sums.host);
        more.ns = partial.ns + sums.takenNs();
        if (limit.isLimit() && more.host > limit.capacityBytes)
          candidates.pop_back();
      }
    // Behind the last stage only the largest load counts.
    const bool last = s + 1 == problem.stages.size();
    const bool isCompared =
        !last && candidates.size() <= std::min(most, kMostCompared);
    if (!isCompared) {
      bool thinned = thin(candidates, most, last);
      exact &= last && !thinned;
    }
    std::vector<Partial> next;
    for (const Candidate &each : candidates) {
      Partial &more = next.emplace_back(*each.below);
      const StageSums &sums = front->sums(each.point);
      for (size_t m = 0; m < moments.size(); ++m)
        more.loads[m] += loadOf(moments[m], s, sums);
      for (size_t m = 0; m < limit.hosted.size(); ++m)
        more.host[m] += limit.hosted[m][s] * sums.host;
      more.ns = each.ns;
      more.points.push_back(each.point);
    }
    if (isCompared)
      dropDominated(next);
    partials = std::move(next);
  }
  for (const Partial &partial : partials) {
    list.push_back({partial.peak(), partial.ns});
    pointsOfStages.insert(pointsOfStages.end(), partial.points.begin(),
                          partial.points.end());
  }
}

Choices PolicyFront::choices(const Point &point) const {
  auto first = static_cast<size_t>(&point - list.data()) * fronts.size();
  Choices chosen;
  for (size_t s = 0; s < fronts.size(); ++s)
    chosen.push_back(fronts[s]->choices(pointsOfStages[first + s]));
  return chosen;
}

const PolicyFront::Point *PolicyFront::within(int64_t capacityBytes) const {
  auto behind = std::upper_bound(list.begin(), list.end(), capacityBytes,
                                 [](int64_t capacity, const Point &point) {
                                   return capacity < point.peakBytes;
                                 });
  return behind == list.begin() ? nullptr : &*std::prev(behind);
}

PolicyProblem withoutLag(PolicyProblem problem) {
  for (std::vector<LayerOption> &options : problem.kinds)
    for (LayerOption &option : options)
      option.tailNs = option.queueNs = 0;
  return problem;
}

bool hasWeightGrads(const PolicyProblem &problem) {
  for (const std::vector<LayerOption> &options : problem.kinds)
    for (const LayerOption &option : options)
      if (option.weightGradNs > 0 || option.weightGrad.earlyNs > 0)
        return true;
  return false;
}

PolicyProblem withoutWeightGrads(PolicyProblem problem) {
  for (std::vector<LayerOption> &options : problem.kinds)
    for (LayerOption &option : options) {
      option.extraNs -= std::exchange(option.weightGradNs, 0);
      option.weightGrad = {};
    }
  return problem;
}

/// What a hundredth of a second or two allow.
static constexpr size_t kStatesOfBounds = 512;

int64_t leastExtraNs(const PolicyProblem &problem, int64_t capacityBytes,
                     Precision precision, int64_t knownNs) {
  assert(problem.check().ok());
  if (knownNs == 0)
    return 0;
  if (precision == Precision::quick)
    return ChoiceBounds(problem, capacityBytes, precision,
                        ChoiceBounds::Use::bound)
        .leastNs();
  const QuickerChoices best =
      narrowSearch(problem, capacityBytes, knownNs, kStatesOfBounds);
  const bool fits =
      best.choices || knownNs < std::numeric_limits<int64_t>::max();
  return fits || !best.isCertain ? best.leastNs : -1;
}

bool mayFit(const PolicyProblem &problem, int64_t capacityBytes) {
  return ChoiceBounds(problem, capacityBytes, Precision::quick,
                      ChoiceBounds::Use::fit)
             .leastNs() >= 0;
}

} // namespace moe::optimize

#include "compiler/Optimize/PartitionCosts.h"

#include "compiler/Optimize/StageFronts.h"

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>
#include <utility>

namespace moe::optimize {

std::vector<int64_t> beginsOf(const std::vector<int64_t> &counts) {
  std::vector<int64_t> first(counts.size() + 1, 0);
  std::partial_sum(counts.begin(), counts.end(), first.begin() + 1);
  return first;
}

namespace {

/// Gives layers their first option, which keeps everything, as long as that
/// fits and takes no more time: what seems to cost nothing still uses links and
/// the host.
void relax(const PolicyProblem &choice, int64_t capacity,
           PolicyFront::Point &point, Choices &choices) {
  for (std::vector<int64_t> &stage : choices)
    for (int64_t &option : stage) {
      int64_t before = std::exchange(option, 0);
      PolicyOutcome outcome = evaluate(choice, choices);
      if (outcome.peakBytes <= capacity && outcome.extraNs <= point.extraNs) {
        point.peakBytes = outcome.peakBytes;
        point.extraNs = outcome.extraNs;
      } else {
        option = before;
      }
    }
}

/// Gives layers of one kind on a stage their options in one order, as long as
/// that fits in no more time: neighbours under equal treatment fill each
/// other's gaps as they were measured to. Those with the most above what they
/// keep come first, when the least is kept below them.
void arrange(const PolicyProblem &choice, int64_t capacity,
             PolicyFront::Point &point, Choices &choices) {
  Choices arranged = choices;
  for (size_t s = 0; s < choice.stages.size(); ++s) {
    std::map<int64_t, std::vector<size_t>> layersOf; // by kind
    for (size_t l = 0; l < choice.stages[s].size(); ++l)
      layersOf[choice.stages[s][l]].push_back(l);
    for (const auto &[kind, layers] : layersOf) {
      const auto &ways = choice.kinds[static_cast<size_t>(kind)];
      std::vector<int64_t> options;
      for (size_t layer : layers)
        options.push_back(choices[s][layer]);
      std::sort(options.begin(), options.end(), [&](int64_t a, int64_t b) {
        auto passing = [&](int64_t option) {
          const LayerOption &way = ways[static_cast<size_t>(option)];
          return way.peakBytes - way.keptBytes;
        };
        return std::pair(-passing(a), a) < std::pair(-passing(b), b);
      });
      for (size_t n = 0; n < layers.size(); ++n)
        arranged[s][layers[n]] = options[n];
    }
  }
  PolicyOutcome outcome = evaluate(choice, arranged);
  if (outcome.peakBytes > capacity || outcome.extraNs > point.extraNs)
    return;
  choices = std::move(arranged);
  point = {outcome.peakBytes, outcome.extraNs};
}

/// Time of a microbatch on the rank without policies.
int64_t workNs(const PartitionProblem &problem, const PolicyProblem &choice) {
  int64_t ns = 0;
  for (const std::vector<int64_t> &stage : choice.stages)
    for (int64_t kind : stage)
      ns += problem.kinds[static_cast<size_t>(kind / 2)].workNs();
  return ns;
}

} // namespace

RankFronts::RankFronts(const RankFronts *like)
    : stages(like ? like->stages : std::make_shared<StageFronts>()) {}

std::shared_ptr<const RankFronts::Entry>
RankFronts::of(const std::vector<int64_t> &rankAndBlocks,
               const std::function<PolicyProblem()> &makeProblem) {
  std::shared_ptr<const Entry> &known = entries[rankAndBlocks];
  if (!known) {
    PolicyProblem problem = makeProblem();
    PolicyFront front(problem, Effort::fast, stages);
    known = std::make_shared<const Entry>(std::move(problem), std::move(front));
  }
  return known;
}

const QuickerChoices &
RankFronts::quicker(const std::vector<int64_t> &rankAndBlocks,
                    int64_t capacityBytes, Effort effort,
                    const std::function<QuickerChoices()> &find) {
  auto [known, isNew] =
      found.try_emplace({rankAndBlocks, capacityBytes, effort});
  if (isNew)
    known->second = find();
  return known->second;
}

const UniformFront &
RankFronts::uniform(const std::vector<int64_t> &rankAndBlocks,
                    const PolicyProblem &problem,
                    const std::vector<int64_t> &alike) {
  return uniforms.try_emplace(rankAndBlocks, problem, alike).first->second;
}

RankCosts::RankCosts(const PartitionProblem &problem, Effort effort,
                     RankFronts *fronts)
    : problem(problem), effort(effort), fronts(fronts ? *fronts : own),
      stagesOf(static_cast<size_t>(problem.ranks())) {
  for (int64_t stage = 0; stage < problem.stages(); ++stage)
    stagesOf[static_cast<size_t>(problem.rankOf[static_cast<size_t>(stage)])]
        .push_back(stage);
  for (size_t kind = 0; kind < problem.kinds.size(); ++kind) {
    const int64_t same = problem.kinds[kind].sameOptionsAs;
    alike.push_back(same == -1 ? static_cast<int64_t>(kind) : same);
  }
}

RankKey RankCosts::keyOf(int64_t rank,
                         const std::vector<int64_t> &counts) const {
  std::vector<int64_t> first = beginsOf(counts);
  RankKey key = {rank,
                 problem.hostCapacityBytes.empty()
                     ? kUnlimitedBytes
                     : problem.hostCapacityBytes[static_cast<size_t>(rank)]};
  for (int64_t stage : stagesOf[static_cast<size_t>(rank)]) {
    key.push_back(-1);
    key.insert(key.end(),
               problem.blocks.begin() + first[static_cast<size_t>(stage)],
               problem.blocks.begin() + first[static_cast<size_t>(stage) + 1]);
  }
  return key;
}

std::pair<const RankKey, RankCost> &
RankCosts::at(int64_t rank, const std::vector<int64_t> &counts) {
  setPlace(rank, counts);
  auto cut = ofPlace.find(place);
  if (cut == ofPlace.end()) {
    auto [known, isNew] = costs.try_emplace(keyOf(rank, counts));
    if (isNew)
      known->second = workOut(rank, counts, known->first);
    cut = ofPlace.emplace(place, &*known).first;
  }
  return *cut->second;
}

void RankCosts::setPlace(int64_t rank, const std::vector<int64_t> &counts) {
  place.assign(1, rank);
  int64_t begin = 0;
  auto stage = stagesOf[static_cast<size_t>(rank)].begin();
  const auto end = stagesOf[static_cast<size_t>(rank)].end();
  for (int64_t s = 0; stage != end; ++s) {
    const int64_t count = counts[static_cast<size_t>(s)];
    if (s == *stage) {
      place.push_back(begin);
      place.push_back(count);
      ++stage;
    }
    begin += count;
  }
}

bool RankCosts::areExact() const {
  return std::all_of(costs.begin(), costs.end(),
                     [](const auto &known) { return known.second.isExact; });
}

int64_t RankCosts::leastExtraNs(const RankKey &key,
                                const std::vector<int64_t> &counts) {
  auto [known, isNew] = leastExtra.try_emplace(key);
  if (isNew)
    known->second = optimize::leastExtraNs(
        rankProblem(problem, counts, key.front()),
        problem.capacityBytes[static_cast<size_t>(key.front())]);
  return known->second;
}

std::optional<LeastExtra>
RankCosts::leastExtraOf(int64_t rank, const std::vector<int64_t> &counts) {
  const RankKey key = keyOf(rank, counts);
  const int64_t ns = leastExtraNs(key, counts);
  if (ns < 0)
    return std::nullopt;
  auto [known, isNew] = leastBackward.try_emplace(key);
  if (isNew && ns > 0) {
    const int64_t capacity = problem.capacityBytes[static_cast<size_t>(rank)];
    const PolicyProblem choice = withoutLag(rankProblem(problem, counts, rank));
    const int64_t backwardNs = optimize::leastExtraNs(choice, capacity);
    known->second = {backwardNs, hasWeightGrads(choice)
                                     ? optimize::leastExtraNs(
                                           withoutWeightGrads(choice), capacity)
                                     : backwardNs};
  }
  return LeastExtra{ns, known->second.first, known->second.second};
}

bool RankCosts::mayFit(int64_t rank, const std::vector<int64_t> &counts) {
  const RankKey key = keyOf(rank, counts);
  if (auto known = leastExtra.find(key); known != leastExtra.end())
    return known->second >= 0;
  auto [known, isNew] = fitting.try_emplace(key, false);
  if (isNew)
    known->second =
        optimize::mayFit(rankProblem(problem, counts, rank),
                         problem.capacityBytes[static_cast<size_t>(rank)]);
  return known->second;
}

int64_t RankCosts::leastNs(int64_t rank, const std::vector<int64_t> &counts) {
  const int64_t extraNs = leastExtraNs(keyOf(rank, counts), counts);
  return extraNs < 0
             ? -1
             : workNs(problem, rankProblem(problem, counts, rank)) + extraNs;
}

RankCost RankCosts::workOut(int64_t rank, const std::vector<int64_t> &counts,
                            const RankKey &key) {
  // What is best for this capacity, a search tells.
  std::shared_ptr<const RankFronts::Entry> known =
      fronts.of(key, [&] { return rankProblem(problem, counts, rank); });
  const PolicyFront &front = known->front;
  int64_t capacity = problem.capacityBytes[static_cast<size_t>(rank)];
  const PolicyFront::Point *point = front.within(capacity);
  PolicyFront::Point taken = point ? *point : front.points().front();
  Choices choices = front.choices(point ? *point : front.points().front());
  // A front that was thinned may have lost what needs least.
  if (!point && !front.isExact()) {
    Choices uniform =
        fronts.uniform(key, known->problem, alike).within(capacity);
    PolicyOutcome outcome = evaluate(known->problem, uniform);
    if (outcome.hostBytes <= known->problem.hostCapacityBytes &&
        outcome.peakBytes < taken.peakBytes) {
      choices = std::move(uniform);
      taken = {outcome.peakBytes, outcome.extraNs};
    }
  }
  RankCost cost = costOf(known->problem, capacity, taken, std::move(choices));
  cost.isExact = front.isExact();
  if (effort == Effort::exact && !cost.isExact)
    improve(cost, key, known->problem, Effort::exact);
  return cost;
}

RankCost RankCosts::costOf(const PolicyProblem &choice, int64_t capacity,
                           PolicyFront::Point taken, Choices choices) const {
  if (taken.peakBytes <= capacity) {
    relax(choice, capacity, taken, choices);
    arrange(choice, capacity, taken, choices);
  }
  RankCost cost;
  cost.choices = std::move(choices);
  cost.ns = workNs(problem, choice) + taken.extraNs;
  cost.extraNs = taken.extraNs;
  cost.peakBytes = taken.peakBytes;
  cost.excessBytes = std::max<int64_t>(0, taken.peakBytes - capacity);
  setLonger(choice, cost);
  return cost;
}

void RankCosts::setLonger(const PolicyProblem &choice, RankCost &cost) {
  cost.longer.clear();
  for (size_t stage = 0; stage < cost.choices.size(); ++stage)
    cost.longer.push_back(timesOf(choice, stage, cost.choices[stage]));
}

void RankCosts::sharpen(int64_t rank, const std::vector<int64_t> &counts) {
  auto &[key, cost] = at(rank, counts);
  if (effort == Effort::brief || cost.isExact ||
      std::exchange(cost.isSharp, true))
    return;
  if (cost.excessBytes == 0 && cost.extraNs < cost.ns / kWorthASearch)
    return;
  improve(cost, key, rankProblem(problem, counts, rank), Effort::fast);
}

void RankCosts::level(int64_t rank, const std::vector<int64_t> &counts) {
  auto &[key, cost] = at(rank, counts);
  const bool isDifferent = std::any_of(
      cost.choices.begin(), cost.choices.end(),
      [](const std::vector<int64_t> &stage) {
        return std::any_of(stage.begin(), stage.end(),
                           [](int64_t option) { return option != 0; });
      });
  if (!isDifferent || cost.excessBytes > 0 ||
      cost.extraNs >= cost.ns / kWorthASearch)
    return;
  const PolicyProblem choice = rankProblem(problem, counts, rank);
  const int64_t capacity = problem.capacityBytes[static_cast<size_t>(rank)];
  const Choices &alikeOnes =
      fronts.uniform(key, choice, alike).within(capacity);
  const PolicyOutcome outcome = evaluate(choice, alikeOnes);
  if (outcome.peakBytes > capacity ||
      outcome.hostBytes > choice.hostCapacityBytes ||
      outcome.extraNs > cost.extraNs)
    return;
  cost.choices = alikeOnes;
  cost.ns -= cost.extraNs - outcome.extraNs;
  cost.extraNs = outcome.extraNs;
  cost.peakBytes = outcome.peakBytes;
  setLonger(choice, cost);
}

void RankCosts::improve(RankCost &cost, const RankKey &key,
                        const PolicyProblem &choice, Effort byEffort) {
  const int64_t capacity =
      problem.capacityBytes[static_cast<size_t>(key.front())];
  const int64_t known = cost.excessBytes > 0 // whatever fits is better
                            ? std::numeric_limits<int64_t>::max()
                            : cost.extraNs;
  const int64_t tolerance =
      byEffort == Effort::exact ? workNs(problem, choice) / kExactWithin : 0;
  const QuickerChoices &quicker = fronts.quicker(key, capacity, byEffort, [&] {
    return quickerChoices(choice, capacity, known, byEffort, tolerance);
  });
  if (quicker.choices) {
    PolicyOutcome outcome = evaluate(choice, *quicker.choices);
    cost = costOf(choice, capacity, {outcome.peakBytes, outcome.extraNs},
                  *quicker.choices);
  }
  cost.isExact = quicker.isCertain;
  cost.isSharp = true;
}

CutValue valueOf(const PartitionProblem &problem, RankCosts &costs,
                 const std::vector<int64_t> &counts) {
  CutValue value;
  int64_t slowest = 0, sum = 0;
  for (int64_t rank = 0; rank < problem.ranks(); ++rank) {
    const RankCost &cost = costs.of(rank, counts);
    value.mostExcess = std::max(value.mostExcess, cost.excessBytes);
    value.allExcess += cost.excessBytes;
    slowest = std::max(slowest, cost.ns);
    sum += cost.ns;
  }
  value.objective = (problem.microbatches - 1) * slowest + sum;
  return value;
}

std::vector<StageTimes> longerOf(const PartitionProblem &problem,
                                 RankCosts &costs,
                                 const std::vector<int64_t> &counts) {
  std::vector<StageTimes> longer;
  std::vector<size_t> next(static_cast<size_t>(problem.ranks()), 0);
  for (int64_t rank : problem.rankOf)
    longer.push_back(
        costs.of(rank, counts).longer[next[static_cast<size_t>(rank)]++]);
  return longer;
}

CutValue stepOf(const PartitionProblem &problem, RankCosts &costs,
                const std::vector<int64_t> &counts) {
  CutValue value = valueOf(problem, costs, counts);
  if (problem.steps)
    value.objective =
        problem.steps->stepNs(counts, longerOf(problem, costs, counts));
  return value;
}

bool mayHold(const PartitionProblem &problem, int64_t stage, int64_t begin,
             int64_t end) {
  auto blocks = static_cast<int64_t>(problem.blocks.size());
  if ((stage == 0) != (begin == 0) ||
      (stage + 1 == problem.stages()) != (end == blocks))
    return false;
  bool hasLayer = false;
  for (int64_t b = begin; b < end; ++b) {
    auto block = static_cast<size_t>(b);
    hasLayer |=
        problem.kinds[static_cast<size_t>(problem.blocks[block])].isLayer;
    if (!problem.pins.empty() && problem.pins[block] >= 0 &&
        problem.pins[block] != stage)
      return false;
  }
  return hasLayer;
}

} // namespace moe::optimize

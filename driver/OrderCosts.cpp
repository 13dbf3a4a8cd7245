//===- OrderCosts.cpp - how long an order of steps takes ------------------===//

#include "driver/OrderCosts.h"

#include "compiler/Schedule/CriticalPath.h"

#include <algorithm>
#include <limits>
#include <map>
#include <utility>

namespace moe::driver {

std::optional<schedule::Transfers>
OrderCosts::transfersOf(const schedule::Schedule &order) {
  schedule::Transfers found =
      schedule::transfersOf(order, schedule::insertTransfers(order));
  const schedule::Costs any = schedule::Costs::uniform(order.problem);
  if (!schedule::evaluate(order, any, &found))
    return std::nullopt;
  return found;
}

schedule::StageCosts OrderCosts::costsOfBlocks(int64_t begin, int64_t end,
                                               bool withLayers) const {
  schedule::StageCosts cost;
  for (int64_t b = begin; b < end; ++b) {
    const BlockOptions &kind =
        options
            .kinds[static_cast<size_t>(options.blocks[static_cast<size_t>(b)])];
    if (kind.figures.isLayer && !withLayers)
      continue;
    const BlockTimes &times = b + 1 == end ? kind.last : kind.inside;
    cost.forwardNs += times.forwardNs;
    // A whole backward defers weight gradients behind exchanges.
    cost.inputGradNs += isSplit ? times.inputGradNs : times.backwardNs;
    cost.weightGradNs += isSplit ? times.weightGradNs : 0;
  }
  return cost;
}

std::vector<schedule::StageCosts>
OrderCosts::stageCosts(const std::vector<int64_t> &counts,
                       bool withLayers) const {
  std::vector<schedule::StageCosts> stages;
  int64_t begin = 0;
  for (int64_t count : counts) {
    stages.push_back(costsOfBlocks(begin, begin + count, withLayers));
    begin += count;
  }
  return stages;
}

int64_t OrderCosts::pairNs(const SegmentCosts &first,
                           const SegmentCosts &second) const {
  auto backwardOf = [](const schedule::StageCosts &stage) {
    return stage.inputGradNs + stage.weightGradNs;
  };
  const int64_t forwardNs = first.whole.forwardNs;
  const int64_t backwardNs = backwardOf(second.whole);
  // Only layers have exchanges to hide.
  const int64_t shorter = std::min(forwardNs - first.others.forwardNs,
                                   backwardNs - backwardOf(second.others));
  const double saved =
      options.overlapShare * static_cast<double>(std::max<int64_t>(0, shorter));
  return forwardNs + backwardNs - static_cast<int64_t>(saved);
}

schedule::Costs
OrderCosts::stepCosts(const std::vector<int64_t> &counts,
                      const std::vector<schedule::StageCosts> &stages,
                      std::vector<schedule::OverlapCost> overlaps) const {
  schedule::Costs costs;
  costs.transferNs = transferNs;
  costs.localTransferNs = options.localTransferNs;
  costs.overlaps = std::move(overlaps);
  while (static_cast<int64_t>(costs.stages.size()) < order.problem.stages())
    costs.stages.insert(costs.stages.end(), stages.begin(), stages.end());
  if (costs.overlaps.empty()) {
    const std::vector<schedule::StageCosts> others = stageCosts(counts, false);
    auto costsOf = [&](int64_t stage) {
      const auto s = static_cast<size_t>(stage);
      return SegmentCosts{costs.stages[s], others[s % others.size()]};
    };
    for (auto [first, second] : pairs)
      costs.overlaps.push_back(
          {first, second, pairNs(costsOf(first), costsOf(second))});
  }
  return costs;
}

Result<int64_t>
OrderCosts::stepNs(const std::vector<int64_t> &counts,
                   const std::vector<schedule::StageCosts> &stages,
                   std::vector<schedule::OverlapCost> overlaps) const {
  return stepNs(counts, stepCosts(counts, stages, std::move(overlaps)));
}

Result<int64_t> OrderCosts::stepNs(const std::vector<int64_t> &counts,
                                   const schedule::Costs &costs) const {
  std::vector<int64_t> ends;
  if (linked) {
    MOE_RETURN_IF_ERROR(costs.check(order.problem));
    Result<std::vector<int64_t>> found = linked->endsNs(costs);
    if (!found)
      return found.error();
    ends = std::move(*found);
  } else {
    Result<schedule::Evaluation> step = schedule::evaluate(order, costs);
    if (!step)
      return step.error();
    for (const schedule::RankEvaluation &rank : step->ranks)
      ends.push_back(rank.times.empty() ? 0 : rank.times.back().endNs);
  }
  const std::vector<int64_t> behind = endOfStepNs(counts);
  int64_t last = 0;
  for (size_t rank = 0; rank < behind.size(); ++rank)
    last = std::max(last, ends[rank] + behind[rank]);
  return last;
}

Result<int64_t> OrderCosts::evaluatedNs(const schedule::Costs &costs) const {
  Result<schedule::Evaluation> step =
      schedule::evaluate(order, costs, knownTransfers());
  return step ? step->makespanNs : Result<int64_t>(step.error());
}

std::vector<int64_t>
OrderCosts::endOfStepNs(const std::vector<int64_t> &counts) const {
  const schedule::ScheduleProblem &steps = order.problem;
  std::vector<cost::TrainableElements> elements(
      static_cast<size_t>(steps.ranks));
  size_t block = 0;
  for (size_t place = 0; place < counts.size(); ++place) {
    cost::TrainableElements ofStage;
    for (int64_t b = 0; b < counts[place]; ++b)
      ofStage +=
          options.kinds[static_cast<size_t>(options.blocks[block++])].trainable;
    for (auto stage = static_cast<int64_t>(place); stage < steps.stages();
         stage += steps.stagesPerReplica())
      elements[static_cast<size_t>(steps.rankOf(stage))] += ofStage;
  }
  std::vector<int64_t> ns(elements.size(), 0);
  if (!options.endOfStep)
    return ns;
  const cost::EndOfStep &end = *options.endOfStep;
  const cost::Link link = cost::pipelineLink(*end.machine, steps.ranks,
                                             end.expertWays * end.dataWays);
  for (size_t rank = 0; rank < ns.size(); ++rank) {
    ns[rank] = end.ns(elements[rank]);
    // Each rank of two copies of the model has what another one has.
    if (steps.replicas() > 1)
      ns[rank] += end.reduceSharedNs(link, elements[rank].dense +
                                               elements[rank].expert);
  }
  return ns;
}

namespace {

/// By schedule::evaluate. Chains of actions that were the longest of a step say
/// what others take at least.
class ChainTimes : public optimize::StepTimes {
public:
  explicit ChainTimes(const OrderCosts &model) : model(model) {
    for (int64_t rank = 0; rank < model.order.problem.ranks; ++rank)
      remember(schedule::chainThrough(model.order, rank));
  }

  int64_t ns(const std::vector<int64_t> &counts,
             const std::vector<optimize::StageTimes> &longer) override {
    const schedule::Costs costs = costsOf(counts, longer);
    const Result<schedule::Evaluation> step =
        schedule::evaluate(model.order, costs, model.knownTransfers());
    if (!step)
      return std::numeric_limits<int64_t>::max();
    remember(schedule::criticalPath(model.order, costs, *step,
                                    model.knownTransfers()));
    return step->makespanNs;
  }

  int64_t stepNs(const std::vector<int64_t> &counts,
                 const std::vector<optimize::StageTimes> &longer) override {
    const Result<int64_t> step = model.stepNs(counts, costsOf(counts, longer));
    return step ? *step : std::numeric_limits<int64_t>::max();
  }

  int64_t
  leastNs(const std::vector<int64_t> &counts,
          const std::vector<optimize::StageTimes> &longer) const override {
    const schedule::Costs costs = costsOf(counts, longer);
    int64_t least = 0;
    for (const schedule::ActionChain &chain : chains)
      least = std::max(least, chain.ns(costs));
    return least;
  }

  size_t chainCount() const override { return chains.size(); }

  int64_t transfersNs(size_t chain) const override {
    return chains[chain].transfers * model.transferNs;
  }

  int64_t partNs(size_t chain, const std::vector<optimize::StageBlocks> &ofRank,
                 const optimize::LeastExtra &extra) const override {
    const Parts &parts = partsOf[chain];
    int64_t ns = 0;
    // How often the chain comes through the stages that it comes through least.
    double leastForwards = std::numeric_limits<double>::max();
    double leastInputGrads = leastForwards, leastWeightGrads = leastForwards;
    for (const optimize::StageBlocks &blocks : ofRank) {
      const auto stage = static_cast<size_t>(blocks.stage);
      const schedule::ActionChain::OfStage &passes = parts.stages[stage];
      const schedule::StageCosts &costs = segment(blocks).whole;
      ns += passes.forwards * costs.forwardNs +
            passes.inputGrads * costs.inputGradNs +
            passes.weightGrads * costs.weightGradNs;
      double forwards = static_cast<double>(passes.forwards);
      double inputGrads = static_cast<double>(passes.inputGrads);
      double weightGrads = static_cast<double>(passes.weightGrads);
      for (const schedule::ActionChain::Pairs &pairs : parts.pairs[stage]) {
        const bool isForward = pairs.forwardStage == blocks.stage;
        const double count =
            static_cast<double>(pairs.count) * (1 - model.options.overlapShare);
        if (isForward)
          forwards += count;
        else
          for (double *each : {&inputGrads, &weightGrads})
            *each += count;
        for (const optimize::StageBlocks &other : ofRank)
          if (isForward && other.stage == pairs.backwardStage)
            ns += pairs.count * model.pairNs(segment(blocks), segment(other));
      }
      leastForwards = std::min(leastForwards, forwards);
      leastInputGrads = std::min(leastInputGrads, inputGrads);
      leastWeightGrads = std::min(leastWeightGrads, weightGrads);
    }
    return ns + extra.inChain(leastForwards, leastInputGrads, leastWeightGrads);
  }

private:
  /// Of a chain, by place of the stage in its copy of the model.
  struct Parts {
    std::vector<schedule::ActionChain::OfStage> stages;
    /// Those in which the stage goes forward or backward.
    std::vector<std::vector<schedule::ActionChain::Pairs>> pairs;
  };

  void remember(schedule::ActionChain chain) {
    if (std::find(chains.begin(), chains.end(), chain) != chains.end())
      return;
    const schedule::ScheduleProblem &steps = model.order.problem;
    const auto places = static_cast<size_t>(steps.stagesPerReplica());
    Parts &parts = partsOf.emplace_back();
    parts.stages.resize(places);
    parts.pairs.resize(places);
    for (int64_t stage = 0; stage < steps.stages(); ++stage) {
      const auto &passes = chain.stages[static_cast<size_t>(stage)];
      auto &sum = parts.stages[static_cast<size_t>(steps.positionOf(stage))];
      sum.forwards += passes.forwards;
      sum.inputGrads += passes.inputGrads;
      sum.weightGrads += passes.weightGrads;
    }
    for (schedule::ActionChain::Pairs pairs : chain.pairs) {
      pairs.forwardStage = steps.positionOf(pairs.forwardStage);
      pairs.backwardStage = steps.positionOf(pairs.backwardStage);
      for (int64_t stage :
           std::set<int64_t>{pairs.forwardStage, pairs.backwardStage})
        parts.pairs[static_cast<size_t>(stage)].push_back(pairs);
    }
    chains.push_back(std::move(chain));
  }

  /// What a stage with these blocks takes without policies.
  const OrderCosts::SegmentCosts &
  segment(const optimize::StageBlocks &blocks) const {
    auto [known, isNew] = segments.try_emplace({blocks.begin, blocks.end});
    if (isNew)
      known->second = {model.costsOfBlocks(blocks.begin, blocks.end, true),
                       model.costsOfBlocks(blocks.begin, blocks.end, false)};
    return known->second;
  }

  schedule::Costs
  costsOf(const std::vector<int64_t> &counts,
          const std::vector<optimize::StageTimes> &longer) const {
    std::vector<schedule::StageCosts> stages = model.stageCosts(counts);
    for (size_t s = 0; s < stages.size(); ++s) {
      stages[s].forwardNs += longer[s].forwardNs;
      stages[s].inputGradNs += longer[s].backwardNs - longer[s].weightGradNs;
      stages[s].weightGradNs += longer[s].weightGradNs;
    }
    return model.stepCosts(counts, stages);
  }

  const OrderCosts &model;
  std::vector<schedule::ActionChain> chains;
  std::vector<Parts> partsOf; ///< of each chain
  mutable std::map<std::pair<int64_t, int64_t>, OrderCosts::SegmentCosts>
      segments;
};

} // namespace

std::shared_ptr<optimize::StepTimes> stepTimes(const OrderCosts &costs) {
  return std::make_shared<ChainTimes>(costs);
}

} // namespace moe::driver

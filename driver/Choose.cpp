//===- Choose.cpp - what the planner decides by itself --------------------===//

#include "driver/Choose.h"

#include "compiler/Schedule/Evaluate.h"
#include "compiler/Schedule/Generators.h"
#include "compiler/Schedule/Holdings.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <map>
#include <optional>
#include <set>

namespace moe::driver {

namespace {

/// Buffers of transfers besides what layers keep: outputs and gradients on
/// their way out, gradients on their way in, an input that arrives early.
constexpr int64_t kTransferBuffers = 4;

/// Collects values of layers and writes them as choices: equal names of
/// consecutive layers become one.
class ChoiceText {
public:
  void add(const std::string &block, const std::string &value) {
    constexpr std::string_view layers = "layers.";
    if (block.starts_with(layers))
      numbers[value].insert(std::stoll(block.substr(layers.size())));
    else
      whole.push_back(value);
  }

  std::string print() const {
    std::string text;
    auto append = [&](const std::string &item) {
      text += (text.empty() ? "" : ",") + item;
    };
    for (const auto &[value, layers] : numbers)
      for (auto first = layers.begin(); first != layers.end();) {
        auto last = first;
        while (std::next(last) != layers.end() && *std::next(last) == *last + 1)
          ++last;
        std::string item = value + "@layers." + std::to_string(*first);
        if (last != first)
          item += "-" + std::to_string(*last);
        append(item);
        first = std::next(last);
      }
    for (const std::string &value : whole)
      append(value);
    return text;
  }

private:
  std::map<std::string, std::set<int64_t>> numbers;
  std::vector<std::string> whole;
};

bool splitsBackwards(const schedule::Schedule &order) {
  for (const std::vector<schedule::Action> &actions : order.ranks)
    for (const schedule::Action &action : actions)
      if (action.phase == plan::Phase::weight_grad)
        return true;
  return false;
}

} // namespace

Result<std::vector<int64_t>> pinBlocks(const std::vector<Pin> &pins,
                                       const ModelOptions &options) {
  if (pins.empty())
    return std::vector<int64_t>();
  std::vector<int64_t> stages(options.blocks.size(), -1);
  for (const Pin &pin : pins)
    for (int64_t layer = pin.first; layer <= pin.last; ++layer) {
      auto block = std::find(options.names.begin(), options.names.end(),
                             "layers." + std::to_string(layer));
      if (block == options.names.end())
        return Error{"--pin: the model has no layer " + std::to_string(layer)};
      stages[static_cast<size_t>(block - options.names.begin())] = pin.stage;
    }
  return stages;
}

Result<schedule::Schedule>
orderOfEvenCut(const std::string &schedule,
               const schedule::ScheduleProblem &problem, int64_t groupSize,
               const ModelOptions &options, int64_t transferNs) {
  optimize::PartitionProblem even;
  for (const BlockOptions &kind : options.kinds)
    even.kinds.push_back(kind.figures);
  even.blocks = options.blocks;
  even.rankOf.assign(static_cast<size_t>(problem.stagesPerReplica()), 0);
  schedule::GeneratorOptions generation;
  generation.groupSize = groupSize;
  generation.costs.transferNs = transferNs;
  std::vector<schedule::StageCosts> stages;
  size_t block = 0;
  for (int64_t count : optimize::uniformCounts(even)) {
    schedule::StageCosts &stage = stages.emplace_back();
    for (int64_t b = 0; b < count; ++b, ++block) {
      const BlockOptions &kind =
          options.kinds[static_cast<size_t>(options.blocks[block])];
      stage.forwardNs += kind.figures.forwardNs;
      stage.inputGradNs += kind.inputGradNs;
      stage.weightGradNs += kind.weightGradNs;
      stage.savedBytes += kind.figures.options.front().keptBytes;
      stage.weightGradBytes += kind.figures.pendingBytes;
    }
    stage.savedBytes = std::max(stage.savedBytes, stage.weightGradBytes);
  }
  for (int64_t copy = 0; copy < problem.replicas(); ++copy)
    generation.costs.stages.insert(generation.costs.stages.end(),
                                   stages.begin(), stages.end());
  return schedule::generate(schedule, problem, generation);
}

Result<Chooser> Chooser::make(ModelOptions options,
                              const schedule::Schedule &order,
                              int64_t transferNs, Freedom freedom) {
  const schedule::ScheduleProblem &steps = order.problem;
  if (steps.replicas() > 1)
    return Error{"schedules that hold two copies of the model leave nothing to "
                 "choose: give --recompute and --offload as lists, or take "
                 "dualpipe-v, which has the same order with one copy"};
  Chooser made(std::move(options), order, transferNs, std::move(freedom));
  optimize::PartitionProblem &base = made.base;
  for (const BlockOptions &kind : made.options.kinds)
    base.kinds.push_back(kind.figures);
  base.blocks = made.options.blocks;
  for (int64_t stage = 0; stage < steps.stages(); ++stage)
    base.rankOf.push_back(steps.rankOf(stage));
  for (int64_t rank = 0; rank < steps.ranks; ++rank) {
    std::vector<optimize::RankMoment> &moments = base.moments.emplace_back();
    for (schedule::Holding &holding : schedule::holdings(order, rank))
      moments.push_back({std::move(holding.held), std::move(holding.pending),
                         holding.running, holding.overlapped});
    base.otherBytes.push_back(
        steps.ranks > 1 ? kTransferBuffers * made.options.boundaryBytes : 0);
  }
  base.capacityBytes.assign(static_cast<size_t>(steps.ranks), 0);
  base.microbatches = steps.microbatches;
  base.pins = made.freedom.pins;
  MOE_RETURN_IF_ERROR(base.check());
  return made;
}

Result<optimize::Partition>
Chooser::cut(const optimize::PartitionProblem &problem) const {
  if (freedom.partition) {
    std::optional<optimize::Partition> found = optimize::partition(problem);
    if (!found)
      return Error{"--pin: no partition has all of these layers where they are "
                   "pinned and a layer on every stage"};
    return std::move(*found);
  }
  std::vector<int64_t> counts = optimize::uniformCounts(problem);
  if (!freedom.layers.empty()) {
    // Blocks that are no layers go with the layer behind them, or the last.
    counts.assign(static_cast<size_t>(problem.stages()), 0);
    if (freedom.layers.size() != counts.size())
      return Error{"--partition: " + std::to_string(freedom.layers.size()) +
                   " stages are given, there are " +
                   std::to_string(counts.size())};
    size_t stage = 0;
    int64_t left = freedom.layers.front();
    for (int64_t kind : problem.blocks) {
      if (left == 0 && stage + 1 < counts.size())
        left = freedom.layers[++stage];
      left -= problem.kinds[static_cast<size_t>(kind)].isLayer;
      ++counts[stage];
    }
  }
  if (!optimize::isLegal(problem, counts))
    return Error{freedom.pins.empty()
                     ? "--partition: the layers given do not add up to those "
                       "of the model, or leave a stage empty"
                     : "--pin: pinned layers are for --partition auto"};
  return optimize::evaluate(problem, counts);
}

Result<Chosen>
Chooser::choose(const std::vector<int64_t> &capacityBytes) const {
  optimize::PartitionProblem problem = base;
  problem.capacityBytes = capacityBytes;
  Result<optimize::Partition> found = cut(problem);
  if (!found)
    return found.error();

  Chosen chosen;
  ChoiceText recompute, offload;
  schedule::Costs costs;
  costs.transferNs = transferNs;
  std::vector<schedule::StageCosts> least;
  std::vector<int64_t> placeOnRank(found->choices.size(), 0);
  std::vector<int64_t> leastOfRank;
  for (int64_t rank = 0; rank < problem.ranks(); ++rank) {
    auto r = static_cast<size_t>(rank);
    optimize::PolicyProblem choice =
        optimize::rankProblem(problem, found->counts, rank);
    Chosen::Rank &made = chosen.ranks.emplace_back();
    made.extraNs = optimize::evaluate(choice, found->choices[r]).extraNs;
    made.peakBytes = found->peakBytes[r];
    made.leastExtraNs = optimize::leastExtraNs(choice, capacityBytes[r]);
    made.leastPeakBytes = optimize::PolicyFront(choice, optimize::Effort::fast)
                              .points()
                              .front()
                              .peakBytes;
    leastOfRank.push_back(std::max<int64_t>(0, made.leastExtraNs));
  }
  const bool isSplit = splitsBackwards(order);
  size_t block = 0;
  for (int64_t stage = 0; stage < problem.stages(); ++stage) {
    auto s = static_cast<size_t>(stage);
    auto r = static_cast<size_t>(problem.rankOf[s]);
    const std::vector<int64_t> &choices =
        found->choices[r][static_cast<size_t>(placeOnRank[r]++)];
    schedule::StageCosts &cost = costs.stages.emplace_back();
    int64_t layers = 0, extraNs = 0;
    for (int64_t b = 0; b < found->counts[s]; ++b, ++block) {
      const BlockOptions &kind =
          options.kinds[static_cast<size_t>(options.blocks[block])];
      auto option = static_cast<size_t>(choices[static_cast<size_t>(b)]);
      for (const std::string &value : kind.options[option].recomputed)
        recompute.add(options.names[block], value);
      for (const std::string &value : kind.options[option].offloaded)
        offload.add(options.names[block], value);
      cost.forwardNs += kind.figures.forwardNs;
      // A whole backward defers weight gradients behind exchanges.
      cost.inputGradNs += isSplit ? kind.inputGradNs : kind.figures.backwardNs;
      cost.weightGradNs += isSplit ? kind.weightGradNs : 0;
      extraNs += (b + 1 == found->counts[s] ? kind.figures.lastOptions
                                            : kind.figures.options)[option]
                     .extraNs;
      layers += kind.figures.isLayer;
    }
    least.push_back(cost);
    // With several stages on a rank it is open which of them takes its least.
    if (problem.stages() == problem.ranks())
      least.back().inputGradNs += leastOfRank[r];
    cost.inputGradNs += extraNs;
    chosen.layers.push_back(layers);
  }
  chosen.recompute = recompute.print();
  chosen.offload = offload.print();

  Result<schedule::Evaluation> step = schedule::evaluate(order, costs);
  if (!step)
    return step.error();
  chosen.stepNs = step->makespanNs;
  costs.stages = std::move(least);
  Result<schedule::Evaluation> bound = schedule::evaluate(order, costs);
  if (!bound)
    return bound.error();
  chosen.boundNs = bound->makespanNs;
  for (int64_t rank = 0; rank < problem.ranks(); ++rank) {
    auto r = static_cast<size_t>(rank);
    chosen.boundNs = std::max(
        chosen.boundNs,
        problem.microbatches *
            (found->rankNs[r] - chosen.ranks[r].extraNs + leastOfRank[r]));
  }
  // Overlapping pairs take less than both, which the bound leaves out.
  chosen.boundNs = std::min(chosen.boundNs, chosen.stepNs);
  return chosen;
}

namespace {

/// Drafts made for one request; each costs as much as the first.
constexpr int kMostDrafts = 5;
/// Choices that are quicker by less than this part of the step are not worth a
/// plan with waits.
constexpr int64_t kWorthWaiting = 50;
constexpr int64_t kUnlimited = int64_t{1} << 60;
/// What is left of a rank's memory where its account was wrong: other choices
/// are wrong by another amount.
constexpr int64_t slackOf(int64_t bytes) { return bytes / 512; }

/// Whether some rank needs so much more than `capacity` that a plan of these
/// choices cannot fit, however wrong the account is.
bool isFarBeyond(const Chosen &chosen, int64_t capacity) {
  return std::any_of(chosen.ranks.begin(), chosen.ranks.end(),
                     [&](const Chosen::Rank &rank) {
                       return rank.peakBytes > capacity + capacity / 8;
                     });
}

struct Attempt {
  Draft draft;
  Chosen chosen;
};

int64_t largest(const std::vector<int64_t> &bytes) {
  return *std::max_element(bytes.begin(), bytes.end());
}

std::string gigabytes(int64_t bytes) {
  std::array<char, 32> text;
  snprintf(text.data(), text.size(), "%.2f GiB",
           static_cast<double>(bytes) / 0x1p30);
  return text.data();
}

std::string percent(double share) {
  std::array<char, 32> text;
  snprintf(text.data(), text.size(), "%.2f %%", share * 100);
  return text.data();
}

std::string joined(const std::vector<int64_t> &numbers) {
  std::string text;
  for (int64_t number : numbers)
    text += (text.empty() ? "" : ",") + std::to_string(number);
  return text;
}

void describe(const Chosen &chosen, int64_t reserveBytes, plan::Plan &plan) {
  std::vector<plan::Assumption> &list = plan.assumptions;
  list.push_back({"partition", joined(chosen.layers),
                  "layers of each stage, chosen by the planner"});
  int64_t paying = 0;
  for (const Chosen::Rank &rank : chosen.ranks)
    paying += rank.extraNs > 0;
  list.push_back(
      {"policies.ranks_that_pay",
       std::to_string(paying) + " of " + std::to_string(chosen.ranks.size()),
       "ranks that compute or copy something again to fit; "
       "the others keep "
       "everything"});
  if (chosen.boundNs > 0)
    list.push_back({"policies.gap_to_bound",
                    percent(static_cast<double>(chosen.stepNs) /
                                static_cast<double>(chosen.boundNs) -
                            1),
                    "by how much the step is longer than the proven "
                    "bound for these "
                    "stages and this order of steps, both as the "
                    "planner's model counts "
                    "them"});
  if (plan.prediction.fits)
    return;
  for (size_t r = 0; r < chosen.ranks.size(); ++r)
    if (chosen.ranks[r].leastExtraNs < 0) {
      list.push_back(
          {"policies.least_budget",
           gigabytes(chosen.ranks[r].leastPeakBytes + reserveBytes),
           "what rank " + std::to_string(r) +
               " needs at least, whatever is recomputed or offloaded; "
               "more "
               "pipeline or expert-parallel ranks, smaller "
               "microbatches or a "
               "smaller capacity factor need less"});
      break;
    }
}

/// Corrects what ranks may choose with by what a draft of theirs needs.
void correct(const Attempt &attempt, int64_t whole,
             std::vector<int64_t> &capacity) {
  for (size_t r = 0; r < capacity.size(); ++r) {
    int64_t needed = attempt.draft.bytesWithoutWaits[r];
    int64_t corrected = whole - (needed - attempt.chosen.ranks[r].peakBytes);
    if (needed > whole)
      corrected -= slackOf(whole);
    if (needed > whole || capacity[r] == kUnlimited)
      capacity[r] =
          std::clamp<int64_t>(corrected, 0, std::max(whole, capacity[r]));
  }
}

Result<PlanAnswer> finish(const Attempt &attempt, int64_t reserveBytes) {
  Result<PlanAnswer> answer = attempt.draft.finish();
  if (answer)
    describe(attempt.chosen, reserveBytes, answer->plan);
  return answer;
}

} // namespace

Result<PlanAnswer>
choosePlan(const Chooser &chooser, int64_t budgetBytes, int64_t reserveBytes,
           const std::function<Result<Draft>(const Chosen &)> &make) {
  int64_t whole = std::max<int64_t>(0, budgetBytes - reserveBytes);
  // At first as if memory were free: where that fits nothing is quicker. Where
  // the account is far from it, no draft needs to say so.
  std::vector<int64_t> capacity(chooser.rankCount(), kUnlimited);
  std::optional<Chosen> previous;
  std::optional<Attempt> free;    // fits without waits
  std::optional<Attempt> waiting; // fits with waits, the first; or the nearest
  for (int drafts = 0; drafts < kMostDrafts && !free;) {
    Result<Chosen> chosen = chooser.choose(capacity);
    if (!chosen)
      return chosen.error();
    if (capacity.front() == kUnlimited && isFarBeyond(*chosen, whole)) {
      capacity.assign(capacity.size(), whole);
      continue;
    }
    // What needs least leaves nothing to choose again.
    if (previous && previous->isSameAs(*chosen))
      break;
    previous = *chosen;
    Result<Draft> draft = make(*chosen);
    if (!draft)
      return draft.error();
    ++drafts;
    Attempt attempt{std::move(*draft), std::move(*chosen)};
    correct(attempt, whole, capacity);
    if (largest(attempt.draft.bytesWithoutWaits) <= whole)
      free = std::move(attempt);
    else if (!waiting || (largest(waiting->draft.arenaBytes) > whole &&
                          largest(attempt.draft.arenaBytes) <
                              largest(waiting->draft.arenaBytes)))
      waiting = std::move(attempt);
  }
  if (!free)
    return finish(*waiting, reserveBytes);
  Result<PlanAnswer> answer = finish(*free, reserveBytes);
  // Waits may cost less than what it takes to do without.
  if (!answer || !waiting || largest(waiting->draft.arenaBytes) > whole ||
      free->chosen.stepNs - waiting->chosen.stepNs <
          waiting->chosen.stepNs / kWorthWaiting)
    return answer;
  Result<PlanAnswer> other = finish(*waiting, reserveBytes);
  return other && other->plan.prediction.stepNs < answer->plan.prediction.stepNs
             ? other
             : answer;
}

} // namespace moe::driver

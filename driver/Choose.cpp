//===- Choose.cpp - what the planner decides by itself --------------------===//

#include "driver/Choose.h"

#include "compiler/Schedule/Generators.h"
#include "compiler/Schedule/Holdings.h"
#include "support/Words.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <tuple>

namespace moe::driver {

namespace {

/// Buffers of transfers besides what layers keep: outputs and gradients on
/// their way out, gradients on their way in, an input that arrives early.
constexpr int64_t kTransferBuffers = 4;

/// Collects values of layers and writes them as choices: equal names of
/// consecutive layers become one.
class ChoiceText {
public:
  /// `lead`: behind the scope.
  void add(const std::string &block, const std::string &value,
           const std::string &lead = "") {
    constexpr std::string_view layers = "layers.";
    if (block.starts_with(layers))
      numbers[{value, lead}].insert(std::stoll(block.substr(layers.size())));
    else
      whole.push_back(value + lead);
  }

  std::string print() const {
    std::string text;
    auto append = [&](const std::string &item) {
      text += (text.empty() ? "" : ",") + item;
    };
    for (const auto &[each, layers] : numbers)
      for (auto first = layers.begin(); first != layers.end();) {
        auto last = first;
        while (std::next(last) != layers.end() && *std::next(last) == *last + 1)
          ++last;
        std::string item = each.first + "@layers." + std::to_string(*first);
        if (last != first)
          item += "-" + std::to_string(*last);
        append(item + each.second);
        first = std::next(last);
      }
    for (const std::string &value : whole)
      append(value);
    return text;
  }

private:
  /// By value and lead.
  std::map<std::pair<std::string, std::string>, std::set<int64_t>> numbers;
  std::vector<std::string> whole;
};

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

Result<std::vector<int64_t>> countsOf(const std::vector<int64_t> &layers,
                                      int64_t stages,
                                      const ModelOptions &options) {
  if (layers.empty()) {
    optimize::PartitionProblem even;
    for (const BlockOptions &kind : options.kinds)
      even.kinds.push_back(kind.figures);
    even.blocks = options.blocks;
    even.rankOf.assign(static_cast<size_t>(stages), 0);
    return optimize::uniformCounts(even);
  }
  // Blocks that are no layers go with the layer behind them, or the last.
  std::vector<int64_t> counts(static_cast<size_t>(stages), 0);
  if (layers.size() != counts.size())
    return Error{"--partition: " +
                 counted(static_cast<int64_t>(layers.size()), "stage") +
                 (layers.size() == 1 ? " is" : " are") + " given, there are " +
                 std::to_string(counts.size())};
  size_t stage = 0;
  int64_t left = layers.front();
  for (int64_t kind : options.blocks) {
    if (left == 0 && stage + 1 < counts.size())
      left = layers[++stage];
    left -= options.kinds[static_cast<size_t>(kind)].figures.isLayer;
    ++counts[stage];
  }
  return counts;
}

schedule::Costs costsOfCut(const std::vector<int64_t> &counts,
                           const schedule::ScheduleProblem &problem,
                           const ModelOptions &options, int64_t transferNs) {
  schedule::Costs costs;
  costs.transferNs = transferNs;
  std::vector<schedule::StageCosts> stages;
  size_t block = 0;
  for (int64_t count : counts) {
    schedule::StageCosts &stage = stages.emplace_back();
    for (int64_t b = 0; b < count; ++b, ++block) {
      const BlockOptions &kind =
          options.kinds[static_cast<size_t>(options.blocks[block])];
      stage.forwardNs += kind.figures.forwardNs;
      stage.inputGradNs += kind.last.inputGradNs;
      stage.weightGradNs += kind.last.weightGradNs;
      stage.savedBytes += kind.figures.options.front().keptBytes;
      stage.weightGradBytes += kind.weightGradBytes;
    }
    stage.savedBytes = std::max(stage.savedBytes, stage.weightGradBytes);
  }
  for (int64_t copy = 0; copy < problem.replicas(); ++copy)
    costs.stages.insert(costs.stages.end(), stages.begin(), stages.end());
  return costs;
}

Result<Chooser> Chooser::make(ModelOptions options,
                              const schedule::Schedule &order,
                              int64_t transferNs, Freedom freedom,
                              const Chooser *like) {
  const schedule::ScheduleProblem &steps = order.problem;
  if (like && like->freedom.techniques != freedom.techniques)
    like = nullptr;
  Chooser made(std::move(options), order, transferNs, std::move(freedom));
  made.fronts = std::make_unique<optimize::RankFronts>(like ? like->fronts.get()
                                                            : nullptr);
  made.exactFronts = std::make_unique<optimize::RankFronts>(
      like ? like->exactFronts.get() : nullptr);
  optimize::PartitionProblem &base = made.base;
  for (const BlockOptions &kind : made.costs.options.kinds) {
    optimize::BlockKind &figures = base.kinds.emplace_back(kind.figures);
    if (!made.costs.pairs.empty() && figures.isLayer)
      figures.backwardNs -= static_cast<int64_t>(
          made.costs.options.overlapShare *
          static_cast<double>(std::min(figures.forwardNs, figures.backwardNs)));
  }
  base.blocks = made.costs.options.blocks;
  // Of one copy of the model; the microbatches are shared by all.
  for (int64_t stage = 0; stage < steps.stagesPerReplica(); ++stage)
    base.rankOf.push_back(made.chooserOf(steps.rankOf(stage)));
  base.moments.resize(static_cast<size_t>(
      *std::max_element(base.rankOf.begin(), base.rankOf.end()) + 1));
  for (int64_t rank = 0; rank < steps.ranks; ++rank)
    made.addMoments(rank);
  base.otherBytes.assign(base.moments.size(),
                         steps.ranks > 1 ? kTransferBuffers *
                                               made.costs.options.boundaryBytes
                                         : 0);
  base.capacityBytes.assign(base.moments.size(), 0);
  base.microbatches = steps.microbatches / steps.replicas();
  base.pins = made.freedom.pins;
  base.hostBytesPerNs = made.costs.options.hostBytesPerNs;
  MOE_RETURN_IF_ERROR(base.check());
  if (Status sums = base.checkSums(); !sums)
    return Error{sums.error().message +
                 ": the model on this machine takes too much time or memory "
                 "to plan for; are all figures of --machine right?"};
  return made;
}

int64_t Chooser::chooserOf(int64_t rank) const {
  return costs.order.problem.replicas() == 1
             ? rank
             : std::min(rank, costs.order.problem.ranks - 1 - rank);
}

void Chooser::addMoments(int64_t rank) {
  const schedule::ScheduleProblem &steps = costs.order.problem;
  std::vector<optimize::RankMoment> &moments =
      base.moments[static_cast<size_t>(chooserOf(rank))];
  // Where a rank has its stages, by their places in their copies of the model.
  std::vector<std::pair<int64_t, size_t>> places;
  for (int64_t stage = 0; stage < steps.stages(); ++stage)
    if (steps.rankOf(stage) == rank)
      places.push_back({steps.positionOf(stage), places.size()});
  std::sort(places.begin(), places.end());
  std::vector<int64_t> placeOf(places.size());
  for (size_t place = 0; place < places.size(); ++place)
    placeOf[places[place].second] = static_cast<int64_t>(place);
  for (const schedule::Holding &holding :
       schedule::holdings(costs.order, rank)) {
    optimize::RankMoment &moment = moments.emplace_back();
    for (auto [position, stage] : places) {
      moment.held.push_back(holding.held[stage]);
      moment.pending.push_back(holding.pending[stage]);
    }
    moment.running = placeOf[static_cast<size_t>(holding.running)];
    moment.overlapped = holding.overlapped == -1
                            ? -1
                            : placeOf[static_cast<size_t>(holding.overlapped)];
  }
}

std::vector<int64_t>
Chooser::largestAlike(const std::vector<int64_t> &ofRanks) const {
  std::vector<int64_t> most(rankCount(), 0);
  for (size_t rank = 0; rank < ofRanks.size(); ++rank) {
    int64_t &bytes =
        most[static_cast<size_t>(chooserOf(static_cast<int64_t>(rank)))];
    bytes = std::max(bytes, ofRanks[rank]);
  }
  return most;
}

std::vector<int64_t> Chooser::evenCounts() const {
  const std::vector<int64_t> counts = optimize::uniformCounts(base);
  return freedom.partition && optimize::isLegal(base, counts)
             ? counts
             : std::vector<int64_t>();
}

Result<optimize::Partition>
Chooser::cut(const optimize::PartitionProblem &problem,
             optimize::Effort effort) const {
  if (freedom.partition) {
    std::optional<optimize::Partition> found =
        optimize::partition(problem, effort, frontsOf(effort));
    if (!found)
      return Error{"--pin: no partition has all of these layers where they are "
                   "pinned and a layer on every stage"};
    return std::move(*found);
  }
  Result<std::vector<int64_t>> counts =
      countsOf(freedom.layers, problem.stages(), costs.options);
  if (!counts)
    return counts.error();
  if (!optimize::isLegal(problem, *counts))
    return Error{freedom.pins.empty()
                     ? "--partition: the layers given do not add up to those "
                       "of the model, or leave a stage empty"
                     : "--pin: pinned layers are for --partition auto"};
  return optimize::evaluate(problem, *counts, effort, frontsOf(effort));
}

optimize::PartitionProblem Chooser::within(const Room &room,
                                           optimize::Effort effort) const {
  optimize::PartitionProblem problem = base;
  // What layers wait for the link depends on all of a stage: no search that
  // counts with that could be exhaustive.
  if (effort == optimize::Effort::exact)
    for (optimize::BlockKind &kind : problem.kinds)
      for (auto *options : {&kind.options, &kind.lastOptions})
        for (optimize::LayerOption &option : *options)
          option = optimize::amongAlike(option);
  problem.capacityBytes = room.device;
  problem.hostCapacityBytes = room.host;
  // With one stage a rank the objective is close to how long steps take.
  if (problem.stages() > problem.ranks() || effort != optimize::Effort::brief)
    problem.steps = stepTimes(costs);
  return problem;
}

Result<Chosen> Chooser::choose(const Room &room,
                               optimize::Effort effort) const {
  Result<optimize::Partition> found = cut(within(room, effort), effort);
  if (!found)
    return found.error();
  return tell(*found);
}

Result<Chosen> Chooser::choose(const Room &room,
                               const std::vector<int64_t> &counts,
                               optimize::Effort effort) const {
  return tell(optimize::evaluate(within(room, effort), counts, effort,
                                 frontsOf(effort)));
}

/// Of every layer the quickest option that keeps next to least: the last
/// percent of what can be given up is not worth what it takes.
static optimize::Choices leanest(const optimize::PolicyProblem &problem,
                                 bool usesHost) {
  optimize::Choices choices;
  for (const std::vector<int64_t> &stage : problem.stages) {
    std::vector<int64_t> &options = choices.emplace_back();
    for (int64_t kind : stage) {
      const auto &all = problem.kinds[static_cast<size_t>(kind)];
      std::vector<optimize::LayerOption> ways;
      std::vector<int64_t> numbers;
      for (size_t i = 0; i < all.size(); ++i)
        if (usesHost || all[i].hostBytes == 0) {
          ways.push_back(all[i]);
          numbers.push_back(static_cast<int64_t>(i));
        }
      auto [least, most] = std::minmax_element(
          ways.begin(), ways.end(),
          [](const optimize::LayerOption &a, const optimize::LayerOption &b) {
            return a.keptBytes < b.keptBytes;
          });
      int64_t enough =
          least->keptBytes + (most->keptBytes - least->keptBytes) / 100;
      auto best = least;
      for (auto way = ways.begin(); way != ways.end(); ++way)
        if (way->keptBytes <= enough && way->extraNs < best->extraNs)
          best = way;
      options.push_back(numbers[static_cast<size_t>(best - ways.begin())]);
    }
  }
  return choices;
}

Result<Chosen>
Chooser::lean(const std::vector<int64_t> &counts,
              const std::vector<std::optional<optimize::Choices>> &known,
              const std::vector<std::optional<int64_t>> &capacityBytes,
              const std::vector<int64_t> &hostBytes) const {
  std::vector<optimize::Choices> found;
  for (int64_t rank = 0; rank < base.ranks(); ++rank) {
    if (const auto &fitting = known[static_cast<size_t>(rank)]) {
      found.push_back(*fitting);
      continue;
    }
    optimize::PolicyProblem problem = optimize::rankProblem(base, counts, rank);
    problem.hostCapacityBytes = hostBytes[static_cast<size_t>(rank)];
    optimize::Choices choices = leanest(problem, true);
    if (optimize::evaluate(problem, choices).hostBytes >
        problem.hostCapacityBytes)
      choices = leanest(problem, false);
    if (std::optional<int64_t> capacity =
            capacityBytes[static_cast<size_t>(rank)]) {
      optimize::PolicyFront front(problem, optimize::Effort::fast);
      if (const auto *point = front.within(*capacity))
        choices = front.choices(*point);
    }
    found.push_back(std::move(choices));
  }
  return with(counts, std::move(found));
}

Result<Chosen> Chooser::with(const std::vector<int64_t> &counts,
                             std::vector<optimize::Choices> choices) const {
  optimize::Partition found;
  found.counts = counts;
  found.choices = std::move(choices);
  for (int64_t rank = 0; rank < base.ranks(); ++rank)
    found.peakBytes.push_back(
        optimize::evaluate(optimize::rankProblem(base, counts, rank),
                           found.choices[static_cast<size_t>(rank)])
            .peakBytes);
  return tell(found);
}

Result<Chosen> Chooser::tell(const optimize::Partition &found) const {
  Chosen chosen;
  chosen.counts = found.counts;
  chosen.choices = found.choices;
  chosen.excessBytes = found.excessBytes;
  chosen.isOptimal = found.isOptimal;
  std::vector<optimize::PolicyProblem> problems;
  for (int64_t rank = 0; rank < base.ranks(); ++rank) {
    auto r = static_cast<size_t>(rank);
    Chosen::Rank &made = chosen.ranks.emplace_back();
    problems.push_back(optimize::rankProblem(base, found.counts, rank));
    optimize::PolicyOutcome outcome =
        optimize::evaluate(problems.back(), found.choices[r]);
    made.extraNs = outcome.extraNs;
    made.hostBytes = outcome.hostBytes;
    made.peakBytes = found.peakBytes[r];
  }
  ChoiceText recompute, offload;
  chosen.stages = costs.stageCosts(found.counts);
  std::vector<int64_t> placeOnRank(found.choices.size(), 0);
  size_t block = 0;
  for (int64_t stage = 0; stage < base.stages(); ++stage) {
    auto s = static_cast<size_t>(stage);
    auto r = static_cast<size_t>(base.rankOf[s]);
    const int64_t place = placeOnRank[r]++;
    const std::vector<int64_t> &choices =
        found.choices[r][static_cast<size_t>(place)];
    schedule::StageCosts &work = chosen.stages[s];
    chosen.ranks[r].ns += work.forwardNs + work.inputGradNs + work.weightGradNs;
    const optimize::StageTimes longer =
        optimize::timesOf(problems[r], static_cast<size_t>(place), choices);
    work.forwardNs += longer.forwardNs;
    work.inputGradNs += longer.backwardNs - longer.weightGradNs;
    work.weightGradNs += longer.weightGradNs;
    int64_t layers = 0;
    for (int64_t b = 0; b < found.counts[s]; ++b, ++block) {
      const BlockOptions &kind =
          costs.options.kinds[static_cast<size_t>(costs.options.blocks[block])];
      auto option = static_cast<size_t>(choices[static_cast<size_t>(b)]);
      for (const std::string &value : kind.options[option].recomputed)
        recompute.add(costs.options.names[block], value);
      for (const BlockOption::Offloaded &each :
           kind.options[option].offloaded) {
        const std::string lead = each.isLate ? "@lead0" : "";
        if (!each.isInput)
          offload.add(costs.options.names[block], each.value, lead);
        else if (b > 0)
          offload.add(
              costs.options.names[block - 1],
              costs.options
                  .kinds[static_cast<size_t>(costs.options.blocks[block - 1])]
                  .output,
              lead);
        else
          for (int64_t copy = stage; copy < costs.order.problem.stages();
               copy += base.stages())
            offload.add("", "input@stage" + std::to_string(copy), lead);
      }
      const optimize::LayerOption &figures = kind.figures.options[option];
      chosen.ranks[r].movedBytes += figures.hostBytes;
      work.savedBytes += figures.keptBytes;
      work.weightGradBytes += figures.pendingBytes;
      layers += kind.figures.isLayer;
    }
    chosen.layers.push_back(layers);
    work.savedBytes = std::max(work.savedBytes, work.weightGradBytes);
  }
  chosen.recompute = recompute.print();
  chosen.offload = offload.print();
  Result<int64_t> step = stepNs(found.counts, chosen.stages);
  if (!step)
    return step.error();
  chosen.stepNs = *step;
  return chosen;
}

std::vector<int64_t>
Chooser::rankNs(const std::vector<schedule::StageCosts> &stages) const {
  std::vector<int64_t> sums(static_cast<size_t>(costs.order.problem.ranks), 0);
  for (size_t s = 0; s < stages.size(); ++s)
    sums[static_cast<size_t>(
        costs.order.problem.rankOf(static_cast<int64_t>(s)))] +=
        stages[s].forwardNs + stages[s].inputGradNs + stages[s].weightGradNs;
  return largestAlike(sums);
}

int64_t Chooser::leastNsOfAnyOrder() const {
  const schedule::ScheduleProblem &steps = costs.order.problem;
  int64_t most = 0;
  for (schedule::BlockWork BlockWorks::*stream :
       {&BlockWorks::compute, &BlockWorks::exchange}) {
    std::vector<schedule::BlockWork> works;
    for (int64_t kind : costs.options.blocks)
      works.push_back(costs.options.kinds[static_cast<size_t>(kind)].works.*
                      stream);
    most = std::max(most, schedule::leastNsOfAnyOrder(works, steps.ranks,
                                                      steps.microbatches,
                                                      steps.replicas()));
  }
  return most;
}

/// Of what a rank takes, how far from a quick bound it may be for that to tell
/// enough.
static constexpr int64_t kCloseEnough = 500;

int64_t Chooser::leastExtraNs(const optimize::PolicyProblem &choice,
                              int64_t capacityBytes, int64_t knownNs,
                              int64_t workNs) const {
  using optimize::Precision;
  const int64_t least =
      optimize::leastExtraNs(choice, capacityBytes, Precision::quick, knownNs);
  const bool isExact = freedom.effort == optimize::Effort::exact;
  if (knownNs - least <=
      workNs / (isExact ? optimize::kExactWithin : kCloseEnough))
    return std::max<int64_t>(0, least);
  return std::max({int64_t{0}, least,
                   optimize::leastExtraNs(choice, capacityBytes,
                                          Precision::fine, knownNs)});
}

optimize::StepBound
Chooser::bound(const Chosen &chosen,
               const std::vector<int64_t> &capacityBytes) const {
  BoundOf asked{chosen.counts, chosen.choices, capacityBytes, {}};
  if (!lastBound || !lastBound->isFor(asked)) {
    asked.bound = findBound(chosen, capacityBytes);
    lastBound = std::make_unique<BoundOf>(std::move(asked));
  }
  return lastBound->bound;
}

optimize::StepBound
Chooser::findBound(const Chosen &chosen,
                   const std::vector<int64_t> &capacityBytes) const {
  std::vector<optimize::LeastExtra> leastOfRanks;
  for (int64_t rank = 0; rank < base.ranks(); ++rank) {
    auto r = static_cast<size_t>(rank);
    const optimize::PolicyProblem choice =
        optimize::rankProblem(base, chosen.counts, rank);
    const Chosen::Rank &taken = chosen.ranks[r];
    optimize::StageTimes longer;
    for (size_t stage = 0; stage < choice.stages.size(); ++stage) {
      const optimize::StageTimes times =
          optimize::timesOf(choice, stage, chosen.choices[r][stage]);
      longer.backwardNs += times.backwardNs;
      longer.weightGradNs += times.weightGradNs;
    }
    optimize::LeastExtra &least = leastOfRanks.emplace_back();
    least.ns = leastExtraNs(choice, capacityBytes[r], taken.extraNs, taken.ns);
    const optimize::PolicyProblem backward = optimize::withoutLag(choice);
    least.backwardNs =
        leastExtraNs(backward, capacityBytes[r], longer.backwardNs, taken.ns);
    least.inputGradNs =
        optimize::hasWeightGrads(backward)
            ? leastExtraNs(optimize::withoutWeightGrads(backward),
                           capacityBytes[r],
                           longer.backwardNs - longer.weightGradNs, taken.ns)
            : least.backwardNs;
  }
  optimize::PartitionProblem problem = base;
  problem.capacityBytes = capacityBytes;
  problem.steps = stepTimes(costs);
  return optimize::leastStepNs(problem, chosen.counts, leastOfRanks,
                               freedom.partition);
}

} // namespace moe::driver

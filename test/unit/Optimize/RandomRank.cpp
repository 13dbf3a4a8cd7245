#include "RandomRank.h"

#include "compiler/Optimize/StreamWaits.h"
#include "compiler/Schedule/Schedule.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

namespace moe::test {
namespace {

using plan::Phase;

class StageBuilder {
public:
  StageBuilder(std::mt19937 &random, StageKind kind)
      : random(random), kind(kind) {}

  plan::Stage run() {
    auto behindResult = [](const plan::Program &program, bool hasResult) {
      return std::vector<plan::ValueIndex>(
          program.outputs.begin() + (hasResult ? 1 : 0), program.outputs.end());
    };
    plan::ValueIndex input = addValue("input", pick(2) == 0);
    std::vector<plan::ValueIndex> entering =
        behindResult(add(Phase::forward, {input}, true), true);
    if (!kind.isLast)
      entering.insert(entering.begin(), addValue("output_grad", false));
    add(Phase::backward, entering, !kind.isFirst);
    if (kind.isSplit)
      add(Phase::weight_grad,
          behindResult(add(Phase::backward_input, entering, !kind.isFirst),
                       !kind.isFirst),
          false);
    return std::move(stage);
  }

private:
  size_t pick(size_t count) { return random() % count; }

  plan::ValueIndex addValue(const std::string &name, bool kept) {
    plan::Value value;
    value.name = name;
    value.bytes = static_cast<int64_t>(1 + pick(8)) * plan::kAlignment;
    value.dtype = DType::i32;
    value.shape = {value.bytes / 4};
    value.placement = kept ? plan::Placement::slot : plan::Placement::fixed;
    stage.values.push_back(value);
    return static_cast<plan::ValueIndex>(stage.values.size()) - 1;
  }

  /// A program; forward and backward_input keep some values, and all inputs
  /// that are in a slot.
  const plan::Program &add(Phase phase, std::vector<plan::ValueIndex> inputs,
                           bool hasResult) {
    plan::Program program;
    program.phase = phase;
    program.inputs = inputs;
    std::vector<plan::ValueIndex> live = inputs;
    size_t count = 3 + pick(12);
    for (size_t i = 0; i < count; ++i) {
      plan::Op op;
      op.kind = "add";
      op.name = std::string(name(phase)) + ".op" + std::to_string(i);
      op.stream = pick(3) == 0 ? plan::Stream::expert_communication
                               : plan::Stream::compute;
      for (size_t k = pick(3); k > 0 && !live.empty(); --k)
        op.inputs.push_back(live[pick(live.size())]);
      if (i == 0 && !inputs.empty())
        op.inputs.push_back(inputs.front());
      for (size_t k = pick(3); k > 0; --k) {
        op.outputs.push_back(
            addValue(op.name + ":" + std::to_string(k), false));
        live.push_back(op.outputs.back());
      }
      if (pick(3) == 0)
        op.scratchBytes = static_cast<int64_t>(1 + pick(4)) * plan::kAlignment;
      program.ops.push_back(op);
    }
    plan::Op &last = program.ops.back();
    if (hasResult) {
      plan::ValueIndex result =
          addValue(std::string(name(phase)) + ".result", false);
      if (phase == Phase::forward && kind.isLast) { // the loss
        plan::Value &loss = stage.values[result];
        loss.dtype = DType::f32;
        loss.shape = {1};
        loss.bytes = plan::kAlignment;
      }
      last.outputs.push_back(result);
      program.outputs.push_back(result);
    }
    for (plan::ValueIndex value : live) {
      bool isInput = std::count(inputs.begin(), inputs.end(), value) > 0;
      bool inSlot = stage.values[value].placement == plan::Placement::slot;
      bool isKept = false;
      if (phase == Phase::forward)
        isKept = isInput ? inSlot : pick(3) == 0;
      else if (phase == Phase::backward_input)
        isKept = (!isInput || inSlot) && pick(3) == 0;
      if (!isKept)
        continue;
      stage.values[value].placement = plan::Placement::slot;
      program.outputs.push_back(value);
    }
    // All else is released behind its last use, some of it later.
    for (plan::ValueIndex value : live) {
      if (std::count(program.outputs.begin(), program.outputs.end(), value))
        continue;
      size_t lastUse = 0;
      for (size_t i = 0; i < count; ++i)
        for (const auto *list :
             {&program.ops[i].inputs, &program.ops[i].outputs})
          if (std::count(list->begin(), list->end(), value))
            lastUse = i;
      size_t at = std::min(count - 1, lastUse + (pick(3) == 0 ? pick(3) : 0));
      program.ops[at].releases.push_back(value);
    }
    optimize::setDataWaits(stage, program);
    stage.programs.push_back(std::move(program));
    return stage.programs.back();
  }

  std::mt19937 &random;
  StageKind kind;
  plan::Stage stage;
};

const plan::Program &programOf(const plan::Stage &stage, Phase phase) {
  for (const plan::Program &program : stage.programs)
    if (program.phase == phase)
      return program;
  ADD_FAILURE() << "no program " << name(phase);
  return stage.programs.front();
}

/// Actions of one rank in a random legal order, some of them in pairs.
schedule::Schedule randomSchedule(std::mt19937 &random,
                                  const std::vector<bool> &isSplit) {
  auto stages = static_cast<int64_t>(isSplit.size());
  schedule::Schedule made;
  made.problem.placement = schedule::Placement::v;
  made.problem.stagesPerRank = stages;
  made.problem.microbatches = static_cast<int64_t>(2 + random() % 4);
  std::vector<schedule::Action> actions;
  // Per stage, how many microbatches have gone forward, backward, and their
  // weight gradients.
  std::vector<std::array<int64_t, 3>> done(isSplit.size());
  std::vector<std::vector<bool>> halves(isSplit.size());
  for (size_t s = 0; s < isSplit.size(); ++s)
    for (int64_t m = 0; m < made.problem.microbatches; ++m)
      halves[s].push_back(isSplit[s] && random() % 2 == 0);
  // The first and the second microbatch show both ways.
  for (size_t s = 0; s < isSplit.size(); ++s) {
    halves[s][0] = false;
    halves[s][1] = isSplit[s];
  }
  while (true) {
    std::vector<schedule::Action> ready;
    for (int64_t s = 0; s < stages; ++s) {
      auto [forward, backward, weights] = done[s];
      if (forward < made.problem.microbatches &&
          (s == 0 || done[s - 1][0] > forward))
        ready.push_back({Phase::forward, s, forward});
      if (backward < forward && (s + 1 == stages || done[s + 1][1] > backward))
        ready.push_back(
            {halves[s][backward] ? Phase::backward_input : Phase::backward, s,
             backward});
      while (weights < backward && !halves[s][weights])
        ++weights;
      done[s][2] = weights;
      if (weights < backward)
        ready.push_back({Phase::weight_grad, s, weights});
    }
    if (ready.empty())
      break;
    schedule::Action next = ready[random() % ready.size()];
    actions.push_back(next);
    ++done[next.stage][next.phase == Phase::forward       ? 0
                       : next.phase == Phase::weight_grad ? 2
                                                          : 1];
  }
  for (size_t i = 0; i + 1 < actions.size(); ++i) {
    const schedule::Action &first = actions[i], &second = actions[i + 1];
    bool handsOver = first.microbatch == second.microbatch;
    if (first.phase == Phase::forward && !handsOver &&
        (second.phase == Phase::backward ||
         second.phase == Phase::backward_input) &&
        random() % 4 != 0)
      actions[i++].overlapsNext = true;
  }
  made.ranks = {actions};
  Status legal = schedule::verify(made);
  EXPECT_TRUE(legal.ok()) << legal.error().message;
  return made;
}

} // namespace

plan::Stage randomStage(std::mt19937 &random, StageKind kind) {
  return StageBuilder(random, kind).run();
}

std::vector<int64_t> randomOrder(std::mt19937 &random, size_t first,
                                 size_t second) {
  std::vector<int64_t> order;
  while (first + second > 0) {
    bool takeFirst = random() % (first + second) < first;
    order.push_back(takeFirst ? 0 : 1);
    --(takeFirst ? first : second);
  }
  return order;
}

plan::Plan randomRank(std::mt19937 &random) {
  plan::Plan plan;
  plan.schedule = "random";
  std::vector<bool> isSplit(2 + random() % 2);
  for (size_t s = 0; s < isSplit.size(); ++s) {
    isSplit[s] = random() % 2 == 0;
    plan.stages.push_back(
        randomStage(random, {isSplit[s], s == 0, s + 1 == isSplit.size()}));
    plan.stages.back().name = "s" + std::to_string(s);
  }
  plan.stages.front().values[0].name = "tokens";

  // Not every order can be executed with the send buffers that stages have.
  schedule::Schedule order;
  schedule::StepSchedule steps;
  do {
    order = randomSchedule(random, isSplit);
    order.problem.labelRoles.clear();
    steps = schedule::insertTransfers(order);
  } while (!schedule::verify(steps).ok());
  plan.layout.microbatches = order.problem.microbatches;
  plan::Rank &rank = plan.ranks.emplace_back();
  for (size_t s = 0; s < plan.stages.size(); ++s)
    rank.stages.push_back(static_cast<int64_t>(s));
  std::set<std::pair<int64_t, int64_t>> halves;
  for (const schedule::Action &action : order.ranks[0])
    if (action.phase == Phase::backward_input)
      halves.insert({action.stage, action.microbatch});
  std::map<std::array<int64_t, 4>, int64_t> overlaps;
  for (size_t i = 0; i < steps.ranks[0].size(); ++i) {
    const schedule::Step &step = steps.ranks[0][i];
    plan::Step each;
    each.kind = step.kind;
    each.stage = step.stage;
    each.microbatch = step.microbatch;
    each.phase = step.phase;
    each.peer = step.peer;
    each.role = step.role;
    if (plan::hasValue(step.kind)) {
      Phase backward = halves.contains({step.stage, step.microbatch})
                           ? Phase::backward_input
                           : Phase::backward;
      const plan::Program &program =
          programOf(plan.stages[step.stage],
                    step.phase == Phase::forward ? Phase::forward : backward);
      bool isInput = step.kind == plan::StepKind::load ||
                     step.kind == plan::StepKind::receive;
      each.value = (isInput ? program.inputs : program.outputs).front();
    }
    if (step.kind == plan::StepKind::overlap) {
      std::array<int64_t, 4> key = {
          step.stage, static_cast<int64_t>(step.phase), step.second.stage,
          static_cast<int64_t>(step.second.phase)};
      auto [known, isNew] =
          overlaps.insert({key, static_cast<int64_t>(rank.overlaps.size())});
      if (isNew) {
        plan::Overlap overlap;
        overlap.members = {
            {{step.stage, step.phase}, {step.second.stage, step.second.phase}}};
        overlap.order = randomOrder(
            random, programOf(plan.stages[step.stage], step.phase).ops.size(),
            programOf(plan.stages[step.second.stage], step.second.phase)
                .ops.size());
        overlap.live.resize(overlap.order.size());
        rank.overlaps.push_back(overlap);
      }
      each.overlap = known->second;
      each.secondMicrobatch = step.second.microbatch;
    }
    rank.steps.push_back(each);
  }
  return plan;
}

std::vector<int64_t> beginsOfSteps(const plan::Rank &rank,
                                   const optimize::Contexts &contexts) {
  std::vector<int64_t> begins = {0};
  for (const plan::Step &step : rank.steps) {
    int64_t length = step.stage == -1 ? 0 : 1;
    if (plan::isExecution(step.kind))
      length = contexts.all()[contexts.indexOf(step)].length();
    begins.push_back(begins.back() + length);
  }
  return begins;
}

int64_t pick(std::mt19937 &random, int64_t least, int64_t most) {
  return std::uniform_int_distribution<int64_t>(least, most)(random);
}

} // namespace moe::test

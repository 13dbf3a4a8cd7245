//===- RandomPlan.cpp - valid plans for property tests --------------------===//

#include "RandomPlan.h"

#include "NaiveAccount.h"
#include "RandomStages.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <set>
#include <tuple>

namespace moe::plan {
namespace {

/// Where stages lie: in a loop, in a V, or as two copies in opposite
/// directions.
Outline drawOutline(Dice &dice) {
  Outline outline;
  outline.microbatches = 1 + dice.draw(4);
  outline.isForwardOnly = dice.draw(8) == 0;
  int64_t shape = dice.draw(4);
  if (shape == 3) {
    outline.ranks = 2;
    outline.replicas = 2;
    outline.depth = 2;
    outline.microbatches = 2 + 2 * dice.draw(2);
    outline.rankOf = {0, 1, 1, 0};
    return outline;
  }
  outline.ranks = 1 + dice.draw(3);
  outline.depth = outline.ranks * (1 + dice.draw(3));
  for (int64_t s = 0; s < outline.depth; ++s) {
    int64_t at = s % outline.ranks;
    bool isUpward = shape == 2 && s / outline.ranks % 2 == 1;
    outline.rankOf.push_back(isUpward ? outline.ranks - 1 - at : at);
  }
  return outline;
}

void drawHeader(Plan &plan, const Outline &outline, Dice &dice) {
  plan.generator = "random " + dice.drawText();
  plan.model = {"m" + dice.drawText(),
                dice.drawText(),
                {"hidden=8"},
                dice.draw(10),
                dice.draw(100),
                dice.draw(100),
                (int64_t(1) << 53) - dice.draw(5),
                dice.draw(1000)};
  plan.machine.name = dice.drawText();
  plan.machine.memoryBytes = dice.draw(1 << 30);
  plan.machine.reserveBytes = 1000 + dice.draw(1 << 20);
  plan.machine.flopsPerSecond = std::abs(dice.drawReal());
  plan.machine.linkLatencyNs = dice.draw(10000);
  plan.machine.linkBytesPerSecond = std::abs(dice.drawReal());
  plan.machine.localBytesPerSecond = dice.chance() ? 0 : 1e12;
  plan.layout.pipeline = outline.ranks;
  plan.layout.microbatches = outline.microbatches;
  plan.layout.expert = 1 + dice.draw(8);
  plan.schedule = "s" + dice.drawText();
  plan.dtype = dice.chance() ? DType::bf16 : DType::f32;
  plan.capacityFactor = std::abs(dice.drawReal());
  plan.imbalance = std::abs(dice.drawReal());
  for (int64_t i = dice.draw(3); i > 0; --i)
    plan.assumptions.push_back(
        {"a" + dice.drawText(), dice.drawText(), dice.drawText()});
  for (int64_t i = dice.draw(3); i > 0; --i)
    plan.decisions.push_back({0, 0, static_cast<Action>(dice.draw(3)),
                              dice.draw(1 << 20) - (1 << 19), dice.draw(1000),
                              dice.drawText()});
  plan.prediction.stepNs = dice.draw(int64_t(1) << 31);
  plan.prediction.bubble = static_cast<double>(dice.draw(1000)) / 1000;
  plan.prediction.modelFlops = std::abs(dice.drawReal());
  plan.prediction.modelFlopsUtilization = std::abs(dice.drawReal());
  plan.ranks.resize(outline.ranks);
  for (int64_t r = 0; r < outline.ranks; ++r)
    plan.ranks[r].rank = r;
}

/// Puts the steps of all ranks into one order in which they can be executed one
/// by one; each rank keeps its own.
class Scheduler {
public:
  Scheduler(Plan &plan, const Outline &outline, const std::vector<Ports> &ports,
            Dice &dice)
      : plan(plan), outline(outline), ports(ports), dice(dice) {}

  /// Whether all is done: in rare cases full send buffers keep ranks from
  /// getting on.
  bool run() {
    drawActions();
    while (!left.empty()) {
      std::vector<size_t> ready;
      for (size_t i = 0; i < left.size(); ++i)
        if (isReady(left[i]))
          ready.push_back(i);
      if (ready.empty())
        return false;
      execute(ready[dice.draw(ready.size())]);
    }
    for (Pending &send : pending)
      addWaitSend(send);
    for (Rank &rank : plan.ranks) {
      postEarly(rank);
      if (!outline.isForwardOnly)
        for (StepKind kind : {StepKind::reduce_gradients, StepKind::update}) {
          rank.steps.emplace_back();
          rank.steps.back().kind = kind;
        }
    }
    return true;
  }

private:
  struct Action {
    int64_t stage;
    Phase phase;
    int64_t microbatch;
    bool operator==(const Action &) const = default;
  };
  /// What is under way to a stage: input of its forward or backward.
  struct Message {
    int64_t stage;
    bool isForward;
    int64_t microbatch;
    bool operator==(const Message &) const = default;
  };
  struct Pending {
    Step send;
    Message message;
    bool isTaken;
  };

  int64_t rankOf(int64_t stage) const { return outline.rankOf[stage]; }

  void drawActions() {
    std::vector<int64_t> seen(outline.stages()); // microbatches of a stage
    for (int64_t m = 0; m < outline.microbatches; ++m)
      for (int64_t s = 0; s < outline.stages(); ++s) {
        if (s / outline.depth != outline.replicaOf(m))
          continue;
        left.push_back({s, Phase::forward, m});
        bool hasWhole = false, hasHalf = false;
        for (const Program &program : plan.stages[s].programs) {
          hasWhole |= program.phase == Phase::backward;
          hasHalf |= program.phase == Phase::backward_input;
        }
        int64_t number = seen[s]++; // the first two: one of each
        if (hasWhole &&
            (!hasHalf || number == 0 || (number > 1 && dice.chance()))) {
          left.push_back({s, Phase::backward, m});
        } else if (hasHalf) {
          left.push_back({s, Phase::backward_input, m});
          left.push_back({s, Phase::weight_grad, m});
        }
      }
  }

  ValueIndex outputOf(const Action &action) const {
    const Ports &port = ports[action.stage];
    switch (action.phase) {
    case Phase::forward:
      return port.out;
    case Phase::backward:
      return port.gradientOut;
    case Phase::backward_input:
      return port.gradientOutOfHalf;
    case Phase::weight_grad:
      break;
    }
    return -1;
  }

  bool isFixed(int64_t stage, ValueIndex value) const {
    return plan.stages[stage].values[value].placement == Placement::fixed;
  }

  /// The rank that the input of an action comes from; -1: none.
  int64_t senderOf(const Action &action) const {
    if (action.phase == Phase::weight_grad)
      return -1;
    bool isForward = action.phase == Phase::forward;
    if (isForward ? outline.isFirst(action.stage)
                  : outline.isLast(action.stage))
      return -1;
    return rankOf(action.stage + (isForward ? -1 : 1));
  }

  static Message inputOf(const Action &action) {
    return {action.stage, action.phase == Phase::forward, action.microbatch};
  }

  bool isReady(const Action &action) {
    auto isDone = [&](Phase phase) {
      return done.count({action.stage, phase, action.microbatch}) > 0;
    };
    if (action.phase == Phase::weight_grad
            ? !isDone(Phase::backward_input)
            : action.phase != Phase::forward && !isDone(Phase::forward))
      return false;
    if (int64_t sender = senderOf(action); sender != -1) {
      auto &channel = channels[{sender, rankOf(action.stage)}];
      if (channel.empty() || !(channel.front() == inputOf(action)))
        return false;
    }
    ValueIndex output = outputOf(action);
    for (const Pending &send : pending)
      if (send.send.stage == action.stage && send.send.value == output &&
          isFixed(action.stage, output) && !send.isTaken)
        return false;
    return true;
  }

  Step &addStep(StepKind kind, const Action &action) {
    std::vector<Step> &steps = plan.ranks[rankOf(action.stage)].steps;
    steps.emplace_back();
    Step &step = steps.back();
    step.kind = kind;
    step.stage = action.stage;
    step.microbatch = action.microbatch;
    step.slot = action.microbatch; // as many slots as microbatches
    step.phase = isExecution(kind) || action.phase == Phase::forward
                     ? action.phase
                     : Phase::backward;
    return step;
  }

  void addWaitSend(const Pending &send) {
    Step step = send.send;
    step.kind = StepKind::wait_send;
    plan.ranks[rankOf(step.stage)].steps.push_back(step);
  }

  void addInputs(const Action &action) {
    const Ports &port = ports[action.stage];
    int64_t sender = senderOf(action);
    bool isForward = action.phase == Phase::forward;
    if (sender != -1) {
      channels[{sender, rankOf(action.stage)}].pop_front();
      for (Pending &send : pending)
        send.isTaken |= send.message == inputOf(action);
      Step &step = addStep(StepKind::receive, action);
      step.value = isForward ? port.in : port.gradientIn;
      step.peer = sender;
    }
    for (auto [value, role] :
         {std::pair{port.tokens, "tokens"}, std::pair{port.labels, "labels"}})
      if (isForward && value != -1) {
        Step &step = addStep(StepKind::load, action);
        step.value = value;
        step.role = role;
      }
  }

  /// Waits for sends whose buffer is needed, and for some others.
  void addWaitSends(const std::vector<Action> &actions) {
    std::vector<Pending> others;
    for (const Pending &send : pending) {
      bool isNeeded = false;
      for (const Action &action : actions)
        isNeeded |= send.send.stage == action.stage &&
                    send.send.value == outputOf(action) &&
                    isFixed(action.stage, send.send.value);
      bool isHere = rankOf(send.send.stage) == rankOf(actions[0].stage);
      if (isNeeded || (isHere && send.isTaken && dice.draw(3) == 0))
        addWaitSend(send);
      else
        others.push_back(send);
    }
    pending = others;
  }

  void addOutputs(const Action &action) {
    done.insert({action.stage, action.phase, action.microbatch});
    const Ports &port = ports[action.stage];
    bool isForward = action.phase == Phase::forward;
    if (isForward && port.loss != -1)
      addStep(StepKind::collect_loss, action).value = port.loss;
    if (ValueIndex output = outputOf(action); output != -1) {
      int64_t receiver = action.stage + (isForward ? 1 : -1);
      Step &step = addStep(StepKind::send, action);
      step.value = output;
      step.peer = rankOf(receiver);
      Message message{receiver, isForward, action.microbatch};
      pending.push_back({step, message, false});
      channels[{rankOf(action.stage), step.peer}].push_back(message);
    }
  }

  void execute(size_t index) {
    Action first = left[index];
    left.erase(left.begin() + index);
    std::vector<Action> actions = {first};
    addInputs(first);
    // The other end of the pair, when it can begin at the same time.
    Rank &rank = plan.ranks[rankOf(first.stage)];
    int64_t overlap = -1;
    for (size_t o = 0; o < rank.overlaps.size() && actions.size() == 1; ++o)
      for (size_t m = 0; m < 2 && actions.size() == 1; ++m) {
        const Overlap::Member &here = rank.overlaps[o].members[m];
        const Overlap::Member &other = rank.overlaps[o].members[1 - m];
        if (here.stage != first.stage || here.phase != first.phase)
          continue;
        for (size_t i = 0; i < left.size() && actions.size() == 1; ++i)
          if (left[i].stage == other.stage && left[i].phase == other.phase &&
              isReady(left[i])) {
            Action second = left[i];
            left.erase(left.begin() + i);
            addInputs(second);
            actions.insert(m == 0 ? actions.end() : actions.begin(), second);
            overlap = static_cast<int64_t>(o);
          }
      }
    addWaitSends(actions);
    if (overlap == -1) {
      addStep(StepKind::run, first);
    } else {
      Step &step = addStep(StepKind::overlap, actions[0]);
      step.overlap = overlap;
      step.secondMicrobatch = step.secondSlot = actions[1].microbatch;
    }
    for (const Action &action : actions)
      addOutputs(action);
  }

  /// Posts some receives before the rank has use for them.
  void postEarly(Rank &rank) {
    for (size_t i = 0; i < rank.steps.size(); ++i) {
      Step step = rank.steps[i];
      if (step.kind != StepKind::receive || isFixed(step.stage, step.value))
        continue;
      size_t to = i;
      while (to > 0 && dice.draw(3) != 0 &&
             !(rank.steps[to - 1].kind == StepKind::receive &&
               rank.steps[to - 1].peer == step.peer))
        --to;
      rank.steps.erase(rank.steps.begin() + i);
      rank.steps.insert(rank.steps.begin() + to, step);
    }
  }

  Plan &plan;
  const Outline &outline;
  const std::vector<Ports> &ports;
  Dice &dice;
  std::vector<Action> left;
  std::set<std::tuple<int64_t, Phase, int64_t>> done;
  std::map<std::pair<int64_t, int64_t>, std::deque<Message>> channels;
  std::vector<Pending> pending;
};

} // namespace

Plan makeRandomPlan(unsigned seed) {
  for (unsigned attempt = 0;; ++attempt) {
    Dice dice(seed + attempt * 1000003u);
    Plan plan;
    Outline outline = drawOutline(dice);
    drawHeader(plan, outline, dice);
    std::vector<Ports> ports = makeRandomStages(plan, outline, dice);
    placeRandomStages(plan, ports, dice);
    addRandomWaits(plan, dice);
    if (!Scheduler(plan, outline, ports, dice).run())
      continue;
    claimNaively(plan);
    for (Rank &rank : plan.ranks) {
      rank.reduceGradientsNs = dice.draw(1000);
      rank.updateNs = dice.draw(1000);
      rank.exposedCommunicationNs = dice.draw(rank.busyNs + 1);
    }
    plan.prediction.fits = dice.chance();
    int64_t largest = 0;
    for (const Rank &rank : plan.ranks)
      largest = std::max(largest, rank.arenaBytes);
    plan.machine.budgetBytes = plan.machine.reserveBytes + largest -
                               (plan.prediction.fits ? 0 : 1 + dice.draw(1000));
    return plan;
  }
}

} // namespace moe::plan

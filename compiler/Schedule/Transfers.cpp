// From the order of actions to the full list of steps.
#include "compiler/Schedule/Schedule.h"

#include <optional>
#include <set>

namespace moe::schedule {

using plan::StepKind;

std::string describe(const Step &step) {
  std::string text;
  switch (step.kind) {
  case StepKind::load:
    text = "load " + step.role + " of";
    break;
  case StepKind::receive:
    text = "receive " + std::string(name(step.phase)) + " of";
    break;
  case StepKind::run:
    text = "run " + std::string(name(step.phase)) + " of";
    break;
  case StepKind::send:
    text = "send " + std::string(name(step.phase)) + " of";
    break;
  case StepKind::wait_send:
    text = "wait_send " + std::string(name(step.phase)) + " of";
    break;
  case StepKind::collect_loss:
    text = "collect_loss of";
    break;
  case StepKind::reduce_gradients:
    return "reduce_gradients";
  case StepKind::update:
    return "update";
  }
  text += " stage " + std::to_string(step.stage) + ", microbatch " +
          std::to_string(step.microbatch);
  if (step.kind == StepKind::receive)
    text += ", from rank " + std::to_string(step.peer);
  if (step.kind == StepKind::send || step.kind == StepKind::wait_send)
    text += ", to rank " + std::to_string(step.peer);
  return text;
}

namespace {

/// Writes the steps of one rank.
class RankWriter {
public:
  RankWriter(const ScheduleProblem &problem, std::vector<Step> &steps)
      : problem(problem), steps(steps),
        pending(static_cast<size_t>(2 * problem.stages())) {}

  void action(const Action &action) {
    bool forward = action.phase == Phase::forward;
    if (forward)
      beforeForward(action);
    else if (action.phase != Phase::weight_grad &&
             !problem.isLast(action.stage))
      receive(Phase::backward, action, problem.rankOf(action.stage + 1));
    if (action.phase != Phase::weight_grad)
      waitForBuffer(action.stage, forward);
    steps.push_back(
        {StepKind::run, action.phase, action.stage, action.microbatch, -1, {}});
    if (forward)
      afterForward(action);
    else if (action.phase != Phase::weight_grad &&
             !problem.isFirst(action.stage))
      send(Phase::backward, action, problem.rankOf(action.stage - 1));
  }

  void finish() {
    // Oldest first: the order in which the peers take the messages.
    for (size_t index : order)
      if (pending[index])
        steps.push_back(*pending[index]);
    steps.push_back(
        {StepKind::reduce_gradients, Phase::forward, -1, -1, -1, {}});
    steps.push_back({StepKind::update, Phase::forward, -1, -1, -1, {}});
  }

private:
  void beforeForward(const Action &action) {
    if (problem.isFirst(action.stage))
      steps.push_back({StepKind::load, Phase::forward, action.stage,
                       action.microbatch, -1, "tokens"});
    else
      receive(Phase::forward, action, problem.rankOf(action.stage - 1));
    if (problem.isLast(action.stage))
      for (const std::string &role : problem.labelRoles)
        steps.push_back({StepKind::load, Phase::forward, action.stage,
                         action.microbatch, -1, role});
  }

  void afterForward(const Action &action) {
    if (problem.isLast(action.stage))
      steps.push_back({StepKind::collect_loss,
                       Phase::forward,
                       action.stage,
                       action.microbatch,
                       -1,
                       {}});
    else
      send(Phase::forward, action, problem.rankOf(action.stage + 1));
  }

  void receive(Phase phase, const Action &action, int64_t peer) {
    steps.push_back(
        {StepKind::receive, phase, action.stage, action.microbatch, peer, {}});
  }

  void send(Phase phase, const Action &action, int64_t peer) {
    Step step{StepKind::send, phase, action.stage, action.microbatch, peer, {}};
    steps.push_back(step);
    step.kind = StepKind::wait_send;
    size_t index = bufferOf(action.stage, phase == Phase::forward);
    pending[index] = step;
    std::erase(order, index);
    order.push_back(index);
  }

  void waitForBuffer(int64_t stage, bool forward) {
    std::optional<Step> &wait = pending[bufferOf(stage, forward)];
    if (wait)
      steps.push_back(*wait);
    wait.reset();
  }

  static size_t bufferOf(int64_t stage, bool forward) {
    return static_cast<size_t>(2 * stage + (forward ? 0 : 1));
  }

  const ScheduleProblem &problem;
  std::vector<Step> &steps;
  /// Per send buffer: the wait that empties it, while it is full.
  std::vector<std::optional<Step>> pending;
  std::vector<size_t> order; ///< buffers by the time of their last send
};

} // namespace

StepSchedule insertTransfers(const Schedule &schedule) {
  StepSchedule result{schedule.problem, {}};
  result.ranks.resize(schedule.ranks.size());
  for (size_t rank = 0; rank < schedule.ranks.size(); ++rank) {
    RankWriter writer(schedule.problem, result.ranks[rank]);
    for (const Action &action : schedule.ranks[rank])
      writer.action(action);
    writer.finish();
  }
  return result;
}

SlotAssignment assignSlots(const StepSchedule &schedule) {
  const ScheduleProblem &problem = schedule.problem;
  auto key = [&](const Step &step) {
    return static_cast<size_t>(step.stage * problem.microbatches +
                               step.microbatch);
  };
  size_t keys = static_cast<size_t>(problem.stages() * problem.microbatches);
  SlotAssignment assignment;
  assignment.slotCounts.assign(static_cast<size_t>(problem.stages()), 0);
  std::vector<std::set<int64_t>> free(static_cast<size_t>(problem.stages()));
  std::vector<int64_t> slotOf(keys, -1);
  for (const std::vector<Step> &steps : schedule.ranks) {
    std::vector<size_t> lastRun(keys, 0);
    for (size_t i = 0; i < steps.size(); ++i)
      if (steps[i].kind == StepKind::run)
        lastRun[key(steps[i])] = i;
    std::vector<int64_t> &slots = assignment.slots.emplace_back();
    slots.reserve(steps.size());
    for (size_t i = 0; i < steps.size(); ++i) {
      const Step &step = steps[i];
      if (step.stage < 0) {
        slots.push_back(-1);
        continue;
      }
      auto stage = static_cast<size_t>(step.stage);
      int64_t &slot = slotOf[key(step)];
      if (slot < 0) {
        if (free[stage].empty())
          free[stage].insert(assignment.slotCounts[stage]++);
        slot = *free[stage].begin();
        free[stage].erase(free[stage].begin());
      }
      slots.push_back(slot);
      if (step.kind == StepKind::run && lastRun[key(step)] == i)
        free[stage].insert(slot);
    }
  }
  return assignment;
}

} // namespace moe::schedule

// Names of steps, and the slots that microbatches use.
#include "compiler/Schedule/Schedule.h"

#include <set>

namespace moe::schedule {

using plan::StepKind;

std::string describe(const Action &action) {
  return std::string(name(action.phase)) + " of stage " +
         std::to_string(action.stage) + ", microbatch " +
         std::to_string(action.microbatch);
}

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
  case StepKind::overlap:
    text = "overlap " + describe(step.second) + ", with " +
           std::string(name(step.phase)) + " of";
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

/// Hands out the slots of all stages while the steps of a rank go by.
class Slots {
public:
  Slots(const StepSchedule &schedule, SlotAssignment &assignment)
      : problem(schedule.problem), assignment(assignment),
        free(static_cast<size_t>(problem.stages())),
        slotOf(static_cast<size_t>(problem.stages() * problem.microbatches),
               -1) {}

  void rank(const std::vector<Step> &steps) {
    std::vector<size_t> lastRun(slotOf.size(), 0);
    for (size_t i = 0; i < steps.size(); ++i)
      if (plan::isExecution(steps[i].kind)) {
        lastRun[key(steps[i].stage, steps[i].microbatch)] = i;
        if (steps[i].kind == StepKind::overlap)
          lastRun[key(steps[i].second.stage, steps[i].second.microbatch)] = i;
      }
    std::vector<int64_t> &slots = assignment.slots.emplace_back();
    std::vector<int64_t> &seconds = assignment.secondSlots.emplace_back();
    slots.reserve(steps.size());
    seconds.reserve(steps.size());
    for (size_t i = 0; i < steps.size(); ++i) {
      const Step &step = steps[i];
      bool pair = step.kind == StepKind::overlap;
      slots.push_back(step.stage < 0 ? -1 : take(step.stage, step.microbatch));
      seconds.push_back(pair ? take(step.second.stage, step.second.microbatch)
                             : -1);
      if (!plan::isExecution(step.kind))
        continue;
      if (lastRun[key(step.stage, step.microbatch)] == i)
        release(step.stage, slots.back());
      if (pair && lastRun[key(step.second.stage, step.second.microbatch)] == i)
        release(step.second.stage, seconds.back());
    }
  }

private:
  size_t key(int64_t stage, int64_t microbatch) const {
    return static_cast<size_t>(stage * problem.microbatches + microbatch);
  }

  int64_t take(int64_t stage, int64_t microbatch) {
    std::set<int64_t> &unused = free[static_cast<size_t>(stage)];
    int64_t &slot = slotOf[key(stage, microbatch)];
    if (slot < 0) {
      if (unused.empty())
        unused.insert(assignment.slotCounts[static_cast<size_t>(stage)]++);
      slot = *unused.begin();
      unused.erase(unused.begin());
    }
    return slot;
  }

  void release(int64_t stage, int64_t slot) {
    free[static_cast<size_t>(stage)].insert(slot);
  }

  const ScheduleProblem &problem;
  SlotAssignment &assignment;
  std::vector<std::set<int64_t>> free; ///< by stage
  std::vector<int64_t> slotOf;         ///< by stage, then microbatch
};

} // namespace

SlotAssignment assignSlots(const StepSchedule &schedule) {
  SlotAssignment assignment;
  assignment.slotCounts.assign(static_cast<size_t>(schedule.problem.stages()),
                               0);
  Slots slots(schedule, assignment);
  for (const std::vector<Step> &steps : schedule.ranks)
    slots.rank(steps);
  return assignment;
}

} // namespace moe::schedule

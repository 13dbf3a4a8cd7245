// Legality of the order of actions.
#include "compiler/Schedule/Progress.h"
#include "compiler/Schedule/Schedule.h"

namespace moe::schedule {

namespace {

/// What has run of one stage and microbatch.
struct Done {
  bool forward = false, backward = false, input = false, weight = false;
  bool anyBackward() const { return backward || input; }
  bool hasGradients() const { return backward || (input && weight); }
};

class Checker {
public:
  explicit Checker(const Schedule &schedule)
      : schedule(schedule), problem(schedule.problem) {}

  Status run() {
    MOE_RETURN_IF_ERROR(problem.check());
    if (schedule.ranks.size() != static_cast<size_t>(problem.ranks))
      return Error{"schedule: has " + std::to_string(schedule.ranks.size()) +
                   " ranks, the problem " + std::to_string(problem.ranks)};
    done.assign(static_cast<size_t>(problem.stages() * problem.microbatches),
                {});
    newestInput.assign(static_cast<size_t>(problem.stages()), -1);
    newestWeight.assign(static_cast<size_t>(problem.stages()), -1);
    for (int64_t rank = 0; rank < problem.ranks; ++rank)
      MOE_RETURN_IF_ERROR(checkRank(rank));
    MOE_RETURN_IF_ERROR(complete());
    return order();
  }

private:
  Done &of(int64_t stage, int64_t microbatch) {
    return done[static_cast<size_t>(stage * problem.microbatches + microbatch)];
  }

  static Status failure(int64_t rank, const Action &action,
                        const std::string &what) {
    return Error{"schedule: rank " + std::to_string(rank) + ": " +
                 describe(action) + ": " + what};
  }

  Status checkRank(int64_t rank) {
    const auto &actions = schedule.ranks[static_cast<size_t>(rank)];
    for (size_t i = 0; i < actions.size(); ++i) {
      MOE_RETURN_IF_ERROR(local(rank, actions[i]));
      if (!actions[i].overlapsNext)
        continue;
      if (i + 1 == actions.size())
        return failure(rank, actions[i], "overlaps the next, but is the last");
      MOE_RETURN_IF_ERROR(pair(rank, actions[i], actions[i + 1]));
    }
    return {};
  }

  static Status pair(int64_t rank, const Action &first, const Action &second) {
    if (second.overlapsNext)
      return failure(rank, second, "overlaps two others");
    if (first.phase != Phase::forward ||
        (second.phase != Phase::backward &&
         second.phase != Phase::backward_input))
      return failure(rank, first,
                     "overlaps " + describe(second) +
                         "; an overlap is a forward, then a backward or "
                         "backward_input");
    if (first.stage == second.stage && first.microbatch == second.microbatch)
      return failure(rank, first, "overlaps its own backward");
    return {};
  }

  /// The rules that hold within one rank.
  Status local(int64_t rank, const Action &action) {
    auto fail = [&](const std::string &what) -> Status {
      return failure(rank, action, what);
    };
    if (action.stage < 0 || action.stage >= problem.stages())
      return fail("there are " + std::to_string(problem.stages()) + " stages");
    if (action.microbatch < 0 || action.microbatch >= problem.microbatches)
      return fail("there are " + std::to_string(problem.microbatches) +
                  " microbatches");
    if (problem.rankOf(action.stage) != rank)
      return fail("the stage lies on rank " +
                  std::to_string(problem.rankOf(action.stage)));
    if (!problem.runsOn(action.microbatch, action.stage))
      return fail("the microbatch runs through the other copy of the model");
    if (action.phase != Phase::forward && !problem.hasBackward(action.stage))
      return fail("nothing at or before the stage is trained, so it has no "
                  "backward");
    Done &state = of(action.stage, action.microbatch);
    auto ascending = [&](std::vector<int64_t> &newest) -> Status {
      int64_t &last = newest[static_cast<size_t>(action.stage)];
      if (action.microbatch < last)
        return fail("runs after microbatch " + std::to_string(last) +
                    "; backwards take microbatches in ascending order, so that "
                    "gradient sums do not depend on the schedule");
      last = action.microbatch;
      return {};
    };
    switch (action.phase) {
    case Phase::forward:
      if (state.forward)
        return fail("runs twice");
      state.forward = true;
      return {};
    case Phase::backward:
    case Phase::backward_input:
      if (state.anyBackward())
        return fail("runs twice");
      if (!state.forward)
        return fail("runs before its forward");
      (action.phase == Phase::backward ? state.backward : state.input) = true;
      return ascending(newestInput);
    case Phase::weight_grad:
      if (state.weight)
        return fail("runs twice");
      if (!state.input)
        return fail("runs without a backward_input before it");
      state.weight = true;
      return ascending(newestWeight);
    }
    return {};
  }

  Status complete() {
    for (int64_t stage = 0; stage < problem.stages(); ++stage)
      for (int64_t m = 0; m < problem.microbatches; ++m) {
        const Done &state = of(stage, m);
        if (!problem.runsOn(m, stage) ||
            (state.forward &&
             (state.hasGradients() || !problem.hasBackward(stage))))
          continue;
        const char *missing = !state.forward         ? "forward"
                              : !state.anyBackward() ? "backward"
                                                     : "weight_grad";
        return Error{"schedule: rank " + std::to_string(problem.rankOf(stage)) +
                     ": " + missing + " of stage " + std::to_string(stage) +
                     ", microbatch " + std::to_string(m) + " is missing"};
      }
    return {};
  }

  /// The rank that has to make the action's input first, or -1.
  int64_t waitsFor(const Action &action) {
    bool forward = action.phase == Phase::forward;
    if (action.phase == Phase::weight_grad ||
        (forward ? problem.isFirst(action.stage)
                 : problem.isLast(action.stage)))
      return -1;
    int64_t source = action.stage + (forward ? -1 : 1);
    const Done &made = of(source, action.microbatch);
    return (forward ? made.forward : made.input) ? -1 : problem.rankOf(source);
  }

  /// Whether the ranks' orders fit together: forwards wait for the stage
  /// before, backwards for the stage after.
  Status order() {
    done.assign(done.size(), {});
    std::vector<size_t> counts;
    for (const auto &actions : schedule.ranks)
      counts.push_back(actions.size());
    auto tryStep = [&](size_t rank, size_t index) -> int64_t {
      const auto &actions = schedule.ranks[rank];
      const Action *action = &actions[index];
      // The first of an overlapping pair runs both.
      if (index > 0 && actions[index - 1].overlapsNext)
        return -1;
      size_t count = action->overlapsNext ? 2 : 1;
      for (size_t i = 0; i < count; ++i)
        if (int64_t blocker = waitsFor(action[i]); blocker >= 0)
          return blocker;
      for (size_t i = 0; i < count; ++i) {
        Done &state = of(action[i].stage, action[i].microbatch);
        (action[i].phase == Phase::forward ? state.forward : state.input) =
            true;
      }
      return -1;
    };
    Status status = runToEnd(counts, tryStep, [&](size_t rank, size_t index) {
      return describe(schedule.ranks[rank][index]);
    });
    if (!status)
      return Error{"schedule: " + status.error().message};
    return {};
  }

  const Schedule &schedule;
  const ScheduleProblem &problem;
  std::vector<Done> done;                         ///< by stage, then microbatch
  std::vector<int64_t> newestInput, newestWeight; ///< microbatch, by stage
};

} // namespace

Status verify(const Schedule &schedule) { return Checker(schedule).run(); }

} // namespace moe::schedule

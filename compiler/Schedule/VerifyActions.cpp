// Legality of the order of actions.
#include "compiler/Schedule/Progress.h"
#include "compiler/Schedule/Schedule.h"

namespace moe::schedule {

namespace {

std::string describe(const Action &action) {
  return std::string(name(action.phase)) + " of stage " +
         std::to_string(action.stage) + ", microbatch " +
         std::to_string(action.microbatch);
}

/// What has run of one stage and microbatch.
struct Done {
  bool forward = false, backward = false, input = false, weight = false;
  bool anyBackward() const { return backward || input; }
  bool complete() const { return forward && (backward || (input && weight)); }
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
      for (const Action &action : schedule.ranks[static_cast<size_t>(rank)])
        MOE_RETURN_IF_ERROR(local(rank, action));
    MOE_RETURN_IF_ERROR(complete());
    return order();
  }

private:
  Done &of(int64_t stage, int64_t microbatch) {
    return done[static_cast<size_t>(stage * problem.microbatches + microbatch)];
  }

  /// The rules that hold within one rank.
  Status local(int64_t rank, const Action &action) {
    auto fail = [&](const std::string &what) -> Status {
      return Error{"schedule: rank " + std::to_string(rank) + ": " +
                   describe(action) + ": " + what};
    };
    if (action.stage < 0 || action.stage >= problem.stages())
      return fail("there are " + std::to_string(problem.stages()) + " stages");
    if (action.microbatch < 0 || action.microbatch >= problem.microbatches)
      return fail("there are " + std::to_string(problem.microbatches) +
                  " microbatches");
    if (problem.rankOf(action.stage) != rank)
      return fail("the stage lies on rank " +
                  std::to_string(problem.rankOf(action.stage)));
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
        if (state.complete())
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

  /// Whether the ranks' orders fit together: forwards wait for the stage
  /// before, backwards for the stage after.
  Status order() {
    done.assign(done.size(), {});
    std::vector<size_t> counts;
    for (const auto &actions : schedule.ranks)
      counts.push_back(actions.size());
    auto tryStep = [&](size_t rank, size_t index) -> int64_t {
      const Action &action = schedule.ranks[rank][index];
      bool forward = action.phase == Phase::forward;
      if (forward && !problem.isFirst(action.stage) &&
          !of(action.stage - 1, action.microbatch).forward)
        return problem.rankOf(action.stage - 1);
      if (!forward && action.phase != Phase::weight_grad &&
          !problem.isLast(action.stage) &&
          !of(action.stage + 1, action.microbatch).input)
        return problem.rankOf(action.stage + 1);
      Done &state = of(action.stage, action.microbatch);
      (forward ? state.forward : state.input) = true;
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

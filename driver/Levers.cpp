//===- Levers.cpp - what would fit where a plan does not ------------------===//

#include "driver/Levers.h"

#include "compiler/Schedule/Generators.h"
#include "driver/Arguments.h"
#include "driver/Trials.h"
#include "support/Parallel.h"

#include <algorithm>
#include <optional>

namespace moe::driver {

namespace {

const plan::Rank &largestRank(const plan::Plan &plan) {
  return *std::max_element(plan.ranks.begin(), plan.ranks.end(),
                           [](const plan::Rank &a, const plan::Rank &b) {
                             return a.arenaBytes < b.arenaBytes;
                           });
}

/// "rank 2, at layers.3.moe.experts.up of step 41 (backward of stage s2)".
std::string bindingPlace(const plan::Plan &plan) {
  const plan::Rank &rank = largestRank(plan);
  std::string text = "rank " + std::to_string(rank.rank);
  if (rank.peakStep < 0)
    return text;
  const plan::Step &step = rank.steps[static_cast<size_t>(rank.peakStep)];
  text += ", at ";
  if (!rank.peakOp.empty())
    text += rank.peakOp + " of ";
  text += "step " + std::to_string(rank.peakStep) + " (" +
          std::string(plan::name(step.kind));
  if (step.stage >= 0)
    text += " of stage " + plan.stages[static_cast<size_t>(step.stage)].name;
  return text + ")";
}

struct Lever {
  std::string name, what;
  PlanRequest request;
};

/// The changes of a request that need less memory, legal or not.
std::vector<Lever> leversOf(const PlanRequest &request,
                            const plan::Plan &plan) {
  std::vector<Lever> levers;
  PlanRequest base = request;
  base.jobs = 1;        // several are drafted at the same time
  base.budgetBytes = 1; // as little memory as can be
  // A search over schedules for every lever would take too long.
  if (request.schedule == "auto")
    base.schedule = plan.schedule == "auto" ? "1f1b" : plan.schedule;
  auto add = [&](const std::string &name, const std::string &what,
                 auto change) {
    Lever &lever = levers.emplace_back(Lever{name, what, base});
    change(lever.request);
  };
  bool leavesPolicies =
      request.recompute == "auto" && request.offload == "auto";
  if (!leavesPolicies && request.frozen != "*")
    add("policies",
        "--recompute auto --offload auto: what the planner would recompute and "
        "offload",
        [](PlanRequest &changed) {
          changed.recompute = changed.offload = "auto";
          changed.keepHandles = false;
        });
  // Cuts, pins and files are for as many ranks and stages as there are.
  if (request.partition.empty() || request.partition == "uniform" ||
      (request.partition == "auto" && request.pins.empty())) {
    add("pp", "twice the pipeline ranks",
        [](PlanRequest &changed) { changed.layout.pipeline *= 2; });
    // A search has tried them all.
    if (request.schedule != "auto") {
      const std::string other = request.schedule == "1f1b" ? "v-half" : "1f1b";
      add("schedule", "--schedule " + other, [&](PlanRequest &changed) {
        changed.schedule = other;
        changed.stagesPerRank = 0;
        changed.placement.clear();
        changed.groupSize = 0;
        changed.pendingWeightGrads = schedule::kAnyPending;
      });
    }
  }
  add("ep", "twice the expert-parallel ranks",
      [](PlanRequest &changed) { changed.layout.expert *= 2; });
  if (request.layout.microbatchSize > 1)
    add("microbatch",
        "half the sequences of a microbatch, and twice the microbatches",
        [](PlanRequest &changed) {
          changed.layout.microbatchSize =
              (changed.layout.microbatchSize + 1) / 2;
          changed.layout.microbatches *= 2;
        });
  else if (request.layout.sequenceLength > 1)
    add("sequence", "half the tokens of a sequence", [](PlanRequest &changed) {
      changed.layout.sequenceLength = (changed.layout.sequenceLength + 1) / 2;
    });
  if (request.capacityFactor == 0 || request.capacityFactor > 1)
    add("capacity", "--capacity-factor 1: rows of balanced routing only",
        [](PlanRequest &changed) { changed.capacityFactor = 1; });
  return levers;
}

/// The least budget of a request for one schedule, reserve included.
Result<int64_t> leastBudgetOf(const PlanRequest &request) {
  Result<Inputs> inputs = gatherInputs(request);
  if (!inputs)
    return inputs.error();
  Result<Compiler> compiler = Compiler::make(*inputs);
  if (!compiler)
    return compiler.error();
  return driver::leastBudgetOf(*inputs, *compiler, {request.schedule});
}

} // namespace

int64_t leastBudget(const plan::Plan &plan) {
  return largestRank(plan).arenaBytes + plan.machine.reserveBytes;
}

int64_t leastBudgetWithShardedOptimizer(const plan::Plan &plan) {
  int64_t most = 0;
  for (const plan::Rank &rank : plan.ranks) {
    int64_t saved = 0;
    for (int64_t stage : rank.stages)
      for (const plan::Parameter &parameter :
           plan.stages[static_cast<size_t>(stage)].parameters) {
        int64_t elements = 1;
        for (int64_t size : parameter.shape)
          elements *= size;
        int64_t shards = plan.layout.data;
        if (parameter.replication == plan::Replication::dense)
          shards *= plan.layout.expert;
        DType type = parameter.dtype == DType::f64 ? DType::f64 : DType::f32;
        int64_t whole = plan::alignUp(elements * byteSize(type));
        int64_t shard =
            plan::alignUp((elements + shards - 1) / shards * byteSize(type));
        for (int64_t offset :
             {parameter.masterOffset, parameter.firstMomentOffset,
              parameter.secondMomentOffset})
          if (offset >= 0)
            saved += whole - shard;
      }
    most = std::max(most, rank.arenaBytes - saved);
  }
  return most + plan.machine.reserveBytes;
}

void describeLeastBudget(const PlanRequest &request, plan::Plan &plan) {
  std::vector<plan::Assumption> found;
  found.push_back({"policies.least_budget", sizeText(leastBudget(plan)),
                   "the least that was found to fit, reserve included: " +
                       bindingPlace(plan) + ", needs it"});
  if (request.reportsLevers) {
    const std::vector<Lever> levers = leversOf(request, plan);
    std::vector<std::optional<int64_t>> budgets(levers.size());
    auto report = [&](size_t done) {
      if (request.onProgress)
        request.onProgress(done, levers.size(),
                           "needs " + sizeText(leastBudget(plan)) +
                               "; least budgets of other requests");
    };
    report(0);
    inParallel(
        levers.size(), jobsOrDefault(request.jobs),
        [&](size_t number) {
          if (Result<int64_t> bytes = leastBudgetOf(levers[number].request))
            budgets[number] = *bytes;
        },
        report);
    for (size_t i = 0; i < levers.size(); ++i)
      if (budgets[i] && *budgets[i] < leastBudget(plan))
        found.push_back({"policies.lever." + levers[i].name,
                         sizeText(*budgets[i]),
                         "the least budget with " + levers[i].what});
    int64_t sharded = leastBudgetWithShardedOptimizer(plan);
    if (sharded < leastBudget(plan))
      found.push_back({"policies.lever.optimizer", sizeText(sharded),
                       "the least budget with the optimizer state sharded over "
                       "the ranks that hold the same parameters, by account: "
                       "such plans are not made"});
  }
  plan.assumptions.insert(plan.assumptions.end(), found.begin(), found.end());
}

} // namespace moe::driver

//===- PlanEdits.cpp - small edits of plans -------------------------------===//

#include "test/unit/Proof/PlanEdits.h"

#include "runtime/Plan/Replay.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace moe::test {

using namespace plan;

[[noreturn]] static void stop(const std::string &what) {
  std::fprintf(stderr, "%s\n", what.c_str());
  std::abort();
}

Plan goodPlan(const std::string &name) {
  Result<Plan> plan = read("test/data/plans/" + name + ".json");
  if (!plan)
    stop(plan.error().message);
  return std::move(*plan);
}

Stage &Editor::stage(const std::string &name) {
  for (Stage &stage : plan.stages)
    if (stage.name == name)
      return stage;
  stop("no stage " + name);
}

Program &Editor::program(const std::string &stageName, Phase phase) {
  for (Program &program : stage(stageName).programs)
    if (program.phase == phase)
      return program;
  stop("no program of " + stageName);
}

int64_t Editor::indexOf(const std::string &stageName, Phase phase,
                        const std::string &name) {
  std::vector<Op> &ops = program(stageName, phase).ops;
  for (size_t i = 0; i < ops.size(); ++i)
    if (ops[i].name == name)
      return static_cast<int64_t>(i);
  stop("no op " + name);
}

Op &Editor::op(const std::string &stageName, Phase phase,
               const std::string &name) {
  return program(stageName, phase)
      .ops[static_cast<size_t>(indexOf(stageName, phase, name))];
}

ValueIndex Editor::value(const std::string &stageName,
                         const std::string &name) {
  std::vector<Value> &values = stage(stageName).values;
  for (size_t i = 0; i < values.size(); ++i)
    if (values[i].name == name)
      return static_cast<ValueIndex>(i);
  stop("no value " + name);
}

int64_t Editor::step(int64_t rank, StepKind kind, int64_t stage,
                     int64_t microbatch, int64_t number) {
  const std::vector<Step> &list = steps(rank);
  for (size_t i = 0; i < list.size(); ++i)
    if (list[i].kind == kind && (stage == -1 || list[i].stage == stage) &&
        (microbatch == -1 || list[i].microbatch == microbatch) && number-- == 0)
      return static_cast<int64_t>(i);
  stop("no step " + std::string(name(kind)));
}

int64_t Editor::run(int64_t rank, int64_t stage, Phase phase,
                    int64_t microbatch) {
  const std::vector<Step> &list = steps(rank);
  for (size_t i = 0; i < list.size(); ++i)
    if (list[i].kind == StepKind::run && list[i].stage == stage &&
        list[i].phase == phase && list[i].microbatch == microbatch)
      return static_cast<int64_t>(i);
  stop("no run");
}

void Editor::move(int64_t rank, int64_t from, int64_t to) {
  std::vector<Step> &list = steps(rank);
  Step moved = list[static_cast<size_t>(from)];
  list.erase(list.begin() + from);
  list.insert(list.begin() + (to > from ? to - 1 : to), moved);
}

void Editor::erase(int64_t rank, int64_t step) {
  steps(rank).erase(steps(rank).begin() + step);
}

void Editor::keep(Op &op, ValueIndex value) {
  if (std::erase(op.releases, value) != 1)
    stop(op.name + " does not release it");
}

ValueIndex Editor::clone(const std::string &stageName,
                         const std::string &valueName,
                         const std::string &name) {
  Value made = valueOf(stageName, valueName);
  made.name = name;
  stage(stageName).values.push_back(made);
  return static_cast<ValueIndex>(stage(stageName).values.size()) - 1;
}

void restateClaims(Plan &plan) {
  for (size_t s = 0; s < plan.stages.size(); ++s)
    for (size_t p = 0; p < plan.stages[s].programs.size(); ++p) {
      Result<std::vector<ByteCounts>> live =
          replayProgram(plan, static_cast<int64_t>(s), static_cast<int64_t>(p));
      if (!live)
        continue;
      std::vector<Op> &ops = plan.stages[s].programs[p].ops;
      for (size_t i = 0; i < ops.size(); ++i)
        ops[i].live = (*live)[i];
    }
  for (size_t r = 0; r < plan.ranks.size(); ++r) {
    Rank &rank = plan.ranks[r];
    auto index = static_cast<int64_t>(r);
    for (size_t v = 0; v < rank.overlaps.size(); ++v)
      if (Result<std::vector<ByteCounts>> live =
              replayOverlap(plan, index, static_cast<int64_t>(v)))
        rank.overlaps[v].live = *live;
    Result<Replay> replayed = replay(plan, index);
    if (!replayed)
      continue;
    for (size_t i = 0; i < rank.steps.size(); ++i)
      rank.steps[i].live = replayed->stepLive[i];
    rank.persistent = replayed->persistent;
    rank.peak = replayed->peak;
    rank.hostPeakBytes = replayed->hostPeakBytes;
    rank.peakStep = replayed->peakStep;
    rank.peakOp = replayed->peakOp;
  }
}

} // namespace moe::test

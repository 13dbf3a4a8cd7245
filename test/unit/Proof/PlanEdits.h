//===- PlanEdits.h - small edits of plans -----------------------*- C++ -*-===//
#pragma once

#include "runtime/Plan/Plan.h"

#include <functional>

namespace moe::test {

/// A plan of test/data/plans, which must be good.
plan::Plan goodPlan(const std::string &name);

/// Finds things of a plan by name; ends the test program when there is none,
/// so that an edit never silently does nothing.
class Editor {
public:
  explicit Editor(plan::Plan &plan) : plan(plan) {}

  plan::Stage &stage(const std::string &name);
  plan::Program &program(const std::string &stage, plan::Phase phase);
  plan::Op &op(const std::string &stage, plan::Phase phase,
               const std::string &name);
  /// Position of the op in its program.
  int64_t indexOf(const std::string &stage, plan::Phase phase,
                  const std::string &name);
  plan::ValueIndex value(const std::string &stage, const std::string &name);
  plan::Value &valueOf(const std::string &stage, const std::string &name) {
    return this->stage(stage).values[static_cast<size_t>(value(stage, name))];
  }
  /// Position of the `number`-th step of this kind, stage and microbatch; -1
  /// for stage and microbatch: any.
  int64_t step(int64_t rank, plan::StepKind kind, int64_t stage = -1,
               int64_t microbatch = -1, int64_t number = 0);
  int64_t run(int64_t rank, int64_t stage, plan::Phase phase,
              int64_t microbatch);
  std::vector<plan::Step> &steps(int64_t rank) {
    return plan.ranks[static_cast<size_t>(rank)].steps;
  }
  /// Moves a step, given by position, to right before that at `to`.
  void move(int64_t rank, int64_t from, int64_t to);
  void erase(int64_t rank, int64_t step);

  /// Removes a value from what an op releases.
  void keep(plan::Op &op, plan::ValueIndex value);
  /// Adds a value like that of this name, and returns its index.
  plan::ValueIndex clone(const std::string &stage, const std::string &value,
                         const std::string &name);

private:
  plan::Plan &plan;
};

/// Makes the claims of a plan, live bytes and peaks, those of its replay as far
/// as it can be replayed: who writes a wrong plan has counted along with it.
void restateClaims(plan::Plan &plan);

} // namespace moe::test

//===- PlanBuilder.h - plans made by hand -----------------------*- C++ -*-===//
//
// Ops and steps are written down; offsets, releases and the lists of program
// inputs and outputs follow from them. Nothing shares bytes. What the plan
// claims about live bytes comes from plan::replay(); the arena checks it.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/Plan/Plan.h"

namespace moe::test {

class PlanBuilder {
public:
  PlanBuilder(plan::Layout layout, DType dtype);

  DType storage() const { return result.dtype; }
  DType wide() const {
    return result.dtype == DType::f64 ? DType::f64 : DType::f32;
  }

  int64_t stage(int64_t rank);
  int64_t parameter(int64_t stage, const std::string &name,
                    std::vector<int64_t> shape, plan::Initializer initializer,
                    plan::Replication replication = plan::Replication::dense);
  int64_t value(int64_t stage, const std::string &name, DType dtype,
                std::vector<int64_t> shape,
                plan::MemoryClass memoryClass = plan::MemoryClass::transient);
  plan::Op &op(int64_t stage, plan::Phase phase, const std::string &kind,
               const std::string &name, std::vector<int64_t> inputs,
               std::vector<int64_t> parameters, std::vector<int64_t> outputs);
  void step(int64_t rank, plan::Step step);

  /// The plan, complete.
  plan::Plan finish();

private:
  void closePrograms(plan::Stage &stage);
  void place();

  plan::Plan result;
};

/// Fills in everything that a plan says about live bytes. The plan must be
/// right otherwise.
void claimLive(plan::Plan &plan);

} // namespace moe::test

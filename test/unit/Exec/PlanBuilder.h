//===- PlanBuilder.h - plans made by hand -----------------------*- C++ -*-===//
//
// Ops and steps are written down; offsets, releases, waits and the lists of
// program inputs and outputs follow from them. Nothing shares bytes but the
// scratch of ops of one stream, so that streams wait for data alone. What the
// plan claims about live bytes comes from plan::replay(); the arena checks it.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/Plan/Plan.h"

#include <random>

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
  /// Two programs in a random order of issue. Returns the index that steps
  /// name; the ops of both must be there.
  int64_t overlap(int64_t rank, plan::Overlap::Member first,
                  plan::Overlap::Member second, std::mt19937 &random);

  /// Puts ops that may run on either stream on a random one.
  void spreadOverStreams(std::mt19937 &random);

  /// The plan, complete.
  plan::Plan finish();

private:
  void closePrograms(plan::Stage &stage);
  void place();
  /// Gives each stream of the rank its scratch, from `begin`; returns the end.
  int64_t placeScratch(int64_t rank, int64_t begin);

  plan::Plan result;
};

/// Fills in everything that a plan says about live bytes. The plan must be
/// right otherwise.
void claimLive(plan::Plan &plan);

} // namespace moe::test

//===- Binding.h - a plan made ready to run ---------------------*- C++ -*-===//
//
// Every op of the plan gets its entry of the signature table, with operands,
// attributes and scratch checked. Nothing runs unless the whole plan binds.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/Comm/Topology.h"
#include "runtime/Exec/Signature.h"

#include <array>
#include <optional>

namespace moe::exec {

struct BoundOp {
  const plan::Op *op = nullptr;
  const Signature *signature = nullptr;
  Attributes attributes;
  Dimensions dimensions; ///< what the names in its shapes stand for
};

/// Ops of a stage by phase; tensors have shape and type but no data.
struct BoundStage {
  std::vector<kernels::Tensor> values, weights, gradients;
  std::array<std::optional<std::vector<BoundOp>>, plan::kPhaseCount> programs;
};

/// A plan with all its ops bound. Refers to the plan, which must outlive it.
class Binding {
public:
  /// The plan must have passed plan::check(). Errors name stage, program and
  /// op: an unknown kind, a wrong number, type or shape of operands, a missing
  /// or unknown attribute, too little scratch, a layout that the runtime does
  /// not execute.
  static Result<Binding> create(const plan::Plan &plan);

  const plan::Plan &plan() const { return *source; }
  const comm::Topology &topology() const { return world; }
  const BoundStage &stage(int64_t index) const {
    return stages[static_cast<size_t>(index)];
  }
  /// Tokens must be less than this: the smallest table or row of logits.
  int64_t vocabulary() const { return smallestVocabulary; }
  /// The largest shift of what the plan loads, at least 1: see TokenRole.h.
  int64_t furthestShift() const;
  /// Whether a step ends with an update of the parameters.
  bool updates() const;

private:
  const plan::Plan *source = nullptr;
  comm::Topology world;
  std::vector<BoundStage> stages;
  int64_t smallestVocabulary = 0;

  friend class Binder;
};

} // namespace moe::exec

//===- OrderedTrial.h - what chooses for an order of steps ------*- C++ -*-===//
//
// Private to driver/.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "driver/Compile.h"

#include <memory>

namespace moe::driver {

/// A trial, and what chooses for the order of steps that its costs give.
struct OrderedTrial {
  Trial trial;
  std::shared_ptr<const Chooser> chooser;

  bool goesByCosts() const { return !trial.costs.stages.empty(); }

  /// The trial with this very order.
  Trial settled() const {
    Trial copy = trial;
    copy.order = {chooser, &chooser->steps()};
    return copy;
  }
};

/// The stages of a trial, and where they lie.
schedule::ScheduleProblem problemOf(const Inputs &inputs, const Trial &trial);

/// How blocks may be treated, and are measured, where steps have this order.
Techniques techniquesOf(const PlanRequest &request,
                        const schedule::Schedule &order);

/// What chooses for a trial, by the blocks that `compiler` has measured. Where
/// the schedule goes by costs and the trial says none, it gets those of the cut
/// with everything kept: choices are made for one order of steps, which has to
/// stay. `like`: null, or what chooses for the same schedule with other costs.
/// Errors: pins and stages that the model does not admit.
Result<OrderedTrial> orderBy(const Inputs &inputs, Compiler &compiler,
                             Trial trial, const Chooser *like = nullptr);

} // namespace moe::driver

//===- Bench.h - models that orders of steps are tried with -----*- C++ -*-===//
#pragma once

#include "driver/Driver.h"
#include "driver/OrderSearch.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <utility>

namespace moe::driver {

/// Everything is chosen, for 32 microbatches.
inline PlanRequest requestOf(const std::string &model, int64_t pipeline,
                             int64_t expert, const std::string &schedule) {
  PlanRequest request;
  request.modelPath = "examples/models/" + model + ".json";
  request.layout.pipeline = pipeline;
  request.layout.expert = expert;
  request.layout.microbatches = 32;
  request.layout.sequenceLength = 4096;
  request.schedule = schedule;
  request.partition = request.recompute = request.offload = "auto";
  return request;
}

/// A model for whose orders of steps choices are made.
struct Bench {
  explicit Bench(PlanRequest asked) : request(std::move(asked)) {
    Result<Inputs> read = gatherInputs(request);
    EXPECT_TRUE(read) << read.error().message;
    inputs.emplace(std::move(*read));
    Result<Compiler> made = Compiler::make(*inputs);
    EXPECT_TRUE(made) << made.error().message;
    compiler.emplace(std::move(*made));
    Result<OrderedTrial> ordered =
        orderBy(*inputs, *compiler, {request.schedule});
    EXPECT_TRUE(ordered) << ordered.error().message;
    first = std::move(*ordered);
    search.emplace(*inputs, *compiler, first);
  }

  PlanBudget budget(double gibibytes) const {
    return {static_cast<int64_t>(gibibytes * 0x1p30),
            inputs->machine.reserveBytes, 0};
  }

  OrderedTrial found(const PlanBudget &budget) {
    Result<std::vector<PromisedOrder>> orders = search->findWithin(budget);
    EXPECT_TRUE(orders) << orders.error().message;
    return orders->front().ordered;
  }

  /// What the choices for an order exceed the budget by, and take.
  static std::pair<int64_t, int64_t> valueOf(const OrderedTrial &ordered,
                                             const PlanBudget &budget) {
    Result<Chosen> chosen =
        chosenBy(*ordered.chooser, budget, optimize::Effort::fast);
    EXPECT_TRUE(chosen) << chosen.error().message;
    return {chosen->excessBytes, chosen->stepNs};
  }

  const PlanRequest request; ///< that `inputs` refers to
  std::optional<Inputs> inputs;
  std::optional<Compiler> compiler;
  OrderedTrial first;
  std::optional<OrderSearch> search;
};

} // namespace moe::driver

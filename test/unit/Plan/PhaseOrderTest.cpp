//===- PhaseOrderTest.cpp -------------------------------------------------===//

#include "runtime/Plan/PhaseOrder.h"

#include <gtest/gtest.h>

namespace moe::plan {
namespace {

Stage stageWith(const std::vector<Phase> &phases) {
  Stage stage;
  stage.name = "s3";
  for (Phase phase : phases)
    stage.programs.push_back({phase, {}, {}, {}});
  return stage;
}

TEST(PhaseOrder, GradientsInOnePieceOrInTwo) {
  PhaseOrder order;
  EXPECT_EQ(order.whyNot(3, Phase::forward, 5), std::nullopt);
  EXPECT_EQ(order.whyNot(3, Phase::backward, 5),
            "the forward program has not run for microbatch 5 before");
  EXPECT_EQ(order.whyNot(3, Phase::backward_input, 5),
            "the forward program has not run for microbatch 5 before");
  order.run(3, Phase::forward, 5);
  EXPECT_EQ(order.whyNot(3, Phase::forward, 5),
            "the forward program has run for microbatch 5 already");
  EXPECT_EQ(order.whyNot(3, Phase::forward, 6), std::nullopt);
  EXPECT_EQ(order.whyNot(4, Phase::backward, 5),
            "the forward program has not run for microbatch 5 before");
  EXPECT_EQ(order.whyNot(3, Phase::backward, 5), std::nullopt);
  EXPECT_EQ(order.whyNot(3, Phase::weight_grad, 5),
            "the backward_input program has not run for microbatch 5 before");
  PhaseOrder inOnePiece = order;
  inOnePiece.run(3, Phase::backward, 5);
  EXPECT_EQ(inOnePiece.whyNot(3, Phase::backward_input, 5),
            "the backward program has made gradients for microbatch 5 already");
  order.run(3, Phase::backward_input, 5);
  EXPECT_EQ(order.whyNot(3, Phase::backward, 5),
            "the backward_input program has made gradients for microbatch 5 "
            "already");
  EXPECT_EQ(order.whyNot(3, Phase::weight_grad, 5), std::nullopt);
}

TEST(PhaseOrder, EveryForwardHasItsGradients) {
  Stage forwardOnly = stageWith({Phase::forward});
  Stage whole = stageWith({Phase::forward, Phase::backward});
  Stage halves =
      stageWith({Phase::forward, Phase::backward_input, Phase::weight_grad});
  PhaseOrder order;
  EXPECT_EQ(order.whyIncomplete(whole, 3),
            "the forward program of stage \"s3\" never runs");
  order.run(3, Phase::forward, 0);
  EXPECT_EQ(order.whyIncomplete(forwardOnly, 3), std::nullopt);
  EXPECT_EQ(order.whyIncomplete(whole, 3),
            "the backward program of stage \"s3\" never runs");
  PhaseOrder inTwo = order;
  order.run(3, Phase::backward, 0);
  EXPECT_EQ(order.whyIncomplete(whole, 3), std::nullopt);
  order.run(3, Phase::forward, 7);
  EXPECT_EQ(order.whyIncomplete(whole, 3),
            "microbatch 7 of stage \"s3\" runs forward, but no program makes "
            "its gradients");
  inTwo.run(3, Phase::backward_input, 0);
  inTwo.run(3, Phase::weight_grad, 0);
  EXPECT_EQ(inTwo.whyIncomplete(halves, 3), std::nullopt);
  inTwo.run(3, Phase::forward, 2);
  inTwo.run(3, Phase::backward_input, 2);
  EXPECT_EQ(inTwo.whyIncomplete(halves, 3),
            "microbatch 2 of stage \"s3\" runs forward, but the weight_grad "
            "program never follows");
}

} // namespace
} // namespace moe::plan

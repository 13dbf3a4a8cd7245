//===- ReplayClosureTest.cpp - what has to run again ----------------------===//

#include "passes/Recompute/ReplayClosure.h"

#include "dialects/MoE/IR/MoE.h"
#include "dialects/Pipe/IR/Pipe.h"

#include "mlir/Parser/Parser.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace mlir;
using namespace moe;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

namespace {

// A dispatch of which the rows, the counts and the handle are kept.
constexpr const char *kStage = R"(
#rows = #moe.rows<balanced = 16, capacity = 16>
!handle = !moe.handle<tokens = 8, top_k = 2, experts = 4>
moe.parameter @up : tensor<4x16x16xbf16> expert #moe.initializer<normal, 0.02>
pipe.stage @s0 rank 0 blocks ["layers.0"] inputs ["hidden"] outputs ["hidden"] forward {
^bb0(%x: tensor<8x16xbf16>):
  %logits = "test.logits"() : () -> tensor<8x4xf32>
  %p, %e = moe.route %logits routing <top_k = 2, scoring = softmax, normalize = true> : (tensor<8x4xf32>) -> (tensor<8x2xf32>, tensor<8x2xi32>)
  %rows, %rp, %counts, %handle = moe.dispatch %x, %p, %e top_k 2 experts 4 ranks 1 capacity 16 : (tensor<8x16xbf16>, tensor<8x2xf32>, tensor<8x2xi32>) -> (tensor<?x16xbf16, #rows>, tensor<?xf32, #rows>, tensor<4xi32>, !handle)
  pipe.yield %x : tensor<8x16xbf16> kept %x, %rows, %counts, %handle : tensor<8x16xbf16>, tensor<?x16xbf16, #rows>, tensor<4xi32>, !handle
} backward {
^bb0(%d: tensor<8x16xbf16>, %x: tensor<8x16xbf16>, %rows: tensor<?x16xbf16, #rows>, %counts: tensor<4xi32>, %handle: !handle):
  %drows = moe.combine_input_grad %d, %handle top_k 2 experts 4 ranks 1 capacity 16 : (tensor<8x16xbf16>, !handle) -> tensor<?x16xbf16, #rows>
  moe.grouped_linear_weight_grad %drows, %rows, %counts, @up : tensor<?x16xbf16, #rows>, tensor<?x16xbf16, #rows>, tensor<4xi32>
  pipe.yield %d : tensor<8x16xbf16>
}
)";

class ReplayClosures : public testing::Test {
protected:
  void SetUp() override {
    context.loadDialect<MoEDialect, pipe::PipeDialect>();
    context.allowUnregisteredDialects();
    module = parseSourceString<ModuleOp>(kStage, &context);
    ASSERT_TRUE(module);
    stage = *module->getOps<pipe::StageOp>().begin();
    Block &forward = stage.getForward().front();
    dispatch = *forward.getOps<DispatchOp>().begin();
    route = *forward.getOps<RouteOp>().begin();
  }

  Replays without(ArrayRef<Value> dropped, bool keepHandles = false) {
    return findReplays(stage, dropped, {keepHandles});
  }
  static SmallVector<Value> droppedBy(const Replays &replays) {
    SmallVector<Value> values;
    for (const auto &each : replays.dropped)
      values.push_back(each.first);
    return values;
  }

  MLIRContext context{MLIRContext::Threading::DISABLED};
  OwningOpRef<ModuleOp> module;
  pipe::StageOp stage;
  DispatchOp dispatch;
  RouteOp route;
};

} // namespace

TEST_F(ReplayClosures, RowsAloneFollowTheHandleThatStays) {
  const Replays replays = without({dispatch.getRows()});
  EXPECT_TRUE(replays.alongHandle.contains(dispatch));
  EXPECT_THAT(replays.backward, ElementsAre(dispatch.getOperation()));
  EXPECT_THAT(droppedBy(replays), ElementsAre(dispatch.getRows()));
  EXPECT_THAT(replays.added, IsEmpty());
  EXPECT_THAT(getReplayOperands(dispatch, replays),
              ElementsAre(dispatch.getX(), dispatch.getHandle()));
}

// What the router decided is needed again, and nobody kept it.
TEST_F(ReplayClosures, AHandleThatIsDroppedIsMadeAnew) {
  for (Value other : {Value(dispatch.getHandle()), Value(dispatch.getCounts())})
    for (bool withRows : {true, false}) {
      SmallVector<Value> dropped = {other};
      if (withRows)
        dropped.push_back(dispatch.getRows());
      const Replays replays = without(dropped);
      EXPECT_THAT(replays.alongHandle, IsEmpty());
      EXPECT_THAT(replays.backward, ElementsAre(dispatch.getOperation()));
      EXPECT_THAT(replays.added, UnorderedElementsAre(route->getResult(0),
                                                      route->getResult(1)));
      EXPECT_EQ(droppedBy(replays).size(), dropped.size());
      EXPECT_EQ(getReplayOperands(dispatch, replays),
                SmallVector<Value>(dispatch->getOperands()));
    }
}

TEST_F(ReplayClosures, HandlesThatAreToStayDo) {
  const Replays replays = without(
      {dispatch.getRows(), dispatch.getCounts(), dispatch.getHandle()}, true);
  EXPECT_TRUE(replays.alongHandle.contains(dispatch));
  EXPECT_THAT(droppedBy(replays), ElementsAre(dispatch.getRows()));
  EXPECT_THAT(replays.staying,
              UnorderedElementsAre(dispatch.getCounts(), dispatch.getHandle()));
  EXPECT_THAT(replays.added, IsEmpty());
}

TEST_F(ReplayClosures, WhatIsKeptRunsNothing) {
  const Replays replays = without({});
  EXPECT_THAT(replays.backward, IsEmpty());
  EXPECT_THAT(droppedBy(replays), IsEmpty());
  EXPECT_THAT(replays.added, IsEmpty());
}

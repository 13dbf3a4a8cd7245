//===- BlockBenchTest.cpp - blocks under treatments -----------------------===//

#include "passes/Policies/BlockBench.h"

#include "compiler/Optimize/Placement.h"
#include "compiler/Schedule/Interleave.h"
#include "test/unit/Policies/Differentiated.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <tuple>

using namespace mlir;
using namespace moe;
using optimize::Treatment;

namespace {

class BlockBenches : public test::Differentiated {
protected:
  BlockBench bench(size_t count, StageHabits habits = {}) {
    return {ArrayRef(layers).slice(1, count), *symbols, timing, habits};
  }

  static BlockFigures treated(BlockBench &bench, const std::string &part,
                              Treatment how) {
    FailureOr<BlockFigures> figures =
        bench.treated([&](const BlockBench::Kept &kept) {
          return kept.part == part ? how : Treatment::keep;
        });
    EXPECT_TRUE(succeeded(figures));
    return failed(figures) ? BlockFigures() : *figures;
  }
  static BlockFigures kept(BlockBench &bench) {
    return treated(bench, "", Treatment::keep);
  }
};

// The bench knows figures and releases in advance; the stage that is built
// without it has ops for them.
TEST_F(BlockBenches, EverythingKeptIsTheBlocksOwnStage) {
  BlockBench alone = bench(1);
  const BlockFigures figures = kept(alone);
  FailureOr<plan::Stage> stage = buildBlockStage(layers[1], *symbols, timing);
  ASSERT_TRUE(succeeded(stage));
  int64_t peakBytes = 0;
  for (plan::Program &program : stage->programs) {
    const bool isForward = program.phase == plan::Phase::forward;
    if (!isForward && program.phase != plan::Phase::backward)
      continue; // the bench has the whole backward only
    EXPECT_EQ(isForward ? figures.forwardNs : figures.backwardNs,
              schedule::durationNs(program));
    for (int64_t live : optimize::liveWithoutWaits(*stage, program))
      peakBytes = std::max(peakBytes, live);
  }
  EXPECT_EQ(figures.peakBytes.front(), peakBytes);
  int64_t bytes = 0;
  for (const BlockBench::Kept &each : alone.kept())
    bytes += each.bytes;
  EXPECT_EQ(figures.keptBytes, bytes);
  EXPECT_EQ(figures.hostBytes, 0);
  EXPECT_EQ(figures.copyOutNs, 0);
  EXPECT_EQ(figures.aheadBytes, 0);
}

TEST_F(BlockBenches, WhatIsMovedIsOnTheHost) {
  BlockBench alone = bench(1);
  const BlockFigures all = kept(alone);
  int64_t moved = 0;
  for (const BlockBench::Kept &each : alone.kept()) {
    if (each.opPart.empty() || each.isOutput)
      continue;
    SCOPED_TRACE(each.part);
    const BlockFigures figures = treated(alone, each.part, Treatment::offload);
    EXPECT_EQ(figures.hostBytes, each.bytes);
    EXPECT_EQ(figures.keptBytes, all.keptBytes - each.bytes);
    EXPECT_GT(figures.copyOutNs, 0);
    EXPECT_GE(figures.forwardNs, all.forwardNs);
    EXPECT_GE(figures.backwardNs, all.backwardNs);
    ++moved;
  }
  EXPECT_GT(moved, 5);
}

// What is made again is not kept, but for what that needs; the forward does
// not change.
TEST_F(BlockBenches, WhatIsMadeAgainTakesTimeBackward) {
  BlockBench alone = bench(1);
  const BlockFigures all = kept(alone);
  int64_t freed = 0, longer = 0;
  for (const BlockBench::Kept &each : alone.kept()) {
    if (!each.isReplayable)
      continue;
    SCOPED_TRACE(each.part);
    const BlockFigures figures =
        treated(alone, each.part, Treatment::recompute);
    EXPECT_EQ(figures.hostBytes, 0);
    EXPECT_EQ(figures.forwardNs, all.forwardNs);
    EXPECT_GE(figures.backwardNs, all.backwardNs);
    EXPECT_GE(figures.keptBytes, all.keptBytes - each.bytes);
    freed += figures.keptBytes < all.keptBytes;
    longer += figures.backwardNs > all.backwardNs;
  }
  EXPECT_GT(freed, 5);
  EXPECT_GT(longer, 3);
  // And the bench is as it was.
  const BlockFigures again = kept(alone);
  EXPECT_EQ(again.keptBytes, all.keptBytes);
  EXPECT_EQ(again.backwardNs, all.backwardNs);
  EXPECT_EQ(again.peakBytes, all.peakBytes);
}

// Of two layers, what the upper one runs before the lower one's turn has the
// lower one's bytes back by then.
TEST_F(BlockBenches, TheLowerOfTwoHasItsBytesBackAhead) {
  BlockBench one = bench(1), two = bench(2);
  const BlockFigures alone = kept(one), both = kept(two);
  // The upper one keeps its own input, which is the lower one's output.
  EXPECT_EQ(both.keptBytes, 2 * alone.keptBytes);
  EXPECT_EQ(both.aheadBytes, 0);
  ASSERT_EQ(both.peakBytes.size(), 2u);
  int64_t ahead = 0;
  for (const BlockBench::Kept &each : one.kept())
    if (!each.opPart.empty() && !each.isOutput) {
      const BlockFigures moved = treated(two, each.part, Treatment::offload);
      EXPECT_EQ(moved.hostBytes, 2 * each.bytes) << each.part;
      EXPECT_LE(moved.aheadBytes, each.bytes) << each.part;
      ahead += moved.aheadBytes > 0;
    }
  EXPECT_GT(ahead, 0);
}

// With a lead of none a value comes back in its own layer's turn, and computing
// waits for it longer.
TEST_F(BlockBenches, WithoutLeadNothingIsAhead) {
  BlockBench early = bench(2), late = bench(2, {.leadLayers = 0});
  int64_t longer = 0;
  for (const BlockBench::Kept &each : early.kept()) {
    // What the layer above begins with is back in that one's turn.
    if (each.opPart.empty() || each.part == early.output().part)
      continue;
    SCOPED_TRACE(each.part);
    const BlockFigures ahead = treated(early, each.part, Treatment::offload);
    const BlockFigures own = treated(late, each.part, Treatment::offload);
    EXPECT_EQ(own.hostBytes, ahead.hostBytes);
    EXPECT_EQ(own.aheadBytes, 0);
    EXPECT_GE(own.backwardNs, ahead.backwardNs);
    longer += own.backwardNs > ahead.backwardNs;
  }
  EXPECT_GT(longer, 0);
}

// One value late is what the same is in a bench without any lead, and alone it
// makes no difference.
TEST_F(BlockBenches, LateIsWithoutLead) {
  BlockBench two = bench(2), none = bench(2, {.leadLayers = 0}), one = bench(1);
  auto isSame = [](const BlockFigures &a, const BlockFigures &b) {
    const LinkWaits &x = a.backwardWaits, &y = b.backwardWaits;
    return std::tuple(a.forwardNs, a.backwardNs, x.unhinderedNs, x.mayWaitNs,
                      x.earlyNs, x.lateNs, a.keptBytes, a.hostBytes,
                      a.aheadBytes) ==
               std::tuple(b.forwardNs, b.backwardNs, y.unhinderedNs,
                          y.mayWaitNs, y.earlyNs, y.lateNs, b.keptBytes,
                          b.hostBytes, b.aheadBytes) &&
           a.peakBytes == b.peakBytes;
  };
  for (const BlockBench::Kept &each : two.kept()) {
    if (each.opPart.empty() || each.part == two.output().part)
      continue;
    SCOPED_TRACE(each.part);
    EXPECT_TRUE(isSame(treated(two, each.part, Treatment::offload_late),
                       treated(none, each.part, Treatment::offload)));
    EXPECT_TRUE(isSame(treated(one, each.part, Treatment::offload_late),
                       treated(one, each.part, Treatment::offload)));
  }
}

// What two blocks wait for the link makes their backward longer than if nothing
// came back late, by no more than the copies take.
TEST_F(BlockBenches, WaitsForTheLinkAreToldApart) {
  BlockBench two = bench(2);
  const BlockFigures all = kept(two);
  EXPECT_EQ(all.backwardWaits.unhinderedNs, all.backwardNs);
  EXPECT_GT(all.backwardWaits.mayWaitNs, 0); // what is late for a block below
  int64_t waiting = 0;
  for (const BlockBench::Kept &each : two.kept()) {
    if (each.opPart.empty() || each.part == two.output().part)
      continue;
    SCOPED_TRACE(each.part);
    const BlockFigures early = treated(two, each.part, Treatment::offload);
    EXPECT_EQ(early.backwardWaits.unhinderedNs, all.backwardWaits.unhinderedNs);
    EXPECT_LE(early.backwardNs, all.backwardNs + 2 * each.copyNs);
    EXPECT_LE(early.backwardWaits.mayWaitNs, all.backwardWaits.mayWaitNs);
    const BlockFigures late = treated(two, each.part, Treatment::offload_late);
    EXPECT_GE(late.backwardWaits.unhinderedNs,
              early.backwardWaits.unhinderedNs);
    EXPECT_LE(late.backwardWaits.unhinderedNs,
              all.backwardWaits.unhinderedNs + 2 * each.copyNs);
    waiting +=
        late.backwardWaits.unhinderedNs > early.backwardWaits.unhinderedNs;
  }
  EXPECT_GT(waiting, 0);
}

// Rows alone follow the handle that stays: later than with a new one, which the
// gradient of the combine waits for.
TEST_F(BlockBenches, RowsComeBackLateAlongTheHandle) {
  BlockBench two = bench(2);
  auto again = [&](bool withHandle) {
    FailureOr<BlockFigures> figures =
        two.treated([&](const BlockBench::Kept &kept) {
          const bool isRows = kept.part == "moe.dispatch:rows";
          return isRows || (withHandle && kept.isDispatched)
                     ? Treatment::recompute
                     : Treatment::keep;
        });
    EXPECT_TRUE(succeeded(figures));
    return failed(figures) ? BlockFigures() : *figures;
  };
  const BlockFigures along = again(false), anew = again(true);
  EXPECT_LT(anew.keptBytes, along.keptBytes);
  EXPECT_LT(along.peakBytes.front(), anew.peakBytes.front());
  EXPECT_GT(along.backwardNs, anew.backwardNs);
}

// Of three layers whose dispatches run again, each in the turn of the one above
// it: copies back are as early as of two.
TEST_F(BlockBenches, ReplaysAheadDoNotMakeCopiesLate) {
  for (const bool isSplit : {false, true}) {
    auto figures = [&](size_t count) {
      BlockBench some = bench(count, {.isSplit = isSplit});
      FailureOr<BlockFigures> made =
          some.treated([&](const BlockBench::Kept &kept) {
            return kept.part == "moe.experts.act" ? Treatment::offload
                   : kept.isDispatched            ? Treatment::recompute
                                                  : Treatment::keep;
          });
      EXPECT_TRUE(succeeded(made));
      return failed(made) ? BlockFigures() : *made;
    };
    const BlockFigures two = figures(2), three = figures(3), four = figures(4);
    EXPECT_GT(two.hostBytes, 0);
    EXPECT_EQ(three.backwardNs - two.backwardNs,
              four.backwardNs - three.backwardNs);
    EXPECT_EQ(three.weightGradNs - two.weightGradNs,
              four.weightGradNs - three.weightGradNs);
    const BlockFigures one = figures(1);
    EXPECT_LE(three.backwardNs - two.backwardNs,
              two.backwardNs - one.backwardNs);
  }
}

TEST_F(BlockBenches, SplitBackwardsHoldPendingBytes) {
  BlockBench whole = bench(1), split = bench(1, {false, true});
  EXPECT_EQ(kept(whole).pendingBytes.front(), 0);
  const BlockFigures halves = kept(split);
  EXPECT_GT(halves.pendingBytes.front(), 0);
  EXPECT_EQ(halves.backwardNs, halves.inputGradNs + halves.weightGradNs);
  EXPECT_EQ(kept(whole).forwardNs, halves.forwardNs);
}

} // namespace

//===- LinkWaitsTest.cpp - what a block waits for the host link -----------===//

#include "passes/Policies/LinkWaits.h"

#include "compiler/Schedule/Interleave.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>
#include <vector>

using namespace moe;

namespace {

/// A program of two blocks, block 1 first, by hand. What an op makes is the
/// value of its index.
struct TwoBlocks {
  plan::Program program;
  std::vector<size_t> blocks;

  plan::ValueIndex add(size_t block, int64_t ns,
                       std::vector<plan::ValueIndex> reads = {}) {
    return issue(block, plan::Stream::compute, ns, std::move(reads));
  }
  plan::ValueIndex exchange(size_t block, int64_t ns,
                            std::vector<plan::ValueIndex> reads = {}) {
    return issue(block, plan::Stream::expert_communication, ns,
                 std::move(reads));
  }
  /// Begins when the op of the compute stream before it has ended.
  plan::ValueIndex copy(size_t block, int64_t ns) {
    return issue(block, plan::Stream::copy_in, ns, {});
  }

private:
  plan::ValueIndex issue(size_t block, plan::Stream stream, int64_t ns,
                         std::vector<plan::ValueIndex> reads) {
    plan::Op op;
    op.stream = stream;
    op.timeNs = ns;
    op.waits.assign(reads.begin(), reads.end());
    op.inputs = std::move(reads);
    const auto index = static_cast<plan::ValueIndex>(program.ops.size());
    if (stream == plan::Stream::copy_in)
      for (plan::ValueIndex before = index; before-- > 0;)
        if (program.ops[static_cast<size_t>(before)].stream ==
            plan::Stream::compute) {
          op.waits.push_back(before);
          break;
        }
    op.outputs = {index};
    program.ops.push_back(std::move(op));
    blocks.push_back(block);
    return index;
  }
};

} // namespace

// 20 of the lower block's 30 pass before it reads what came early.
TEST(LinkWaits, WhatComesEarlyMayBeLate) {
  TwoBlocks two;
  const plan::ValueIndex early = two.copy(0, 500);
  two.add(1, 100);
  two.add(0, 20);
  two.add(0, 10, {early});
  const plan::Program before = two.program;
  const LinkWaits waits = findLinkWaits(two.program, two.blocks);
  EXPECT_EQ(waits.unhinderedNs, 130);
  EXPECT_EQ(waits.mayWaitNs, 20);
  EXPECT_EQ(two.program, before);
}

// What comes late is waited for in any case, the upper block's copies are not.
TEST(LinkWaits, WhatComesLateIsWaitedFor) {
  TwoBlocks two;
  const plan::ValueIndex upper = two.copy(1, 70);
  two.add(1, 100, {upper});
  const plan::ValueIndex late = two.copy(0, 25);
  two.add(0, 20);
  two.add(0, 10, {late});
  const LinkWaits waits = findLinkWaits(two.program, two.blocks);
  EXPECT_EQ(waits.unhinderedNs, 135); // 5 longer than 20 and 10
  EXPECT_EQ(waits.mayWaitNs, 0);
}

// Without copies of its own the block passes on what is late, for as long as it
// runs.
TEST(LinkWaits, WithoutCopiesAllOfTheTurnMayBeLate) {
  TwoBlocks two;
  two.add(1, 100);
  two.add(0, 20);
  two.add(0, 10);
  const LinkWaits waits = findLinkWaits(two.program, two.blocks);
  EXPECT_EQ(waits.unhinderedNs, 130);
  EXPECT_EQ(waits.mayWaitNs, 30);
}

// What the upper block has left to do in the lower one's turn brings copies of
// its own, which are waited for as they would be between others. Alone, a block
// waits for nothing.
TEST(LinkWaits, WhatIsDeferredWaitsForItsCopies) {
  TwoBlocks two;
  two.add(1, 100);
  two.add(0, 20);
  const plan::ValueIndex deferred = two.copy(1, 8);
  two.add(1, 5, {deferred});
  two.add(0, 10);
  const LinkWaits waits = findLinkWaits(two.program, two.blocks);
  EXPECT_EQ(waits.unhinderedNs, 143);
  EXPECT_EQ(waits.mayWaitNs, 10); // of the turn behind all that
  TwoBlocks one;
  const plan::ValueIndex own = one.copy(0, 50);
  one.add(0, 20, {own});
  EXPECT_EQ(findLinkWaits(one.program, one.blocks).unhinderedNs, 20);
}

// What the lower block's copies take counts by where they are issued; the upper
// block's are left out.
TEST(LinkWaits, TellWhatCopiesTake) {
  TwoBlocks two;
  const plan::ValueIndex first = two.copy(0, 40), upper = two.copy(1, 70);
  two.add(1, 60, {upper});
  const plan::ValueIndex second = two.copy(0, 7);
  two.add(1, 40);
  const plan::ValueIndex late = two.copy(0, 25);
  two.add(0, 20, {first, second});
  const plan::ValueIndex later = two.copy(0, 3);
  two.add(0, 10, {late, later});
  const LinkWaits waits = findLinkWaits(two.program, two.blocks);
  EXPECT_EQ(waits.earlyNs, 47);
  EXPECT_EQ(waits.lateNs, 28);
  // 25 and 3 behind each other, beside the lower block's 20.
  EXPECT_EQ(waits.unhinderedNs, 138);
  TwoBlocks one;
  const plan::ValueIndex own = one.copy(0, 50);
  one.add(0, 20, {own});
  const LinkWaits alone = findLinkWaits(one.program, one.blocks);
  EXPECT_EQ(alone.earlyNs, 0);
  EXPECT_EQ(alone.lateNs, 50);
}

// Rows that are exchanged again early, for weight gradients, come before the
// upper block begins to compute. What they need from the host is early, too.
TEST(LinkWaits, WhatIsExchangedAgainEarlyIsNoTurn) {
  TwoBlocks two;
  two.program.phase = plan::Phase::weight_grad;
  const plan::ValueIndex own = two.exchange(1, 30);
  const plan::ValueIndex handle = two.copy(0, 6);
  const plan::ValueIndex rows = two.exchange(0, 60, {handle});
  two.add(1, 50, {own});
  two.add(0, 20, {rows});
  const plan::Program before = two.program;
  const LinkWaits waits = findLinkWaits(two.program, two.blocks);
  EXPECT_EQ(two.program, before);
  EXPECT_EQ(waits.earlyNs, 6);
  EXPECT_EQ(waits.lateNs, 0);
  EXPECT_EQ(waits.unhinderedNs, 110); // 30 and 60, beside the upper 50
  EXPECT_EQ(waits.mayWaitNs, 0);
}

// Copies that end just as late as they may do not make the backward longer;
// any later they do: 500 random lower blocks with early copies.
TEST(LinkWaits, AreWhereTheBackwardBecomesLonger) {
  std::mt19937 random(3);
  auto pick = [&](int64_t from, int64_t to) {
    return from + static_cast<int64_t>(random() %
                                       static_cast<uint64_t>(to - from + 1));
  };
  for (int trial = 0; trial < 500; ++trial) {
    TwoBlocks two;
    std::vector<plan::ValueIndex> copies;
    std::vector<int64_t> times;
    for (int64_t count = pick(1, 4); count > 0; --count) {
      times.push_back(pick(1, 30));
      copies.push_back(two.copy(0, times.back()));
    }
    const int64_t upper = pick(200, 300);
    two.add(1, upper);
    for (plan::ValueIndex each : copies) {
      two.add(0, pick(1, 40));
      two.add(0, pick(1, 40), {each});
    }
    const LinkWaits waits = findLinkWaits(two.program, two.blocks);
    const int64_t all = std::accumulate(times.begin(), times.end(), int64_t{0});
    // All of them `late` behind the begin of the lower block.
    auto durationNs = [&](int64_t late) {
      two.program.ops[0].timeNs = upper + late - (all - times.front());
      return schedule::durationNs(two.program);
    };
    EXPECT_EQ(durationNs(0), waits.unhinderedNs);
    EXPECT_EQ(durationNs(waits.mayWaitNs), waits.unhinderedNs);
    EXPECT_EQ(durationNs(waits.mayWaitNs + 1), waits.unhinderedNs + 1);
  }
}

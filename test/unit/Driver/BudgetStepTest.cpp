//===- BudgetStepTest.cpp - budgets that plans are made for ---------------===//

#include "driver/BudgetStep.h"

#include <gtest/gtest.h>

#include <random>

using namespace moe;
using driver::BudgetStep;

namespace {

TEST(BudgetStep, RisesByLessThanAFiveHundredth) {
  for (int64_t index = 0; index < 512 * 40; ++index) {
    const int64_t bytes = BudgetStep{index}.bytes();
    const int64_t next = BudgetStep{index + 1}.bytes();
    EXPECT_LT(bytes, next);
    EXPECT_LE(next - bytes, bytes / 512);
  }
}

TEST(BudgetStep, IsTheLargestWithin) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 100'000; ++round) {
    const auto bytes =
        static_cast<int64_t>(512 + (random() >> (11 + random() % 43)));
    const BudgetStep step = BudgetStep::within(bytes);
    EXPECT_LE(step.bytes(), bytes);
    EXPECT_GT(BudgetStep{step.index + 1}.bytes(), bytes);
    EXPECT_EQ(BudgetStep::within(step.bytes()).index, step.index);
  }
}

TEST(BudgetStep, HasAFirst) {
  for (int64_t bytes : {0, 1, 511})
    EXPECT_EQ(BudgetStep::within(bytes).index, 0);
}

// Budgets that people ask for are steps.
TEST(BudgetStep, HasEighthsOfAGibibyte) {
  for (int64_t eighths = 1; eighths <= 64 * 8; ++eighths)
    EXPECT_EQ(BudgetStep::within(eighths << 27).bytes(), eighths << 27);
}

// Of sixteen and of 256 in each power of two.
TEST(BudgetStep, IsRoundedDownToFewerBits) {
  for (int64_t mebibytes = 1 << 10; mebibytes < 1 << 18; mebibytes += 777) {
    const BudgetStep step = BudgetStep::within(mebibytes << 20);
    for (auto [every, bits] : {std::pair(BudgetStep::kOfEightBits, 8),
                               std::pair(BudgetStep::kOfFourBits, 4)}) {
      const int64_t bytes = step.roundedDown(every).bytes();
      EXPECT_LE(bytes, step.bytes());
      EXPECT_GT(bytes + (bytes >> (bits - 1)), step.bytes());
      const int shift = std::bit_width(static_cast<uint64_t>(bytes)) - bits;
      EXPECT_EQ(bytes >> shift << shift, bytes) << mebibytes;
    }
  }
}

} // namespace

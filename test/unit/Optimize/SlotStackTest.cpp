#include "compiler/Optimize/SlotStack.h"

#include <gtest/gtest.h>

#include <random>

using namespace moe;
using namespace moe::optimize;

namespace {

/// Whether all buffers with a place lie in the slot, and apart from those that
/// live at the same time.
void expectLegal(const std::vector<StackBuffer> &kept,
                 const std::vector<StackBuffer> &passing,
                 const StackLayout &layout) {
  PackingProblem problem;
  PackingSolution solution;
  auto add = [&](const StackBuffer &buffer, int64_t offset) {
    EXPECT_LE(offset + buffer.bytes, layout.bytes);
    problem.buffers.push_back(
        {buffer.bytes, buffer.life.begin, buffer.life.end});
    solution.offsets.push_back(offset);
    solution.height = std::max(solution.height, offset + buffer.bytes);
  };
  for (size_t i = 0; i < kept.size(); ++i)
    add(kept[i], layout.kept[i]);
  for (size_t i = 0; i < passing.size(); ++i)
    if (layout.passing[i] != -1)
      add(passing[i], layout.passing[i]);
  Status legal = verify(problem, solution);
  EXPECT_TRUE(legal.ok()) << legal.error().message;
}

TEST(SlotStack, WhatPassesLiesWhereNothingIsKeptYetOrAnyMore) {
  // Three layers, forward over [0, 6), backward over [10, 16).
  std::vector<StackBuffer> kept = {
      {100, {0, 16}}, {100, {2, 14}}, {100, {4, 12}}};
  std::vector<StackBuffer> passing = {
      {150, {1, 2}},   // forward: two layers are still to come
      {150, {12, 13}}, // backward: one is gone
      {50, {13, 14}},
      {10, {5, 6}}, // the slot is full
      {200, {14, 15}}};
  StackLayout layout = layOutSlot(kept, passing);
  EXPECT_EQ(layout.bytes, 300);
  EXPECT_EQ(layout.kept, (std::vector<int64_t>{0, 100, 200}));
  EXPECT_EQ(layout.passing, (std::vector<int64_t>{100, -1, 200, -1, 100}));
  expectLegal(kept, passing, layout);
}

TEST(SlotStack, RandomLayersShareNothingAtTheSameTime) {
  std::mt19937 random(7);
  size_t found = 0;
  for (int round = 0; round < 300; ++round) {
    std::vector<StackBuffer> kept, passing;
    constexpr int64_t length = 40;
    for (size_t i = 1 + random() % 8; i > 0; --i)
      kept.push_back({static_cast<int64_t>(random() % 5 * 100),
                      {static_cast<int64_t>(random() % length),
                       length + 1 + static_cast<int64_t>(random() % length)}});
    for (size_t i = random() % 30; i > 0; --i) {
      auto begin = static_cast<int64_t>(random() % (2 * length));
      passing.push_back(
          {static_cast<int64_t>(random() % 300),
           {begin, begin + 1 + static_cast<int64_t>(random() % 9)}});
    }
    StackLayout layout = layOutSlot(kept, passing);
    int64_t sum = 0;
    for (const StackBuffer &buffer : kept)
      sum += buffer.bytes;
    EXPECT_EQ(layout.bytes, sum);
    expectLegal(kept, passing, layout);
    ASSERT_FALSE(HasFailure()) << "round " << round;
    for (int64_t offset : layout.passing)
      found += offset != -1;
  }
  EXPECT_GT(found, 1000U);
}

} // namespace

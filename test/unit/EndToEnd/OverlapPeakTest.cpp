//===- OverlapPeakTest.cpp - what overlapping microbatches hold -----------===//

#include "driver/Driver.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

using namespace moe;

namespace {

/// Bytes that a stage keeps of a microbatch, by block.
std::map<std::string, int64_t> keptByBlock(const plan::Stage &stage) {
  std::map<std::string, int64_t> kept;
  for (const plan::Value &value : stage.values)
    if (value.memoryClass == plan::MemoryClass::saved)
      for (const std::string &block : stage.blocks)
        if (value.name.starts_with(block + "."))
          kept[block] += value.bytes;
  return kept;
}

int64_t sum(const std::map<std::string, int64_t> &bytes) {
  int64_t all = 0;
  for (const auto &[block, each] : bytes)
    all += each;
  return all;
}

int64_t largest(const std::map<std::string, int64_t> &bytes) {
  int64_t most = 0;
  for (const auto &[block, each] : bytes)
    most = std::max(most, each);
  return most;
}

} // namespace

// A forward that fills its stage while a backward empties one takes its bytes
// layer by layer from it: a rank of DualPipeV holds what 2P stages keep and one
// layer, not the 2P + 1 stages that counting whole ones gives.
TEST(OverlapPeak, IsOneLayerAboveWhatIsHeld) {
  driver::PlanRequest request;
  request.modelPath = "examples/models/deepseek-v3.json";
  request.layout.pipeline = 8;
  request.layout.expert = 64;
  request.layout.microbatches = 24;
  request.layout.sequenceLength = 4096;
  request.schedule = "dualpipe-v";
  request.budgetBytes = int64_t{1} << 40;
  Result<driver::PlanAnswer> made = driver::makePlan(request);
  ASSERT_TRUE(made) << made.error().message;
  size_t overlaps = 0, ofWholeStages = 0;
  for (const plan::Rank &rank : made->plan.ranks)
    for (const plan::Overlap &overlap : rank.overlaps) {
      const auto &[forward, backward] = overlap.members;
      ASSERT_EQ(forward.phase, plan::Phase::forward);
      auto filled = keptByBlock(made->plan.stages[forward.stage]);
      auto emptied = keptByBlock(made->plan.stages[backward.stage]);
      int64_t most = 0;
      for (const plan::ByteCounts &live : overlap.live)
        most = std::max(most, live[plan::MemoryClass::saved]);
      int64_t more = std::max<int64_t>(0, sum(filled) - sum(emptied));
      int64_t layer = std::max(largest(filled), largest(emptied));
      EXPECT_LE(most, more + layer) << "rank " << rank.rank;
      ++overlaps;
      ofWholeStages += more + layer < sum(filled);
    }
  EXPECT_EQ(overlaps, 16U);
  // Where that says something: what both hold would be more.
  EXPECT_GE(ofWholeStages, 12U);
}

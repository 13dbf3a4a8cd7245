//===- DrawnModel.h - blocks with times of their own ------------*- C++ -*-===//
#pragma once

#include "compiler/Schedule/Generators.h"
#include "driver/Choose.h"
#include "test/unit/Optimize/Dice.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace moe::driver {

/// An embedding, layers of two kinds and a head. Times are multiples of eight:
/// shares of them in eighths are exact.
inline ModelOptions drawModel(optimize::Random &draw, int64_t layers) {
  ModelOptions model;
  auto times = [&] {
    BlockTimes drawn;
    for (int64_t BlockTimes::*each :
         {&BlockTimes::forwardNs, &BlockTimes::backwardNs,
          &BlockTimes::inputGradNs, &BlockTimes::weightGradNs})
      drawn.*each = 8 * draw(1, 100);
    return drawn;
  };
  for (int64_t kind = 0; kind < 4; ++kind) {
    BlockOptions &block = model.kinds.emplace_back();
    block.inside = times();
    block.last = times();
    block.figures.forwardNs = block.inside.forwardNs;
    block.figures.backwardNs = block.inside.backwardNs;
    block.figures.options.resize(1);
    block.figures.isLayer = kind == 1 || kind == 2;
    block.options.resize(1);
  }
  model.blocks = {0};
  for (int64_t layer = 0; layer < layers; ++layer)
    model.blocks.push_back(draw(1, 2));
  model.blocks.push_back(3);
  model.names.resize(model.blocks.size());
  model.hostBytesPerNs = 2;
  model.overlapShare = static_cast<double>(draw(0, 4)) / 8;
  return model;
}

/// What the generator called `name` makes of so many ranks.
inline schedule::Schedule orderOf(std::string_view name, int64_t ranks,
                                  int64_t microbatches) {
  schedule::ScheduleProblem problem;
  problem.ranks = ranks;
  problem.microbatches = microbatches;
  for (const schedule::GeneratorInfo &each : schedule::generators())
    if (each.name == name) {
      problem.placement = each.placement;
      problem.stagesPerRank = each.stagesPerRank;
    }
  Result<schedule::Schedule> made = schedule::generate(name, problem);
  EXPECT_TRUE(made) << made.error().message;
  return made ? std::move(*made) : schedule::Schedule();
}

/// Some cut: every stage has a block.
inline std::vector<int64_t> drawCut(optimize::Random &draw, int64_t blocks,
                                    int64_t stages) {
  std::vector<int64_t> counts(static_cast<size_t>(stages), 1);
  for (int64_t left = blocks - stages; left > 0; --left)
    ++counts[static_cast<size_t>(draw(0, stages - 1))];
  return counts;
}

} // namespace moe::driver

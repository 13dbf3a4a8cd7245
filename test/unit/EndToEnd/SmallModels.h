//===- SmallModels.h - reduced models for whole runs ------------*- C++ -*-===//
#pragma once

#include "driver/Driver.h"
#include "runtime/Exec/Run.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace moe::test {

/// The families, by the name of their configuration in examples/models.
inline const std::vector<std::string> kFamilies = {
    "deepseek-v2-lite", "deepseek-v3", "qwen3-30b-a3b", "mixtral-8x7b",
    "gpt-oss-20b",      "glm-4.5-air", "olmoe-1b-7b"};

/// The name of a family as part of a test's name.
std::string familyName(const testing::TestParamInfo<std::string> &info);

/// A reduction of `family` to `layers` layers with all other sizes drawn from
/// `random`. The number of experts is a multiple of 4.
std::string randomReduction(const std::string &family, int64_t layers,
                            std::mt19937 &random);

/// A request for `family` as published but for `reduction`, with memory for any
/// routing and with the multi-token prediction module if it was left.
driver::PlanRequest request(const std::string &family, std::string reduction);

/// Bytes of the arena of the rank with the most.
int64_t largestArena(const plan::Plan &plan);

/// Trains for `steps` steps on bytes that repeat nowhere; reports what failed,
/// if anything did. The gradients of the last step are written into the
/// directory `gradients` if it is not empty.
Result<exec::RunReport> runPlan(const plan::Plan &plan, int64_t steps,
                                const exec::ExecutorOptions &options = {},
                                const std::string &gradients = "");

/// Plans, and trains likewise.
Result<exec::RunReport> planAndRun(const driver::PlanRequest &request,
                                   int64_t steps,
                                   const exec::ExecutorOptions &options = {});

} // namespace moe::test

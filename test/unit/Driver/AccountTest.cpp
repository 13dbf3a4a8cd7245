//===- AccountTest.cpp - what layers are thought to take, and what they do ===//
//
// The planner chooses by an account: layers are measured in twos and threes,
// and ranks add them up. Compiled drafts of whole ranks, which share nothing
// with it but the passes, say how wrong it is.
//
//===----------------------------------------------------------------------===//

#include "driver/Compile.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>

using namespace moe;
using namespace moe::driver;

namespace {

struct Case {
  std::string model;
  int64_t pipeline, expert;
};

class Account : public testing::TestWithParam<Case> {
protected:
  void SetUp() override {
    request.modelPath = "examples/models/" + GetParam().model + ".json";
    request.layout.pipeline = GetParam().pipeline;
    request.layout.expert = GetParam().expert;
    request.layout.microbatches = 2 * GetParam().pipeline;
    request.layout.sequenceLength = 4096;
    request.recompute = request.offload = "auto";
    // What streams would wait for each other's bytes is another matter.
    request.budgetBytes = int64_t{1} << 40;
  }

  PlanRequest request;
};

} // namespace

// All layers of a kind treated alike, in every way that is weighed: exact where
// all is kept, mostly within half a percent elsewhere. Far off are the ways
// that move nearly everything to the host: what copies of neighbours do to each
// other depends on all of them.
TEST_P(Account, IsWhatRanksTake) {
  Result<Inputs> inputs = gatherInputs(request);
  ASSERT_TRUE(inputs) << inputs.error().message;
  Result<Compiler> compiler = Compiler::make(*inputs);
  ASSERT_TRUE(compiler) << compiler.error().message;
  const Trial trial{request.schedule};
  Result<Chooser> chooser = makeChooser(*inputs, *compiler, trial);
  ASSERT_TRUE(chooser) << chooser.error().message;
  const std::vector<int64_t> unlimited(chooser->rankCount(),
                                       optimize::kUnlimitedBytes);
  Result<Chosen> even = chooser->choose({unlimited, unlimited});
  ASSERT_TRUE(even) << even.error().message;

  double sumOfTime = 0, sumOfBytes = 0;
  int64_t count = 0;
  size_t ways = 0;
  for (const BlockOptions &kind : chooser->model().kinds)
    ways = std::max(ways, kind.options.size());
  for (size_t way = 0; way < ways; ++way) {
    std::vector<optimize::Choices> choices(chooser->rankCount());
    size_t block = 0;
    for (size_t stage = 0; stage < even->counts.size(); ++stage) {
      std::vector<int64_t> &own =
          choices[chooser->rankOf(stage)].emplace_back();
      for (int64_t b = 0; b < even->counts[stage]; ++b, ++block) {
        auto kind = static_cast<size_t>(chooser->model().blocks[block]);
        own.push_back(static_cast<int64_t>(
            std::min(way, chooser->model().kinds[kind].options.size() - 1)));
      }
    }
    Result<Chosen> chosen = chooser->with(even->counts, choices);
    ASSERT_TRUE(chosen) << chosen.error().message;
    Result<Draft> draft = compiler->draft(
        trial, {chosen->layers, chosen->recompute, chosen->offload},
        request.budgetBytes, false);
    ASSERT_TRUE(draft) << draft.error().message;
    const std::vector<int64_t> ns = chooser->rankNs(draft->stages);
    for (size_t rank = 0; rank < chooser->rankCount(); ++rank) {
      const Chosen::Rank &account = chosen->ranks[rank];
      const auto expectedNs = static_cast<double>(ns[rank]);
      const auto expectedBytes =
          static_cast<double>(draft->bytesWithoutWaits[rank]);
      const double ofTime = std::abs(
          static_cast<double>(account.ns + account.extraNs) / expectedNs - 1);
      const double ofBytes =
          std::abs(static_cast<double>(account.peakBytes) / expectedBytes - 1);
      SCOPED_TRACE("rank " + std::to_string(rank) + ", recompute " +
                   chosen->recompute + ", offload " + chosen->offload);
      EXPECT_LT(ofTime, way == 0 ? 1e-6 : .125);
      EXPECT_LT(ofBytes, way == 0 ? .005 : .04);
      sumOfTime += ofTime;
      sumOfBytes += ofBytes;
      ++count;
    }
  }
  EXPECT_LT(sumOfTime / static_cast<double>(count), .005);
  EXPECT_LT(sumOfBytes / static_cast<double>(count), .005);
}

INSTANTIATE_TEST_SUITE_P(Models, Account,
                         testing::Values(Case{"gpt-oss-20b", 2, 4},
                                         Case{"deepseek-v2-lite", 4, 4},
                                         Case{"qwen3-30b-a3b", 4, 8},
                                         Case{"mixtral-8x7b", 4, 8},
                                         Case{"deepseek-v3", 16, 64}),
                         [](const auto &info) {
                           std::string name = info.param.model;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

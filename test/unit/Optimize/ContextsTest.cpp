#include "compiler/Optimize/Contexts.h"

#include "RandomRank.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

using namespace moe;
using namespace moe::optimize;

namespace {

/// Which ops are done when an op begins, all pairs, by following stream order
/// and waits.
std::vector<std::vector<bool>> ordered(const std::vector<IssuedOp> &issued) {
  size_t count = issued.size();
  std::vector<std::vector<bool>> before(count, std::vector<bool>(count));
  for (size_t b = 0; b < count; ++b) {
    auto follow = [&](size_t a) {
      before[a][b] = true;
      for (size_t other = 0; other < a; ++other)
        if (before[other][a])
          before[other][b] = true;
    };
    for (size_t a = 0; a < b; ++a)
      if (issued[a].op->stream == issued[b].op->stream)
        follow(a);
    for (int64_t wait : issued[b].waits)
      follow(static_cast<size_t>(wait));
  }
  return before;
}

TEST(Reach, LifetimesThatDoNotMeetAreOrderedOnAllStreams) {
  std::mt19937 random(31);
  int shared = 0, across = 0;
  for (int round = 0; round < 500; ++round) {
    std::vector<plan::Op> ops(2 + random() % 14);
    Context context;
    for (size_t i = 0; i < ops.size(); ++i) {
      ops[i].stream = static_cast<plan::Stream>(
          random() % 2 ? 0 : random() % plan::kStreamCount);
      ops[i].timeNs = static_cast<int64_t>(random() % 5);
      IssuedOp issued{0, nullptr, &ops[i], {}};
      for (size_t w = random() % 3; w > 0 && i > 0; --w)
        issued.waits.push_back(static_cast<int64_t>(random() % i));
      context.issued.push_back(issued);
    }
    auto before = ordered(context.issued);
    Reach reach = reachOf(context, Reuse::withoutWaits, Sharing::slots);
    for (size_t a = 0; a < ops.size(); ++a) {
      ASSERT_LE(0, reach.begin[a]);
      ASSERT_LE(reach.begin[a], static_cast<int64_t>(2 * a));
      ASSERT_LE(static_cast<int64_t>(2 * a + 1), reach.end[a]);
      ASSERT_LE(reach.end[a], context.length());
      for (size_t b = 0; b < ops.size(); ++b) {
        if (a == b || reach.end[a] > reach.begin[b])
          continue;
        ASSERT_LT(a, b);
        ASSERT_TRUE(before[a][b]) << round << ": " << a << " and " << b;
        ++shared;
        across += ops[a].stream != ops[b].stream &&
                  ops[a].stream != plan::Stream::compute &&
                  ops[b].stream != plan::Stream::compute;
      }
    }
  }
  EXPECT_GT(shared, 5000);
  EXPECT_GT(across, 100);
}

// By the first step and the last one of each microbatch of each stage.
TEST(Contexts, MostHeldIsThatOfAllSteps) {
  std::mt19937 random(8);
  std::set<size_t> seen;
  for (int round = 0; round < 60; ++round) {
    const plan::Plan made = test::randomRank(random);
    const plan::Rank &rank = made.ranks[0];
    std::map<std::pair<int64_t, int64_t>, std::pair<size_t, size_t>> spans;
    for (size_t i = 0; i < rank.steps.size(); ++i) {
      const plan::Step &step = rank.steps[i];
      if (!plan::isExecution(step.kind))
        continue;
      auto span = [&](int64_t stage, int64_t microbatch) {
        spans.try_emplace({stage, microbatch}, i, i).first->second.second = i;
      };
      const std::vector<plan::Overlap::Member> members = membersOf(rank, step);
      span(members[0].stage, step.microbatch);
      if (step.kind == plan::StepKind::overlap)
        span(members[1].stage, step.secondMicrobatch);
      EXPECT_EQ(members.size(), step.kind == plan::StepKind::overlap ? 2u : 1u);
    }
    size_t most = 0;
    for (size_t i = 0; i < rank.steps.size(); ++i) {
      size_t held = 0;
      for (const auto &[key, span] : spans)
        held += span.first <= i && i <= span.second;
      most = std::max(most, held);
    }
    EXPECT_EQ(mostHeld(rank), most) << "round " << round;
    seen.insert(most);
  }
  EXPECT_GE(seen.size(), 3u);
}

} // namespace

//===- CorpusTest.cpp - the proof of good and of wrong plans
//---------------===//
#include "test/unit/Proof/Corpus.h"
#include "runtime/Plan/Proof.h"

#include <gtest/gtest.h>

#include <set>

using namespace moe;
using namespace moe::plan;
using test::Editor;
using test::WrongPlan;

namespace {

/// Entries whose claims are the mistake, or whose edit leaves none to restate.
bool isAboutClaims(const WrongPlan &wrong) {
  return std::string_view(wrong.rule) == "claims";
}

class Corpus : public testing::TestWithParam<WrongPlan> {};

std::string nameOf(const testing::TestParamInfo<WrongPlan> &info) {
  return info.param.name;
}

} // namespace

TEST_P(Corpus, IsRejectedForTheRightReason) {
  const WrongPlan &wrong = GetParam();
  SCOPED_TRACE(wrong.source);
  Plan plan = test::goodPlan(wrong.plan);
  Plan good = plan;
  wrong.edit(plan, Editor(plan));
  ASSERT_FALSE(plan == good) << "the edit changes nothing";
  if (!isAboutClaims(wrong))
    test::restateClaims(plan);
  Proof proof = prove(plan);
  ASSERT_FALSE(proof.holds());
  EXPECT_TRUE(proof.proven.empty());
  EXPECT_EQ(proof.counterexample->rule, wrong.rule)
      << proof.counterexample->message;
  EXPECT_NE(proof.counterexample->message.find(wrong.reason), std::string::npos)
      << proof.counterexample->message;
  // What is wrong beyond a single field has a way that leads there.
  if (proof.counterexample->rule != "form" &&
      proof.counterexample->rule != "loss" &&
      proof.counterexample->message.find("offset: ") == std::string::npos &&
      proof.counterexample->message.find("$.prediction") == std::string::npos)
    EXPECT_FALSE(proof.counterexample->trace.empty())
        << proof.counterexample->message;
  // The document says the same.
  Result<Plan> parsed = parse(print(plan));
  ASSERT_FALSE(parsed);
  EXPECT_EQ(parsed.error().message, proof.counterexample->message);
}

INSTANTIATE_TEST_SUITE_P(Published, Corpus,
                         testing::ValuesIn(test::wrongPlans()), nameOf);

TEST(Proof, EveryRuleIsBrokenByTheCorpus) {
  std::set<std::string> broken;
  for (const WrongPlan &wrong : test::wrongPlans())
    broken.insert(wrong.rule);
  for (const Rule &rule : rules())
    EXPECT_TRUE(broken.count(std::string(rule.name))) << rule.name;
  EXPECT_GE(test::wrongPlans().size(), 40u);
}

TEST(Proof, GoodPlansAreProvenWithCounts) {
  for (const char *name :
       {"tiny", "overlap", "offload", "qwen3-1f1b", "qwen3-dualpipe-v",
        "qwen3-forward", "qwen3-offload"}) {
    SCOPED_TRACE(name);
    Proof proof = prove(test::goodPlan(name));
    ASSERT_TRUE(proof.holds()) << proof.counterexample->message;
    ASSERT_EQ(proof.proven.size(), rules().size());
    for (const Proven &proven : proof.proven)
      EXPECT_TRUE(proven.count > 0 || proven.rule.name == "gradients" ||
                  proven.rule.name == "messages" ||
                  proven.rule.name == "collectives")
          << proven.rule.name;
  }
}

// Restating changes nothing where the claims are right.
TEST(Proof, RestatedClaimsOfAGoodPlanAreItsOwn) {
  Plan plan = test::goodPlan("qwen3-dualpipe-v");
  Plan restated = plan;
  for (Op &op : restated.stages[0].programs[0].ops)
    op.live = {};
  test::restateClaims(restated);
  EXPECT_TRUE(plan.stages == restated.stages);
}

// The counterexample shows the events in their order.
TEST(Proof, CounterexamplesShowTheWay) {
  Plan plan = test::goodPlan("qwen3-1f1b");
  Editor edit(plan);
  edit.op("s0", Phase::forward, "layers.0.moe.combine").waits.clear();
  Proof proof = prove(plan);
  ASSERT_FALSE(proof.holds());
  const std::vector<std::string> &trace = proof.counterexample->trace;
  ASSERT_EQ(trace.size(), 3u) << testing::PrintToString(trace);
  EXPECT_EQ(trace[0], "rank 0, step 1: run forward of stage s0, microbatch 0");
  EXPECT_NE(trace[1].find("layers.0.moe.experts.down (grouped_linear) on "
                          "compute"),
            std::string::npos)
      << trace[1];
  EXPECT_NE(trace[2].find("layers.0.moe.combine (combine) on "
                          "expert_communication"),
            std::string::npos)
      << trace[2];
}

//===- ReportTest.cpp - the data inside the report's page -----------------===//

#include "compiler/Export/Report.h"
#include "compiler/Simulate/Simulate.h"
#include "test/unit/Proof/PlanEdits.h"

#include <nlohmann/json.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace moe;
using nlohmann::json;
using testing::HasSubstr;

namespace {

plan::Plan tinyPlan() { return test::goodPlan("tiny"); }

std::string reportOf(const plan::Plan &plan) {
  Result<simulate::Timeline> timeline = simulate::simulate(plan);
  EXPECT_TRUE(timeline) << timeline.error().message;
  Result<std::string> page = report::htmlReport(plan, *timeline);
  EXPECT_TRUE(page) << page.error().message;
  return *page;
}

constexpr std::string_view kDataBegin =
    "<script type=\"application/json\" id=\"data\">";

json dataOf(const std::string &page) {
  size_t begin = page.find(kDataBegin) + kDataBegin.size();
  return json::parse(page.substr(begin, page.find("</script>", begin) - begin));
}

size_t countOf(const std::string &text, std::string_view what) {
  size_t count = 0;
  for (size_t at = text.find(what); at != std::string::npos;
       at = text.find(what, at + 1))
    ++count;
  return count;
}

class ReportOfPlanTest : public testing::TestWithParam<const char *> {};
INSTANTIATE_TEST_SUITE_P(Plans, ReportOfPlanTest,
                         testing::Values("tiny", "overlap"));

TEST_P(ReportOfPlanTest, RunsAddUpToTheTimeline) {
  plan::Plan plan = test::goodPlan(GetParam());
  Result<simulate::Timeline> timeline = simulate::simulate(plan);
  json data = dataOf(reportOf(plan));
  EXPECT_EQ(data["step_ns"], timeline->stepNs);
  ASSERT_EQ(data["ranks"].size(), plan.ranks.size());
  for (size_t r = 0; r < plan.ranks.size(); ++r) {
    const json &runs = data["ranks"][r]["runs"];
    size_t k = 0;
    int64_t beginNs = 0;
    plan::ByteCounts live;
    for (size_t i = 0; i < plan.ranks[r].steps.size(); ++i) {
      const plan::Step &step = plan.ranks[r].steps[i];
      if (plan::isOfMicrobatch(step.kind) && !plan::isExecution(step.kind))
        continue;
      ASSERT_LT(k, runs["begin"].size());
      beginNs += runs["begin"][k].get<int64_t>();
      const simulate::Interval &time = timeline->ranks[r].steps[i];
      EXPECT_EQ(beginNs, time.beginNs);
      EXPECT_EQ(runs["ns"][k], time.ns());
      const json &changed = runs["live"][k];
      for (size_t c = 0; c < changed.size(); c += 2)
        live.bytes[changed[c].get<size_t>()] += changed[c + 1].get<int64_t>();
      EXPECT_EQ(live, step.live);
      const json &execution =
          data["executions"][runs["execution"][k].get<size_t>()];
      EXPECT_EQ(execution["kind"], step.kind == plan::StepKind::run
                                       ? plan::name(step.phase)
                                       : plan::name(step.kind));
      ++k;
    }
    EXPECT_EQ(k, runs["begin"].size());
  }
}

TEST_P(ReportOfPlanTest, OpsOfAProgramFitIntoItsRun) {
  json data = dataOf(reportOf(test::goodPlan(GetParam())));
  for (const json &rank : data["ranks"])
    for (size_t k = 0; k < rank["runs"]["begin"].size(); ++k) {
      const json &execution =
          data["executions"][rank["runs"]["execution"][k].get<size_t>()];
      for (size_t o = 0; o < execution["ops"]["begin"].size(); ++o)
        EXPECT_LE(execution["ops"]["begin"][o].get<int64_t>() +
                      execution["ops"]["ns"][o].get<int64_t>(),
                  rank["runs"]["ns"][k].get<int64_t>());
    }
}

TEST(ReportTest, NoTextOfThePlanLeavesItsPlace) {
  plan::Plan plan = tinyPlan();
  size_t scripts = countOf(reportOf(plan), "</script>");
  plan.model.name = "</script><script>alert(1)</script>\"'&{{data}}";
  plan.machine.name = "<!--<script>\xE2\x80\xA8\xF0\x9F\x98\x80";
  plan.stages[0].values[0].name = "</title></script><b>\\";
  plan.assumptions.push_back({"a", "<img src=x onerror=alert(1)>", "\xFF"});
  std::string page = reportOf(plan);
  EXPECT_EQ(countOf(page, "</script>"), scripts);
  EXPECT_EQ(countOf(page, "<img"), 0u);
  EXPECT_THAT(page, HasSubstr("<title>&lt;/script&gt;"));
  json data = dataOf(page);
  EXPECT_EQ(data["model"]["name"], plan.model.name);
  EXPECT_EQ(data["machine"]["name"], plan.machine.name);
  EXPECT_EQ(data["stages"][0]["values"][0][0], plan.stages[0].values[0].name);
}

TEST(ReportTest, NeedsNoNetwork) {
  std::string page = reportOf(tinyPlan());
  for (const char *outside : {"http://", "https://", "src=", "@import", "url("})
    EXPECT_EQ(countOf(page, outside), 0u) << outside;
}

TEST(ReportTest, SamePlanSamePage) {
  EXPECT_EQ(reportOf(tinyPlan()), reportOf(tinyPlan()));
}

TEST(ReportTest, RejectsTheTimelineOfAnotherPlan) {
  plan::Plan plan = tinyPlan();
  Result<std::string> page = report::htmlReport(plan, simulate::Timeline());
  ASSERT_FALSE(page);
  EXPECT_THAT(page.error().message, HasSubstr("not one of this plan"));
}

} // namespace

// The trace is read back with a JSON parser and checked as a
// viewer would: slices nest, arrows have two ends, counters are the samples.
#include "compiler/Export/Trace.h"
#include "test/unit/Simulate/PlanBuilder.h"

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <map>
#include <set>

using namespace moe;
using nlohmann::json;
using plan::Phase;
using plan::StepKind;
using plan::Stream;
using testing::ElementsAre;

namespace {

simulate::Timeline run(const plan::Plan &plan, bool detail = true,
                       int64_t microbatches = 1000) {
  simulate::Options options;
  options.detail = detail;
  options.detailMicrobatches = microbatches;
  Result<simulate::Timeline> timeline = simulate::simulate(plan, options);
  EXPECT_TRUE(timeline.ok()) << timeline.error().message;
  return timeline ? *timeline : simulate::Timeline();
}

json trace(const plan::Plan &plan, const simulate::Timeline &timeline) {
  json document =
      json::parse(report::chromeTrace(plan, timeline), nullptr, false);
  EXPECT_FALSE(document.is_discarded());
  return document;
}

int64_t nanoseconds(const json &value) {
  return std::llround(value.get<double>() * 1000);
}

std::vector<json> ofKind(const json &document, const char *kind) {
  std::vector<json> found;
  for (const json &event : document["traceEvents"])
    if (event["ph"] == kind)
      found.push_back(event);
  return found;
}

TEST(Trace, LabelsAreThoseOfTheProfiler) {
  plan::Rank rank;
  plan::Overlap overlap;
  overlap.members = {{{3, Phase::forward}, {4, Phase::backward_input}}};
  rank.overlaps.push_back(overlap);
  plan::Step step;
  step.stage = 3;
  step.microbatch = 1;
  auto label = [&](StepKind kind, Phase phase) {
    step.kind = kind;
    step.phase = phase;
    return report::traceLabel(rank, step);
  };
  EXPECT_EQ(label(StepKind::run, Phase::forward), "PP:3F1");
  EXPECT_EQ(label(StepKind::run, Phase::backward), "PP:3B1");
  EXPECT_EQ(label(StepKind::run, Phase::backward_input), "PP:3I1");
  EXPECT_EQ(label(StepKind::run, Phase::weight_grad), "PP:3W1");
  EXPECT_EQ(label(StepKind::send, Phase::forward), "PP:3SEND_F1");
  EXPECT_EQ(label(StepKind::receive, Phase::backward), "PP:3RECV_B1");
  EXPECT_EQ(label(StepKind::update, Phase::forward), "update");
  step.overlap = 0;
  step.secondMicrobatch = 0;
  EXPECT_EQ(label(StepKind::overlap, Phase::forward),
            "PP:(3F1;4I0)OVERLAP_F_B");
}

TEST(Trace, AMessageFromRankToRank) {
  PlanBuilder builder(2);
  builder.addStage(0);
  builder.addStage(1);
  plan::Program &program = builder.addProgram(
      0, Phase::forward,
      {makeOp(1500), makeOp(700, Stream::expert_communication)});
  program.ops[0].live[plan::MemoryClass::saved] = 512;
  builder.addProgram(1, Phase::forward, {makeOp(10)});
  builder.run(0, 0, Phase::forward);
  builder.send(0, 0, Phase::forward, 1);
  builder.receive(1, 0, Phase::forward, 0);
  builder.run(1, 0, Phase::forward);
  builder.plan.machine.linkLatencyNs = 2001;
  json document = trace(builder.plan, run(builder.plan));
  EXPECT_EQ(document["displayTimeUnit"], "ms");
  auto slice = [](int64_t pid, int64_t tid, const char *name, double ts,
                  double dur) {
    return testing::ResultOf(
        [](const json &event) {
          return std::tuple(
              event["pid"].get<int64_t>(), event["tid"].get<int64_t>(),
              event["name"].get<std::string>(), event["ts"].get<double>(),
              event["dur"].get<double>());
        },
        testing::Eq(std::tuple(pid, tid, std::string(name), ts, dur)));
  };
  EXPECT_THAT(ofKind(document, "X"),
              ElementsAre(slice(0, 0, "PP:0F0", 0, 1.5),
                          slice(0, 0, "forward.0", 0, 1.5),
                          slice(0, 1, "forward.1", 0, 0.7),
                          slice(1, 0, "PP:1F0", 3.501, 0.01),
                          slice(1, 0, "forward.0", 3.501, 0.01),
                          slice(1, 4, "PP:1RECV_F0", 1.5, 2.001),
                          slice(0, 6, "PP:0SEND_F0", 1.5, 2.001)));
  std::vector<json> counters = ofKind(document, "C");
  ASSERT_EQ(counters.size(), 4u); // the op's bytes come and go, so does the sum
  EXPECT_EQ(counters[0]["name"], "mem.saved");
  EXPECT_EQ(counters[0]["args"], (json{{"bytes", 512}}));
  EXPECT_EQ(counters[1]["name"], "mem.total");
  EXPECT_EQ(counters[3]["args"], (json{{"bytes", 0}}));
  ASSERT_EQ(ofKind(document, "s").size(), 1u);
  EXPECT_EQ(ofKind(document, "s")[0]["pid"], 0);
  EXPECT_EQ(ofKind(document, "f")[0]["pid"], 1);
  EXPECT_EQ(ofKind(document, "f")[0]["bp"], "e");
}

/// Whether counters show these bytes; a counter that was never there shows 0.
bool agrees(const std::map<std::string, int64_t> &shown,
            const plan::ByteCounts &live) {
  auto of = [&](const std::string &name) {
    auto found = shown.find("mem." + name);
    return found == shown.end() ? 0 : found->second;
  };
  for (size_t c = 0; c < plan::kMemoryClassCount; ++c)
    if (of(std::string(plan::name(static_cast<plan::MemoryClass>(c)))) !=
        live.bytes[c])
      return false;
  return of("total") == live.total();
}

TEST(Trace, OfRandomPlansIsWellFormed) {
  size_t arrows = 0, nested = 0;
  for (unsigned seed = 0; seed < 150; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    plan::Plan plan = makeAnyPlan(seed);
    simulate::Timeline timeline = run(plan);
    json document = trace(plan, timeline);
    std::map<std::pair<int64_t, int64_t>, std::string> threads;
    for (const json &event : ofKind(document, "M"))
      if (event["name"] == "thread_name")
        threads[{event["pid"], event["tid"]}] = event["args"]["name"];
    ASSERT_EQ(threads.size(),
              plan.ranks.size() * (simulate::kLaneCount + 1)); // and sends

    // Slices of a thread are listed by time, parents before children, and one
    // that begins inside another ends inside it.
    std::map<std::pair<int64_t, int64_t>, std::vector<simulate::Interval>> open;
    std::map<std::pair<int64_t, int64_t>, std::vector<simulate::Interval>>
        transfers;
    size_t ops = 0, events = 0;
    for (const json &slice : ofKind(document, "X")) {
      std::pair<int64_t, int64_t> thread{slice["pid"], slice["tid"]};
      ASSERT_TRUE(threads.contains(thread));
      simulate::Interval time;
      time.beginNs = nanoseconds(slice["ts"]);
      time.endNs = time.beginNs + nanoseconds(slice["dur"]);
      ASSERT_GT(time.ns(), 0);
      ASSERT_LE(time.endNs, timeline.stepNs);
      if (slice["cat"] == "transfer") {
        transfers[thread].push_back(time);
        continue;
      }
      ops += slice["cat"] == "op";
      auto &stack = open[thread];
      while (!stack.empty() && stack.back().endNs <= time.beginNs)
        stack.pop_back();
      if (!stack.empty()) {
        ASSERT_GE(time.beginNs, stack.back().beginNs);
        ASSERT_LE(time.endNs, stack.back().endNs);
        ++nested;
      }
      stack.push_back(time);
    }
    for (auto &[thread, times] : transfers) {
      std::sort(times.begin(), times.end(),
                [](auto &a, auto &b) { return a.beginNs < b.beginNs; });
      for (size_t i = 1; i < times.size(); ++i)
        ASSERT_GE(times[i].beginNs, times[i - 1].endNs) << threads[thread];
    }
    for (const simulate::RankTimeline &rank : timeline.ranks)
      for (const simulate::Event &event : rank.events)
        events += event.op >= 0;
    ASSERT_EQ(ops, events);

    // Every arrow begins in a slice of a sender and ends in one of another
    // rank at the same time. These plans copy nothing to the host.
    std::map<int64_t, json> starts;
    for (const json &start : ofKind(document, "s")) {
      ASSERT_TRUE(starts.emplace(start["id"], start).second);
      ASSERT_EQ(start["tid"], static_cast<int64_t>(simulate::kLaneCount));
    }
    std::set<int64_t> ended;
    for (const json &end : ofKind(document, "f")) {
      ASSERT_TRUE(starts.contains(end["id"]));
      ASSERT_TRUE(ended.insert(end["id"].get<int64_t>()).second);
      const json &start = starts[end["id"]];
      ASSERT_NE(start["pid"], end["pid"]);
      for (const json &one : {start, end}) {
        auto &times = transfers[{one["pid"], one["tid"]}];
        ASSERT_TRUE(std::any_of(times.begin(), times.end(), [&](auto &time) {
          return time.beginNs == nanoseconds(one["ts"]);
        }));
      }
    }
    ASSERT_EQ(ended.size(), starts.size());
    arrows += starts.size();

    // Counters, applied in order, give the samples.
    std::vector<json> counters = ofKind(document, "C");
    size_t next = 0;
    for (size_t r = 0; r < plan.ranks.size(); ++r) {
      std::map<std::string, int64_t> shown;
      for (const simulate::MemorySample &sample : timeline.ranks[r].samples)
        for (; !agrees(shown, sample.live); ++next) {
          ASSERT_LT(next, counters.size());
          const json &counter = counters[next];
          ASSERT_EQ(counter["pid"], r);
          ASSERT_EQ(nanoseconds(counter["ts"]), sample.ns);
          shown[counter["name"]] = counter["args"]["bytes"];
        }
    }
    ASSERT_EQ(next, counters.size());
  }
  EXPECT_GT(arrows, 300u);
  EXPECT_GT(nested, 3000u);
}

TEST(Trace, StepsStayWhenDetailIsLimited) {
  plan::Plan plan = makeAnyPlan(7);
  auto count = [&](const simulate::Timeline &timeline, const char *category) {
    size_t found = 0;
    for (const json &slice : ofKind(trace(plan, timeline), "X"))
      found += slice["cat"] == category;
    return found;
  };
  simulate::Timeline full = run(plan), one = run(plan, true, 1),
                     none = run(plan, false);
  EXPECT_EQ(count(full, "step"), count(none, "step"));
  EXPECT_EQ(count(full, "transfer"), count(none, "transfer"));
  EXPECT_LT(count(one, "op"), count(full, "op"));
  EXPECT_GT(count(one, "op"), 0u);
  EXPECT_EQ(count(none, "op"), 0u);

  EXPECT_EQ(report::microbatchesForTrace(plan::Plan()), 250'000);
  PlanBuilder builder(1);
  builder.addStage(0);
  builder.addProgram(0, Phase::forward, {makeOp(1), makeOp(1), makeOp(1)});
  EXPECT_EQ(report::microbatchesForTrace(builder.plan, 10), 3);
  EXPECT_EQ(report::microbatchesForTrace(builder.plan, 1), 1);
}

TEST(Trace, OddNamesAndNothingAtAll) {
  PlanBuilder builder(1);
  builder.addStage(0);
  builder.plan.stages[0].name = "a\"b\\c\n\xff";
  builder.addProgram(0, Phase::forward, {makeOp(1)}).ops[0].name = "\"\xc3";
  builder.run(0, 0, Phase::forward);
  EXPECT_EQ(ofKind(trace(builder.plan, run(builder.plan)), "X").size(), 2u);
  plan::Plan none;
  EXPECT_TRUE(trace(none, run(none))["traceEvents"].empty());
}

} // namespace

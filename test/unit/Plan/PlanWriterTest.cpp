//===- PlanWriterTest.cpp -------------------------------------------------===//

#include "TinyPlan.h"

#include <gtest/gtest.h>

#include <limits>

namespace moe::plan {
namespace {

/// What `attributes` of the first op reads back as.
std::map<std::string, Attribute>
readBack(const std::map<std::string, Attribute> &attributes) {
  Plan plan = tinyPlan();
  plan.stages[0].programs[0].ops[0].attributes = attributes;
  Result<Plan> again = parse(print(plan));
  EXPECT_TRUE(again) << (again ? "" : again.error().message);
  return again ? again->stages[0].programs[0].ops[0].attributes
               : std::map<std::string, Attribute>();
}

// Longer than what is put together at a time, wherever a part of it ends.
TEST(PlanWriter, ListsOfAnyLength) {
  constexpr int64_t largest = int64_t{1} << 53;
  for (size_t count : {0, 1, 20, 29, 30, 31, 400}) {
    std::vector<int64_t> numbers;
    for (size_t i = 0; i < count; ++i)
      numbers.push_back(i % 2 == 0 ? largest : -largest);
    const std::map<std::string, Attribute> list = {{"axes", numbers}};
    EXPECT_EQ(readBack(list), list) << count << " numbers";
  }
}

// Keys that the format does not name may be any text.
TEST(PlanWriter, EscapesForeignKeys) {
  const std::map<std::string, Attribute> odd = {
      {"a \"quoted\" one", int64_t{1}},
      {"back\\slash", true},
      {"line\nbreak", 0.5},
      {std::string("control\x01"), std::string("\t\"text\"")}};
  EXPECT_EQ(readBack(odd), odd);
}

TEST(PlanWriter, OneLineForEachStepAndOp) {
  const Plan plan = tinyPlan();
  const std::string text = print(plan);
  auto countLines = [&](const std::string &begin) {
    size_t count = 0;
    for (size_t at = text.find(begin); at != std::string::npos;
         at = text.find(begin, at + 1)) {
      const size_t end = text.find('\n', at + 1);
      const char last = text[end - 1] == ',' ? text[end - 2] : text[end - 1];
      EXPECT_EQ(last, '}') << text.substr(at, end - at);
      ++count;
    }
    return count;
  };
  size_t steps = 0, ops = 0;
  for (const Rank &rank : plan.ranks)
    steps += rank.steps.size();
  for (const Stage &stage : plan.stages)
    for (const Program &program : stage.programs)
      ops += program.ops.size();
  EXPECT_EQ(countLines("\n        {\"kind\": "), steps);
  EXPECT_EQ(countLines("\n            {\"kind\": "), ops);
}

} // namespace
} // namespace moe::plan

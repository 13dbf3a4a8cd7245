//===- TinyPlan.cpp - the plan that tests take apart ----------------------===//

#include "TinyPlan.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

namespace moe::plan {

const std::string &tinyText() {
  static const std::string text = [] {
    std::ifstream file("test/data/plans/tiny.json");
    std::ostringstream content;
    content << file.rdbuf();
    return content.str();
  }();
  return text;
}

Plan tinyPlan() {
  Result<Plan> plan = parse(tinyText());
  EXPECT_TRUE(plan.ok()) << (plan.ok() ? "" : plan.error().message);
  return plan.ok() ? *plan : Plan();
}

std::string parseError(const std::string &text) {
  Result<Plan> plan = parse(text);
  return plan.ok() ? "no error" : plan.error().message;
}

std::string checkError(const Plan &plan) {
  Status status = check(plan);
  return status.ok() ? "no error" : status.error().message;
}

} // namespace moe::plan

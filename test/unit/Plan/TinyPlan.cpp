//===- TinyPlan.cpp - the plans that tests take apart ---------------------===//

#include "TinyPlan.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

namespace moe::plan {

namespace {

std::string readText(const char *path) {
  std::ifstream file(path);
  std::ostringstream content;
  content << file.rdbuf();
  return content.str();
}

Plan parseText(const std::string &text) {
  Result<Plan> plan = parse(text);
  EXPECT_TRUE(plan.ok()) << (plan.ok() ? "" : plan.error().message);
  return plan.ok() ? *plan : Plan();
}

} // namespace

const std::string &tinyText() {
  static const std::string text = readText("test/data/plans/tiny.json");
  return text;
}

Plan tinyPlan() { return parseText(tinyText()); }

const std::string &overlapText() {
  static const std::string text = readText("test/data/plans/overlap.json");
  return text;
}

Plan overlapPlan() { return parseText(overlapText()); }

const std::string &offloadText() {
  static const std::string text = readText("test/data/plans/offload.json");
  return text;
}

Plan offloadPlan() { return parseText(offloadText()); }

std::string parseError(const std::string &text) {
  Result<Plan> plan = parse(text);
  return plan.ok() ? "no error" : plan.error().message;
}

std::string checkError(const Plan &plan) {
  Status status = check(plan);
  return status.ok() ? "no error" : status.error().message;
}

} // namespace moe::plan

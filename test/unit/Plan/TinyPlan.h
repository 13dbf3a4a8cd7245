//===- TinyPlan.h - the plan that tests take apart --------------*- C++ -*-===//
#pragma once

#include "runtime/Plan/Plan.h"

#include <string>

namespace moe::plan {

/// test/data/plans/tiny.json: two stages on two ranks, two microbatches, GPipe.
/// Its numbers were worked out without the code under test.
const std::string &tinyText();

/// The same, parsed. Fails the test when it does not parse.
Plan tinyPlan();

/// The error of parsing `text`, or "no error".
std::string parseError(const std::string &text);

/// The error of checking `plan`, or "no error".
std::string checkError(const Plan &plan);

} // namespace moe::plan

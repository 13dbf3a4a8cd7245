//===- TinyPlan.h - the plans that tests take apart -------------*- C++ -*-===//
#pragma once

#include "runtime/Plan/Plan.h"

#include <string>

namespace moe::plan {

/// test/data/plans/tiny.json: two stages on two ranks, two microbatches, GPipe;
/// the second stage has its backward in halves. Its numbers were worked out
/// without the code under test.
const std::string &tinyText();

/// The same, parsed. Fails the test when it does not parse.
Plan tinyPlan();

/// test/data/plans/overlap.json: one stage, two microbatches, the forward of
/// one overlaps the backward of the other on two streams. Worked out by hand,
/// too.
const std::string &overlapText();

/// The same, parsed.
Plan overlapPlan();

/// test/data/plans/offload.json: the tiny plan, whose first stage copies "x" to
/// the host and back. Worked out by hand, too.
const std::string &offloadText();

/// The same, parsed.
Plan offloadPlan();

/// The error of parsing `text`, or "no error".
std::string parseError(const std::string &text);

/// The error of checking `plan`, or "no error".
std::string checkError(const Plan &plan);

} // namespace moe::plan

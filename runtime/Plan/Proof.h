//===- Proof.h - what check() has proven of a plan --------------*- C++ -*-===//
//
// check() accepts a plan or names the first place that is wrong. prove() says
// what an accepted plan is certain to do, and how many things that is about; of
// a rejected one which rule it breaks, and the events that lead there. Works on
// the document alone: nothing of the compiler that made it is trusted.
// docs/proof.md has the rules and how each is shown.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/Plan/Plan.h"

namespace moe::plan {

/// A property of plans. Names are stable: tests and tools go by them.
struct Rule {
  std::string_view name;      ///< e.g. "read-after-write"
  std::string_view statement; ///< what holds, in one line
};

/// All rules, in the order in which they are shown.
std::vector<Rule> rules();

/// A rule that holds, and the number of things that it holds for.
struct Proven {
  Rule rule;
  int64_t count = 0;
  std::string_view unit; ///< what is counted, in the plural
};

/// Why a plan is not safe.
struct Counterexample {
  std::string_view rule; ///< name of the rule that is broken
  std::string message;   ///< of check(): path in the document and reason
  /// The events that show it, in order: op names, steps and ranks.
  std::vector<std::string> trace;
};

struct Proof {
  std::vector<Proven> proven; ///< empty with a counterexample
  std::optional<Counterexample> counterexample;
  bool holds() const { return !counterexample; }
};

/// Runs check() on the plan. Takes time linear in the document, and in its
/// steps times the buffers that are live between them, up to logarithms.
Proof prove(const Plan &plan);

/// The name of the rule that an error of check() is about; "form" for fields
/// and references that are wrong in themselves.
std::string_view ruleOf(std::string_view message);

} // namespace moe::plan

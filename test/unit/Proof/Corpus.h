//===- Corpus.h - wrong plans, one for each published bug -------*- C++ -*-===//
//
// Every entry is a good plan with one small edit that makes a mistake which a
// training system has shipped, or breaks a rule of the format that keeps such
// mistakes out. Claims of bytes are restated behind the edit, so that what is
// caught is the mistake and not the account. The proof has to reject each, for
// the right reason and under the right rule, and to say what leads there.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "test/unit/Proof/PlanEdits.h"

#include <span>

namespace moe::test {

struct WrongPlan {
  const char *name;
  const char *source; ///< where it happened, or the rule
  const char *plan;   ///< what is edited
  void (*edit)(plan::Plan &, Editor);
  const char *rule;
  const char *reason; ///< part of the message
};

std::span<const WrongPlan> wrongPlans();

} // namespace moe::test

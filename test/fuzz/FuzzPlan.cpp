//===- FuzzPlan.cpp - arbitrary bytes as a plan ---------------------------===//
//
// Any text is either refused with a path or is a plan that prints and reads
// back unchanged. test/data/plans is a good corpus to begin with.
//
//===----------------------------------------------------------------------===//

#include "runtime/Plan/Plan.h"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  std::string_view text(reinterpret_cast<const char *>(data), size);
  moe::Result<moe::plan::Plan> plan = moe::plan::parse(text);
  if (!plan) {
    if (plan.error().message.empty() || plan.error().message[0] != '$')
      std::abort();
    return 0;
  }
  std::string printed = moe::plan::print(*plan);
  moe::Result<moe::plan::Plan> again = moe::plan::parse(printed);
  if (!again || !(*again == *plan) || moe::plan::print(*again) != printed)
    std::abort();
  return 0;
}

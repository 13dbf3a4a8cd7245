//===- FuzzPolicyText.cpp - arbitrary bytes as a list of targets ----------===//
//
// Any text is either refused with a message or is a list that comes back from
// its own print unchanged.
//
//===----------------------------------------------------------------------===//

#include "compiler/Optimize/PolicyText.h"

#include <algorithm>
#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  using namespace moe::policy;
  std::string_view text(reinterpret_cast<const char *>(data), size);
  moe::Result<std::vector<Choice>> choices = parseChoices(text, Leads::taken);
  if (!choices) {
    if (choices.error().message.empty())
      std::abort();
    return 0;
  }
  // Leads are all that is refused elsewhere.
  if (!parseChoices(text) &&
      std::none_of(choices->begin(), choices->end(),
                   [](const Choice &choice) { return choice.lead; }))
    std::abort();
  std::string printed;
  for (const Choice &choice : *choices)
    printed += (printed.empty() ? "" : ",") + print(choice);
  moe::Result<std::vector<Choice>> again = parseChoices(printed, Leads::taken);
  if (!again || !(*again == *choices))
    std::abort();
  return 0;
}

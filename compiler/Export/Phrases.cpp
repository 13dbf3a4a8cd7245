#include "compiler/Export/Phrases.h"

#include "compiler/Export/Summary.h"

#include <array>
#include <cstdio>

namespace moe::report {

std::string printNumber(double value, const char *format) {
  std::array<char, 64> text;
  std::snprintf(text.data(), text.size(), format, value);
  return text.data();
}

std::string blocksOf(const plan::Plan &plan, const plan::Rank &rank) {
  std::string text;
  for (int64_t index : rank.stages)
    if (index >= 0 && index < static_cast<int64_t>(plan.stages.size()))
      text += (text.empty() ? "" : " | ") +
              formatBlocks(plan.stages[static_cast<size_t>(index)].blocks);
  return text;
}

double tokensPerSecond(const plan::Plan &plan) {
  if (plan.prediction.stepNs <= 0)
    return 0;
  const plan::Layout &layout = plan.layout;
  return static_cast<double>(layout.microbatches) *
         static_cast<double>(layout.microbatchSize) *
         static_cast<double>(layout.sequenceLength) *
         static_cast<double>(layout.expert) * static_cast<double>(layout.data) *
         1e9 / static_cast<double>(plan.prediction.stepNs);
}

} // namespace moe::report

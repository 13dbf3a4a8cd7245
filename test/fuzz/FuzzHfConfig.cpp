//===- FuzzHfConfig.cpp - random bytes as a configuration -----------------===//
//
// Input: a configuration, then optionally a zero byte and a reduction.
//
//===----------------------------------------------------------------------===//

#include "compiler/Import/ModelConfig.h"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  std::string_view input(reinterpret_cast<const char *>(data), size);
  size_t zero = input.find('\0');
  auto config = moe::model::importHfConfig(input.substr(0, zero), "fuzz");
  if (!config) {
    if (config.error().message.empty())
      std::abort();
    return 0;
  }
  std::string text = moe::model::printConfig(*config);
  if (text.empty() || moe::model::countParameters(*config).total <= 0)
    std::abort();
  if (zero == input.npos)
    return 0;
  auto reduced = moe::model::reduce(*config, input.substr(zero + 1));
  if (reduced && moe::model::countParameters(*reduced).total <= 0)
    std::abort();
  return 0;
}

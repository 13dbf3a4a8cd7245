//===- StrictJson.h - JSON without second meanings --------------*- C++ -*-===//
#pragma once

#include "support/Result.h"

#include <nlohmann/json.hpp>

#include <string>
#include <string_view>

namespace moe::cost {

using Json = nlohmann::json;

/// Parses an object. `what` ("machine description") begins every error: text
/// that is no JSON, another value than an object, a key that appears twice in
/// one object.
Result<Json> parseStrictJson(std::string_view text, const std::string &what);

} // namespace moe::cost

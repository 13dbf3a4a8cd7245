//===- Json.h - a strict JSON tree ------------------------------*- C++ -*-===//
//
// nlohmann/json's parser, without its leniency: duplicate keys, integers that
// a double cannot hold and bottomless nesting are errors that name their place.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "support/Result.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace moe::plan::json {

/// Largest magnitude of an integer: what every JSON reader keeps exactly.
inline constexpr int64_t kLargestInteger = int64_t(1) << 53;

/// Deepest nesting of arrays and objects that is read.
inline constexpr size_t kDeepestNesting = 16;

/// Most members of one object that are read.
inline constexpr size_t kMostMembers = 256;

struct Node;
struct Member;
using Array = std::vector<Node>;
using Object = std::vector<Member>;

/// One JSON value. Numbers without fraction and exponent are integers.
struct Node {
  std::variant<std::nullptr_t, bool, int64_t, double, std::string, Array,
               Object>
      value;
};

/// One key of an object with its value, in the order of the text.
struct Member {
  std::string key;
  Node node;
};

/// Parses `text`. The error begins with the path of the offending value, e.g.
/// `$.stages[2].name: duplicate key`.
Result<Node> parse(std::string_view text);

/// Appends `text` to `out` as a JSON string.
void appendQuoted(std::string &out, std::string_view text);

/// Whether `text` is well-formed UTF-8, as strings in JSON have to be.
bool isUtf8(std::string_view text);

} // namespace moe::plan::json

//===- Diagnosis.h - where reading a document went wrong --------*- C++ -*-===//
//
// Private to runtime/Plan.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/Plan/Json.h"

#include <optional>

namespace moe::plan {

/// A place in the document, as a chain of stack frames: its text is only built
/// for an error.
struct Path {
  const Path *parent = nullptr;
  std::string_view key = {}; ///< of an object, or
  size_t index = 0;          ///< of an array when `key` is empty

  std::string text() const {
    if (!parent)
      return "$";
    if (key.data())
      return parent->text() + "." + std::string(key);
    return parent->text() + "[" + std::to_string(index) + "]";
  }
};

inline std::string describe(const json::Node &node) {
  static constexpr const char *kTypes[] = {
      "null", "a boolean", "an integer", "a fractional number",
      "text", "an array",  "an object"};
  return kTypes[node.value.index()];
}

/// Keeps the first error; after it, reading goes on without effect.
struct Diagnosis {
  std::optional<Error> error;

  void fail(const Path &path, const std::string &reason) {
    if (!error)
      error = Error{path.text() + ": " + reason};
  }
  void expected(const Path &path, const char *what, const json::Node &node) {
    if (!error)
      fail(path, std::string("expected ") + what + ", is " + describe(node));
  }
};

} // namespace moe::plan

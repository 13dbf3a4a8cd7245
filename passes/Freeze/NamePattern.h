//===- NamePattern.h - names of blocks and parameters -----------*- C++ -*-===//
#pragma once

#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/LogicalResult.h"

namespace moe {

/// A pattern of dotted names, part by part: text, where `*` stands for any
/// characters, or a range of numbers. It matches a name whose first parts
/// match: "layers.0-3" matches "layers.2" and "layers.2.self_attn.q_proj", and
/// "*" matches every name.
class NamePattern {
public:
  /// Fails where a part is empty or a range falls.
  static llvm::FailureOr<NamePattern> parse(llvm::StringRef text);

  bool matches(llvm::StringRef name) const;

private:
  struct Part {
    std::string text;
    bool isRange = false;
    uint64_t first = 0, last = 0;
  };
  static bool matches(const Part &part, llvm::StringRef text);

  llvm::SmallVector<Part> parts;
};

} // namespace moe

//===- Malformed.h - edits that make a good plan bad ------------*- C++ -*-===//
#pragma once

#include <span>
#include <string>

namespace moe::plan {

enum class Edit { set, remove, append };

/// One edit of a good plan, and where and why the result is refused.
struct Case {
  const char *pointer; ///< JSON pointer
  Edit edit;
  const char *value; ///< JSON text, for set and append
  const char *path;
  const char *reason;
};

inline constexpr Edit set = Edit::set;
inline constexpr Edit removeIt = Edit::remove;
inline constexpr Edit append = Edit::append;

// Shorthands of deep places.
#define STAGE0 "/stages/0"
#define STAGE1 "/stages/1"
#define FORWARD0 "/stages/0/programs/0"
#define BACKWARD0 "/stages/0/programs/1"
#define STEPS0 "/ranks/0/steps"
#define STEPS1 "/ranks/1/steps"
#define OVERLAP "/ranks/0/overlaps/0"

/// Whether `text` is a good plan, and each edit of it is refused as it says.
void expectRefused(std::span<const Case> cases, const std::string &text);

} // namespace moe::plan

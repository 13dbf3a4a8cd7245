//===- TokenRole.h - names of what is loaded from the data set --*- C++ -*-===//
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace moe {

/// Most positions that a loaded sequence may lie behind the tokens.
inline constexpr int64_t kMostTokenShift = 65;

/// The role of the tokens `shift` positions later: "tokens" (0), "labels" (1),
/// "labels_2" (2), ...
inline std::string tokenRole(int64_t shift) {
  if (shift == 0)
    return "tokens";
  return shift == 1 ? "labels" : "labels_" + std::to_string(shift);
}

/// The shift that `role` stands for; nothing if it is no such role.
inline std::optional<int64_t> parseTokenRole(std::string_view role) {
  for (int64_t shift = 0; shift <= kMostTokenShift; ++shift)
    if (role == tokenRole(shift))
      return shift;
  return std::nullopt;
}

} // namespace moe

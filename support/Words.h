//===- Words.h - numbers and nouns ------------------------------*- C++ -*-===//
#pragma once

#include <cstdint>
#include <string>

namespace moe {

/// "rank" of 1, "ranks" of any other number; "microbatches", too.
inline std::string plural(int64_t count, const std::string &noun) {
  if (count == 1)
    return noun;
  return noun + (noun.ends_with("ch") ? "es" : "s");
}

/// "1 rank", "4 ranks".
inline std::string counted(int64_t count, const std::string &noun) {
  return std::to_string(count) + " " + plural(count, noun);
}

} // namespace moe

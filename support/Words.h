//===- Words.h - numbers, nouns and lists -----------------------*- C++ -*-===//
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

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

/// What stands between the separators, empty texts too; never none.
inline std::vector<std::string_view> itemsOf(std::string_view text,
                                             char separator = ',') {
  std::vector<std::string_view> items;
  while (true) {
    const size_t end = text.find(separator);
    items.push_back(text.substr(0, end));
    if (end == std::string_view::npos)
      return items;
    text.remove_prefix(end + 1);
  }
}

} // namespace moe

//===- Arguments.cpp - what users write on command lines ------------------===//

#include "driver/Arguments.h"

#include <charconv>
#include <cmath>
#include <set>
#include <string>

using namespace moe;

static Error wrong(std::string_view text, std::string_view expected) {
  return {"'" + std::string(text) + "': expected " + std::string(expected)};
}

Result<int64_t> driver::parseBytes(std::string_view text) {
  constexpr std::string_view expected =
      "a size such as 76GiB, 80GB or 512MiB, at least 1 byte";
  static constexpr std::pair<std::string_view, double> units[] = {
      {"", 1},         {"B", 1},        {"KiB", 0x1p10}, {"MiB", 0x1p20},
      {"GiB", 0x1p30}, {"TiB", 0x1p40}, {"KB", 1e3},     {"MB", 1e6},
      {"GB", 1e9},     {"TB", 1e12}};
  double number = 0;
  auto [rest, failure] =
      std::from_chars(text.data(), text.data() + text.size(), number);
  if (failure != std::errc() || !std::isfinite(number))
    return wrong(text, expected);
  std::string_view unit(rest, text.data() + text.size() - rest);
  while (!unit.empty() && unit.front() == ' ')
    unit.remove_prefix(1);
  for (auto [name, factor] : units)
    if (unit == name) {
      double bytes = number * factor;
      if (bytes < 1 || bytes > 0x1p53)
        return wrong(text, expected);
      return static_cast<int64_t>(bytes);
    }
  return wrong(text, expected);
}

Result<plan::Layout> driver::parseLayout(std::string_view text) {
  constexpr std::string_view expected =
      "comma-separated group sizes such as pp=4,ep=8,dp=1 (keys pp, ep, dp, "
      "tp, cp; each at least 1)";
  plan::Layout layout;
  std::pair<std::string_view, int64_t *> keys[] = {{"pp", &layout.pipeline},
                                                   {"ep", &layout.expert},
                                                   {"dp", &layout.data},
                                                   {"tp", &layout.tensor},
                                                   {"cp", &layout.context}};
  std::set<std::string_view> seen;
  for (std::string_view rest = text; !rest.empty();) {
    size_t comma = rest.find(',');
    std::string_view entry = rest.substr(0, comma);
    rest = comma == std::string_view::npos ? std::string_view()
                                           : rest.substr(comma + 1);
    size_t equals = entry.find('=');
    std::string_view key = entry.substr(0, equals);
    int64_t *size = nullptr;
    for (auto [name, field] : keys)
      if (name == key)
        size = field;
    if (!size || equals == std::string_view::npos || !seen.insert(key).second)
      return wrong(text, expected);
    std::string_view number = entry.substr(equals + 1);
    auto [end, failure] =
        std::from_chars(number.data(), number.data() + number.size(), *size);
    if (failure != std::errc() || end != number.data() + number.size() ||
        *size < 1 || *size > 1'000'000)
      return wrong(text, expected);
  }
  return layout;
}

Result<double> driver::parseCapacityFactor(std::string_view text) {
  if (text == "max")
    return 0.0;
  double factor = 0;
  auto [end, failure] =
      std::from_chars(text.data(), text.data() + text.size(), factor);
  if (failure != std::errc() || end != text.data() + text.size() ||
      !(factor >= 1) || !std::isfinite(factor))
    return wrong(text, "a factor of at least 1, or max");
  return factor;
}

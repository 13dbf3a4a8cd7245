// Numbers and names for people.
#include "compiler/Export/Summary.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <optional>

namespace moe::report {

namespace {

std::string print(double value, int decimals, const char *unit) {
  std::array<char, 64> text;
  std::snprintf(text.data(), text.size(), "%.*f %s", decimals, value, unit);
  return text.data();
}

/// "layers.12" -> ("layers", 12).
struct Numbered {
  std::string prefix;
  int64_t number;
};
std::optional<Numbered> splitNumber(const std::string &block) {
  size_t dot = block.rfind('.');
  if (dot == std::string::npos || dot + 1 == block.size())
    return std::nullopt;
  int64_t number = 0;
  const char *end = block.data() + block.size();
  auto [stop, error] = std::from_chars(block.data() + dot + 1, end, number);
  if (error != std::errc() || stop != end)
    return std::nullopt;
  return Numbered{block.substr(0, dot), number};
}

} // namespace

std::string formatBytes(int64_t bytes) {
  struct Unit {
    double size;
    int decimals;
    const char *name;
  };
  constexpr Unit units[] = {{0x1p40, 2, "TiB"},
                            {0x1p30, 2, "GiB"},
                            {0x1p20, 1, "MiB"},
                            {0x1p10, 1, "KiB"}};
  double value = static_cast<double>(bytes);
  for (const Unit &unit : units)
    if (std::abs(value) >= unit.size)
      return print(value / unit.size, unit.decimals, unit.name);
  return std::to_string(bytes) + " B";
}

std::string formatNanoseconds(int64_t nanoseconds) {
  double value = static_cast<double>(nanoseconds);
  if (std::abs(value) >= 1e9)
    return print(value / 1e9, 3, "s");
  if (std::abs(value) >= 1e6)
    return print(value / 1e6, 2, "ms");
  if (std::abs(value) >= 1e3)
    return print(value / 1e3, 1, "us");
  return std::to_string(nanoseconds) + " ns";
}

std::string formatPercent(double share) { return print(100 * share, 1, "%"); }

std::string formatCount(int64_t count) {
  std::string digits = std::to_string(count);
  size_t first = digits[0] == '-' ? 1 : 0;
  for (size_t i = digits.size(); i > first + 3;) {
    i -= 3;
    digits.insert(i, ",");
  }
  return digits;
}

std::string formatBlocks(const std::vector<std::string> &blocks) {
  std::vector<std::string> parts;
  for (size_t i = 0; i < blocks.size();) {
    std::optional<Numbered> first = splitNumber(blocks[i]);
    size_t next = i + 1;
    for (; first && next < blocks.size(); ++next) {
      std::optional<Numbered> other = splitNumber(blocks[next]);
      if (!other || other->prefix != first->prefix ||
          other->number != first->number + static_cast<int64_t>(next - i))
        break;
    }
    parts.push_back(
        next == i + 1 ? blocks[i]
                      : blocks[i] + "-" +
                            std::to_string(first->number +
                                           static_cast<int64_t>(next - i) - 1));
    i = next;
  }
  std::string text;
  for (const std::string &part : parts)
    text += (text.empty() ? "" : ", ") + part;
  return text;
}

} // namespace moe::report

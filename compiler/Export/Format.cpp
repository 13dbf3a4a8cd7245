// Numbers for people.
#include "compiler/Export/Summary.h"

#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>

namespace moe::report {

namespace {

std::string print(double value, int decimals, const char *unit) {
  std::array<char, 64> text;
  std::snprintf(text.data(), text.size(), "%.*f %s", decimals, value, unit);
  return text.data();
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

std::string formatCount(int64_t count) {
  std::string digits = std::to_string(count);
  size_t first = digits[0] == '-' ? 1 : 0;
  for (size_t i = digits.size(); i > first + 3;) {
    i -= 3;
    digits.insert(i, ",");
  }
  return digits;
}

} // namespace moe::report

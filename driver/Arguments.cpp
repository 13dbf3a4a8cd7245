//===- Arguments.cpp - what users write on command lines ------------------===//

#include "driver/Arguments.h"

#include "support/Words.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <iterator>
#include <set>
#include <string>
#include <tuple>

using namespace moe;

static Error wrong(std::string_view text, std::string_view expected) {
  return {"'" + std::string(text) + "': expected " + std::string(expected)};
}

static bool equalsInAnyCase(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](unsigned char c, unsigned char d) {
                      return std::tolower(c) == std::tolower(d);
                    });
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
    if (equalsInAnyCase(unit, name)) {
      double bytes = number * factor;
      if (bytes < 1 || bytes > 0x1p53)
        return wrong(text, expected);
      // Nobody plans for that little, and many forget the unit.
      if (name.empty() && bytes < 0x1p20)
        return Error{"'" + std::string(text) + "' has no unit; is " +
                     std::string(text) + "GiB meant? If bytes are, write " +
                     std::string(text) + "B"};
      return static_cast<int64_t>(bytes);
    }
  return wrong(text, expected);
}

std::string driver::sizeText(int64_t bytes) {
  static constexpr std::pair<const char *, int64_t> units[] = {
      {"GiB", int64_t{1} << 30}, {"MiB", int64_t{1} << 20}, {"KiB", 1024}};
  auto [name, unit] = units[0];
  for (auto smaller = units + 1; bytes < unit && smaller != std::end(units);
       ++smaller)
    std::tie(name, unit) = *smaller;
  // Whole and hundredths apart, since a hundredth of 2^30 is no whole number.
  int64_t hundredths =
      bytes / unit * 100 + (bytes % unit * 100 + unit - 1) / unit;
  std::array<char, 32> text;
  snprintf(text.data(), text.size(), "%lld.%02lld %s",
           static_cast<long long>(hundredths / 100),
           static_cast<long long>(hundredths % 100), name);
  return text.data();
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
  for (std::string_view entry : itemsOf(text)) {
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

/// The whole of `text` as a number of at most a million.
static bool readNumber(std::string_view text, int64_t &number) {
  auto [end, failure] =
      std::from_chars(text.data(), text.data() + text.size(), number);
  return failure == std::errc() && end == text.data() + text.size() &&
         number >= 0 && number <= 1'000'000;
}

Result<plan::Layout> driver::withMicrobatchSize(plan::Layout layout,
                                                std::string_view text) {
  const int64_t sequences = layout.microbatches * layout.microbatchSize;
  int64_t size = 0;
  auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), size);
  if (error != std::errc() || end != text.data() + text.size() || size < 1 ||
      size > kMostMicrobatchSize)
    return Error{"'" + std::string(text) + "' is no number of sequences from " +
                 "1 to " + std::to_string(kMostMicrobatchSize)};
  if (sequences % size != 0)
    return Error{
        counted(sequences, "sequence") + (sequences == 1 ? " is" : " are") +
        " not a whole number of microbatches of " + std::to_string(size)};
  if (sequences / size > kMostMicrobatches)
    return Error{std::to_string(sequences) + " sequences are more than " +
                 std::to_string(kMostMicrobatches) + " microbatches of " +
                 std::to_string(size)};
  layout.microbatchSize = size;
  layout.microbatches = sequences / size;
  return layout;
}

Result<std::vector<int64_t>> driver::parseLayers(std::string_view text) {
  std::vector<int64_t> layers;
  for (std::string_view item : itemsOf(text))
    if (!readNumber(item, layers.emplace_back()) || layers.back() < 1)
      return wrong(text, "the layers of each stage, such as 4,4,3,4; or auto, "
                         "or uniform");
  return layers;
}

Result<std::vector<driver::Pin>> driver::parsePins(std::string_view text) {
  constexpr std::string_view expected =
      "layers and their stages such as layers.0-2=stage0,layers.7=stage2, no "
      "layer twice";
  std::vector<Pin> pins;
  for (std::string_view item : itemsOf(text)) {
    Pin &pin = pins.emplace_back();
    size_t equals = item.find('=');
    std::string_view layers = item.substr(0, equals);
    if (equals == std::string_view::npos || !layers.starts_with("layers."))
      return wrong(text, expected);
    layers.remove_prefix(7);
    std::string_view stage = item.substr(equals + 1);
    size_t dash = layers.find('-');
    if (!stage.starts_with("stage") ||
        !readNumber(stage.substr(5), pin.stage) ||
        !readNumber(layers.substr(0, dash), pin.first) ||
        !readNumber(dash == std::string_view::npos ? layers
                                                   : layers.substr(dash + 1),
                    pin.last) ||
        pin.last < pin.first)
      return wrong(text, expected);
    for (size_t i = 0; i + 1 < pins.size(); ++i)
      if (pins[i].first <= pin.last && pin.first <= pins[i].last)
        return wrong(text, expected);
  }
  return pins;
}

/// "layers.0-2=stage1".
static std::string print(const driver::Pin &pin) {
  return "layers." + std::to_string(pin.first) +
         (pin.last == pin.first ? "" : "-" + std::to_string(pin.last)) +
         "=stage" + std::to_string(pin.stage);
}

Status driver::checkPins(std::vector<Pin> pins, int64_t layers,
                         int64_t stages) {
  std::sort(pins.begin(), pins.end(),
            [](const Pin &a, const Pin &b) { return a.first < b.first; });
  for (const Pin &pin : pins) {
    if (pin.last >= layers)
      return Error{print(pin) + ": the model has layers 0 to " +
                   std::to_string(layers - 1)};
    if (pin.stage >= stages)
      return Error{print(pin) + ": there are stages 0 to " +
                   std::to_string(stages - 1)};
  }
  // Every stage needs a layer of its own: between two pins, before the first
  // one and behind the last one.
  for (size_t i = 0; i <= pins.size(); ++i) {
    const Pin before = i == 0 ? Pin{-1, -1, -1} : pins[i - 1];
    const Pin after = i == pins.size() ? Pin{layers, layers, stages} : pins[i];
    if (after.stage < before.stage)
      return Error{print(before) + " and " + print(after) +
                   ": later layers cannot lie on earlier stages"};
    if (after.stage - before.stage <= after.first - before.last)
      continue;
    const std::string pinned = i == 0 ? print(after)
                               : i == pins.size()
                                   ? print(before)
                                   : print(before) + " and " + print(after);
    return Error{pinned + ": " +
                 counted(after.first - before.last - 1, "layer") + " for the " +
                 counted(after.stage - before.stage - 1, "stage") +
                 (i == 0             ? " before"
                  : i == pins.size() ? " behind"
                                     : " between") +
                 ", each of which needs one"};
  }
  return {};
}

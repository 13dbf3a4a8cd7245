//===- Fields.h - checks of single fields -----------------------*- C++ -*-===//
//
// Private to runtime/Plan.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/Plan/Checks.h"
#include "runtime/Plan/Json.h"

#include <cmath>
#include <limits>

namespace moe::plan {

/// Largest magnitude of an integer in a plan.
inline constexpr int64_t kLargest = json::kLargestInteger;
/// Largest real number in a plan.
inline constexpr double kLargestReal = std::numeric_limits<double>::max();

/// Checks numbers and texts of one object of the document: the one at `list`,
/// or element `index` of it. The text of the path is only built for an error,
/// so what `list` refers to must outlive this.
class Fields {
public:
  explicit Fields(std::string_view list, int64_t index = -1)
      : list(list), position(index) {}

  Status range(std::string_view key, int64_t value, int64_t low,
               int64_t high) const {
    if (value >= low && value <= high)
      return {};
    std::string expected = high == kLargest
                               ? "must be at least " + std::to_string(low)
                               : "must be from " + std::to_string(low) +
                                     " to " + std::to_string(high);
    if (high == kLargest && value > high)
      expected = "must be at most 2^53";
    return fail(key, expected + ", is " + std::to_string(value));
  }

  /// An index into an array of `size` elements, or -1 where `optional`.
  Status index(std::string_view key, int64_t value, size_t size,
               const char *array, bool optional = false) const {
    if (value >= (optional ? -1 : 0) && value < static_cast<int64_t>(size))
      return {};
    return fail(key, "refers to element " + std::to_string(value) + " of " +
                         array + ", which has " + std::to_string(size) +
                         (optional ? " (-1: absent)" : ""));
  }

  Status real(std::string_view key, double value, double low,
              double high) const {
    if (value >= low && value <= high)
      return {};
    if (!std::isfinite(value))
      return fail(key, "must be finite");
    std::string expected = "must be at least " + std::to_string(low);
    if (std::isfinite(high))
      expected += " and at most " + std::to_string(high);
    return fail(key, expected + ", is " + std::to_string(value));
  }

  Status text(std::string_view key, std::string_view value) const {
    if (json::isUtf8(value))
      return {};
    return fail(key, "must be UTF-8");
  }

  Status name(std::string_view key, std::string_view value) const {
    if (value.empty())
      return fail(key, "must not be empty");
    return text(key, value);
  }

  /// Offset and size of a buffer in an arena.
  Status buffer(std::string_view key, int64_t offset, int64_t bytes,
                int64_t arenaBytes) const {
    MOE_RETURN_IF_ERROR(range(key, offset, 0, kLargest));
    if (offset % kAlignment != 0)
      return fail(key, "must be a multiple of " + std::to_string(kAlignment) +
                           ", is " + std::to_string(offset));
    if (bytes > arenaBytes - offset)
      return fail(
          key, std::to_string(bytes) + " bytes at " + std::to_string(offset) +
                   " leave the arena, which has " + std::to_string(arenaBytes));
    return {};
  }

  Status shape(std::string_view key, const std::vector<int64_t> &dimensions,
               DType dtype) const {
    if (dimensions.empty())
      return fail(key, "must have at least one dimension");
    int64_t bytes = byteSize(dtype);
    for (size_t i = 0; i < dimensions.size(); ++i) {
      if (dimensions[i] < 1 || dimensions[i] > kLargest)
        return range(element(std::string(key), i), dimensions[i], 1, kLargest);
      if (dimensions[i] > kLargest / bytes)
        return fail(key, "has more than 2^53 bytes");
      bytes *= dimensions[i];
    }
    return {};
  }

  /// Indices of a list; -1 only where `optional`.
  Status indices(std::string_view key, const std::vector<int64_t> &elements,
                 size_t size, const char *array, bool optional = false) const {
    for (size_t i = 0; i < elements.size(); ++i)
      if (elements[i] < (optional ? -1 : 0) ||
          elements[i] >= static_cast<int64_t>(size))
        return index(element(std::string(key), i), elements[i], size, array,
                     optional);
    return {};
  }

  Error fail(std::string_view key, const std::string &reason) const {
    return errorAt(path() + "." + std::string(key), reason);
  }

  std::string path() const {
    std::string text(list);
    return position == -1 ? text : element(text, position);
  }

private:
  std::string_view list;
  int64_t position;
};

} // namespace moe::plan

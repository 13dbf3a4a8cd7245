//===- FieldReader.h - typed access to the fields of a config ---*- C++ -*-===//
//
// Reads fields of a JSON object one by one and remembers the first thing that
// is wrong. Every getter returns a value within the range it was asked for,
// also after an error, so that reading code stays free of branches and looks at
// the error once, at the end.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "support/Result.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace moe::model {

class FieldReader {
public:
  using Json = nlohmann::json;

  /// `object` must be a JSON object and outlive the reader. `prefix` stands
  /// before field names in messages, e.g. "rope_scaling.".
  explicit FieldReader(const Json &object, std::string prefix = "")
      : object(object), prefix(std::move(prefix)) {}

  /// Whether the field is there and not null.
  bool has(std::string_view key) const;
  /// Whether the field is there, be it null.
  bool contains(std::string_view key) const;

  // Fields that must be there.
  int64_t integer(std::string_view key, int64_t minimum, int64_t maximum);
  bool boolean(std::string_view key);
  /// A finite number above zero.
  double positive(std::string_view key);
  /// One of `choices`.
  std::string choice(std::string_view key,
                     const std::vector<std::string_view> &choices);
  std::vector<int64_t> integers(std::string_view key, int64_t minimum,
                                int64_t maximum);
  std::vector<std::string> strings(std::string_view key);

  // Fields with a default, used where the field is absent or null.
  int64_t integerOr(std::string_view key, int64_t fallback, int64_t minimum,
                    int64_t maximum);
  bool booleanOr(std::string_view key, bool fallback);
  double positiveOr(std::string_view key, double fallback);
  /// A finite number, zero or above.
  double nonNegativeOr(std::string_view key, double fallback);

  /// Absent, null or equal to `expected`; anything else is an error that ends
  /// with `reason`.
  void mustBe(std::string_view key, const Json &expected,
              std::string_view reason);
  /// Absent or null; anything else is an error that ends with `reason`.
  void mustBeNull(std::string_view key, std::string_view reason);

  /// The object in the field, to be read by a reader of its own; null where
  /// the field is absent, null or not an object (the latter is an error).
  const Json *nested(std::string_view key);

  /// Marks fields as known without reading them.
  void ignore(std::initializer_list<std::string_view> keys);

  /// Records "<field>: is <value>; <expectation>" unless there is an error
  /// already.
  void reject(std::string_view key, const std::string &expectation);
  /// Records a message unless there is an error already.
  void fail(const std::string &message);
  /// Takes over the error of a reader of a nested object.
  void adopt(const FieldReader &nested);

  const std::optional<Error> &error() const { return firstError; }
  /// Names, with prefix, of the fields that nobody asked for, in order.
  std::vector<std::string> unread() const;

private:
  const Json *find(std::string_view key);
  const Json *require(std::string_view key, const std::string &expectation);

  const Json &object;
  std::string prefix;
  std::set<std::string, std::less<>> read;
  std::optional<Error> firstError;
};

/// A JSON value as it is quoted in messages: short, on one line.
std::string quote(const nlohmann::json &value);

/// Parses a JSON object. Syntax errors and repeated keys are errors.
Result<nlohmann::json> parseObject(std::string_view text);

} // namespace moe::model

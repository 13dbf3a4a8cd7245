//===- FieldReader.cpp - typed access to the fields of a config -----------===//

#include "compiler/Import/FieldReader.h"

#include <algorithm>
#include <cmath>

namespace moe::model {

using Json = nlohmann::json;

std::string quote(const Json &value) {
  if (value.is_object())
    return value.empty() ? "{}" : "an object";
  if (value.is_array())
    return value.empty() ? "[]" : "a list of " + std::to_string(value.size());
  std::string text = value.dump(-1, ' ', /*ensure_ascii=*/true,
                                Json::error_handler_t::replace);
  constexpr size_t kLongest = 60;
  if (text.size() > kLongest)
    text = text.substr(0, kLongest) + "...";
  return text;
}

Result<Json> parseObject(std::string_view text) {
  // The parser keeps the last of repeated keys; which one was meant is not for
  // us to guess.
  std::vector<std::set<std::string>> keys;
  std::optional<std::string> repeated;
  auto callback = [&](int, Json::parse_event_t event, Json &parsed) {
    switch (event) {
    case Json::parse_event_t::object_start:
      keys.emplace_back();
      break;
    case Json::parse_event_t::object_end:
      keys.pop_back();
      break;
    case Json::parse_event_t::key:
      if (!keys.back().insert(parsed.get_ref<const std::string &>()).second &&
          !repeated)
        repeated = quote(parsed);
      break;
    default:
      break;
    }
    return true;
  };
  Json document = Json::parse(text, callback, /*allow_exceptions=*/false);
  if (document.is_discarded())
    return Error{"not valid JSON; expected the text of a Hugging Face "
                 "config.json"};
  if (!document.is_object())
    return Error{"is " + quote(document) +
                 "; expected a JSON object, the text of a config.json"};
  if (repeated)
    return Error{*repeated + ": is given more than once; expected once"};
  return document;
}

bool FieldReader::contains(std::string_view key) const {
  return object.find(key) != object.end();
}

bool FieldReader::has(std::string_view key) const {
  auto it = object.find(key);
  return it != object.end() && !it->is_null();
}

void FieldReader::fail(const std::string &message) {
  if (!firstError)
    firstError = Error{message};
}

void FieldReader::reject(std::string_view key, const std::string &expectation) {
  auto it = object.find(key);
  std::string what = it == object.end() ? "is missing" : "is " + quote(*it);
  fail(prefix + std::string(key) + ": " + what + "; " + expectation);
}

void FieldReader::adopt(const FieldReader &nested) {
  if (nested.firstError)
    fail(nested.firstError->message);
}

const Json *FieldReader::find(std::string_view key) {
  read.emplace(key);
  auto it = object.find(key);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

const Json *FieldReader::require(std::string_view key,
                                 const std::string &expectation) {
  const Json *value = find(key);
  if (!value)
    reject(key, expectation);
  return value;
}

static std::string rangeText(int64_t minimum, int64_t maximum) {
  if (minimum == maximum)
    return "expected " + std::to_string(minimum);
  return "expected an integer from " + std::to_string(minimum) + " to " +
         std::to_string(maximum);
}

static std::optional<int64_t> integerIn(const Json &value, int64_t minimum,
                                        int64_t maximum) {
  if (!value.is_number_integer())
    return std::nullopt;
  if (value.is_number_unsigned() &&
      value.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX))
    return std::nullopt;
  int64_t number = value.get<int64_t>();
  if (number < minimum || number > maximum)
    return std::nullopt;
  return number;
}

int64_t FieldReader::integer(std::string_view key, int64_t minimum,
                             int64_t maximum) {
  const Json *value = require(key, rangeText(minimum, maximum));
  if (!value)
    return minimum;
  if (std::optional<int64_t> number = integerIn(*value, minimum, maximum))
    return *number;
  reject(key, rangeText(minimum, maximum));
  return minimum;
}

int64_t FieldReader::integerOr(std::string_view key, int64_t fallback,
                               int64_t minimum, int64_t maximum) {
  return find(key) ? integer(key, minimum, maximum) : fallback;
}

bool FieldReader::boolean(std::string_view key) {
  const Json *value = require(key, "expected true or false");
  if (!value)
    return false;
  if (value->is_boolean())
    return value->get<bool>();
  reject(key, "expected true or false");
  return false;
}

bool FieldReader::booleanOr(std::string_view key, bool fallback) {
  return find(key) ? boolean(key) : fallback;
}

double FieldReader::positive(std::string_view key) {
  const std::string expectation = "expected a number above 0";
  const Json *value = require(key, expectation);
  if (!value)
    return 1;
  if (value->is_number()) {
    double number = value->get<double>();
    if (std::isfinite(number) && number > 0)
      return number;
  }
  reject(key, expectation);
  return 1;
}

double FieldReader::positiveOr(std::string_view key, double fallback) {
  return find(key) ? positive(key) : fallback;
}

double FieldReader::nonNegativeOr(std::string_view key, double fallback) {
  const Json *value = find(key);
  if (!value)
    return fallback;
  if (value->is_number()) {
    double number = value->get<double>();
    if (std::isfinite(number) && number >= 0)
      return number;
  }
  reject(key, "expected a number that is not negative");
  return fallback;
}

std::string FieldReader::choice(std::string_view key,
                                const std::vector<std::string_view> &choices) {
  std::string expectation = "expected ";
  for (size_t i = 0; i < choices.size(); ++i)
    expectation += (i ? " or \"" : "\"") + std::string(choices[i]) + "\"";
  const Json *value = require(key, expectation);
  if (value && value->is_string()) {
    const auto &text = value->get_ref<const std::string &>();
    if (std::find(choices.begin(), choices.end(), text) != choices.end())
      return text;
  }
  reject(key, expectation);
  return std::string(choices.front());
}

std::vector<int64_t> FieldReader::integers(std::string_view key,
                                           int64_t minimum, int64_t maximum) {
  const std::string expectation = "expected a list of integers from " +
                                  std::to_string(minimum) + " to " +
                                  std::to_string(maximum);
  std::vector<int64_t> numbers;
  const Json *value = require(key, expectation);
  if (!value)
    return numbers;
  if (!value->is_array()) {
    reject(key, expectation);
    return numbers;
  }
  for (const Json &element : *value) {
    std::optional<int64_t> number = integerIn(element, minimum, maximum);
    if (!number) {
      fail(prefix + std::string(key) + ": holds " + quote(element) + "; " +
           expectation);
      return {};
    }
    numbers.push_back(*number);
  }
  return numbers;
}

std::vector<std::string> FieldReader::strings(std::string_view key) {
  const std::string expectation = "expected a list of strings";
  std::vector<std::string> texts;
  const Json *value = require(key, expectation);
  if (!value)
    return texts;
  if (!value->is_array()) {
    reject(key, expectation);
    return texts;
  }
  for (const Json &element : *value) {
    if (!element.is_string()) {
      fail(prefix + std::string(key) + ": holds " + quote(element) + "; " +
           expectation);
      return {};
    }
    texts.push_back(element.get<std::string>());
  }
  return texts;
}

void FieldReader::mustBe(std::string_view key, const Json &expected,
                         std::string_view reason) {
  const Json *value = find(key);
  if (value && *value != expected)
    reject(key, "expected " + quote(expected) + ": " + std::string(reason));
}

void FieldReader::mustBeNull(std::string_view key, std::string_view reason) {
  if (find(key))
    reject(key, "expected null: " + std::string(reason));
}

const Json *FieldReader::nested(std::string_view key) {
  const Json *value = find(key);
  if (value && !value->is_object()) {
    reject(key, "expected an object or null");
    return nullptr;
  }
  return value;
}

void FieldReader::ignore(std::initializer_list<std::string_view> keys) {
  for (std::string_view key : keys)
    read.emplace(key);
}

std::vector<std::string> FieldReader::unread() const {
  std::vector<std::string> names;
  for (auto it = object.begin(); it != object.end(); ++it)
    if (!read.count(it.key()))
      names.push_back(prefix + it.key());
  return names;
}

} // namespace moe::model

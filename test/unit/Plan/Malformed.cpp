//===- Malformed.cpp - edits that make a good plan bad --------------------===//

#include "Malformed.h"

#include "TinyPlan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace moe::plan {
namespace {

using nlohmann::ordered_json;
using testing::HasSubstr;
using testing::StartsWith;

std::string applied(const Case &test, const std::string &text) {
  ordered_json document = ordered_json::parse(text);
  ordered_json::json_pointer pointer(test.pointer);
  switch (test.edit) {
  case Edit::set:
    document[pointer] = ordered_json::parse(test.value);
    break;
  case Edit::append:
    document.at(pointer).push_back(ordered_json::parse(test.value));
    break;
  case Edit::remove: {
    ordered_json &parent = document.at(pointer.parent_pointer());
    if (parent.is_array())
      parent.erase(std::stoul(pointer.back()));
    else
      parent.erase(pointer.back());
    break;
  }
  }
  return document.dump();
}

} // namespace

void expectRefused(std::span<const Case> cases, const std::string &text) {
  // Without an edit it is a good plan.
  EXPECT_EQ(parseError(ordered_json::parse(text).dump()), "no error");
  for (const Case &test : cases) {
    std::string error = parseError(applied(test, text));
    EXPECT_THAT(error, StartsWith(test.path)) << test.pointer << test.value;
    EXPECT_THAT(error, HasSubstr(test.reason)) << test.pointer << test.value;
    std::string path = error.substr(0, error.find(": "));
    EXPECT_EQ(path[0], '$') << error;
  }
}

} // namespace moe::plan

//===- MalformedTextTest.cpp - documents that are not even JSON -----------===//

#include "TinyPlan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace moe::plan {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

/// Replaces the first `find` in the text of the tiny plan.
struct Case {
  const char *find;
  const char *replacement;
  const char *path;
  const char *reason;
};

const Case kCases[] = {
    // Duplicate keys: most JSON readers keep the last and say nothing.
    {"\"hidden\": 8", "\"hidden\": 8, \"hidden\": 9",
     "$.model.hidden: ", "duplicate key"},
    {"\"version\": 3", "\"version\": 3, \"format\": \"moe-plan\"",
     "$.format: ", "duplicate key"},
    {"\"epsilon\": 1e-06", "\"epsilon\": 1e-06, \"epsilon\": 1e-05",
     "$.stages[0].programs[0].ops[1].attributes.epsilon: ", "duplicate key"},
    {"\"saved\": 1536", "\"saved\": 1536, \"saved\": 1536",
     "$.ranks[0].peak.saved: ", "duplicate key"},
    {"\"peak_step\": 6", "\"peak_step\": 6, \"rank\": 1",
     "$.ranks[1].rank: ", "duplicate key"},

    // Numbers.
    {"\"hidden\": 8", "\"hidden\": 9007199254740993",
     "$.model.hidden: ", "the integer 9007199254740993 is beyond 2^53"},
    {"\"hidden\": 8", "\"hidden\": 99999999999999999999",
     "$.model.hidden: ", "the integer 99999999999999999999 is beyond 2^53"},
    {"\"hidden\": 8", "\"hidden\": -99999999999999999999",
     "$.model.hidden: ", "beyond 2^53"},
    {"\"bubble\": 0.3", "\"bubble\": 1e999", "$.prediction.bubble: ", "1e999"},
    {"\"bubble\": 0.3", "\"bubble\": NaN",
     "$.prediction.bubble: ", "not valid JSON"},
    {"\"bubble\": 0.3", "\"bubble\": Infinity",
     "$.prediction.bubble: ", "not valid JSON"},
    {"\"hidden\": 8", "\"hidden\": 0x8", "$.model", "not valid JSON"},
    {"\"hidden\": 8", "\"hidden\": 08", "$.model", "not valid JSON"},
    {"\"hidden\": 8", "\"hidden\": +8", "$.model.hidden: ", "not valid JSON"},
    {"\"hidden\": 8", "\"hidden\": 8e0",
     "$.model.hidden: ", "expected an integer"},

    // Syntax.
    {"\"hidden\": 8,", "\"hidden\": 8", "$.model", "not valid JSON"},
    {"\"hidden\": 8", "hidden: 8", "$.model", "not valid JSON"},
    {"\"hidden\": 8", "\"hidden\": ", "$.model.hidden: ", "not valid JSON"},
    {"\"hidden\": 8", "// eight\n\"hidden\": 8", "$.model", "not valid JSON"},
    {"[2560]", "[2560,]", "$.stages[0].slots[0][1]: ", "not valid JSON"},
    {"[2560]", "[2560", "$.stages[0].slots", "not valid JSON"},
    {"\"tiny\"", "\"ti\\xny\"", "$.model.name: ", "not valid JSON"},
    {"\"tiny\"", "\"ti\xFFny\"", "$.model.name: ", "UTF-8"},
    {"\"tiny\"", "\"ti\nny\"", "$.model.name: ", "not valid JSON"},
};

TEST(MalformedText, IsRefusedWithPathAndReason) {
  for (const Case &test : kCases) {
    std::string text = tinyText();
    size_t at = text.find(test.find);
    ASSERT_NE(at, std::string::npos) << test.find;
    text.replace(at, std::string_view(test.find).size(), test.replacement);
    std::string error = parseError(text);
    EXPECT_THAT(error, StartsWith(test.path)) << test.replacement;
    EXPECT_THAT(error, HasSubstr(test.reason)) << test.replacement;
  }
}

TEST(MalformedText, TruncationIsRefusedEverywhere) {
  const std::string &text = tinyText();
  size_t end = text.rfind('}'); // what follows is white space
  for (size_t size = 0; size <= end; size += 1 + size / 300) {
    std::string error = parseError(text.substr(0, size));
    ASSERT_THAT(error, StartsWith("$")) << size;
    ASSERT_THAT(error, HasSubstr("not valid JSON")) << size;
  }
}

TEST(MalformedText, NothingMayFollow) {
  EXPECT_THAT(parseError(tinyText() + "{}"), HasSubstr("not valid JSON"));
  EXPECT_THAT(parseError(tinyText() + std::string(1, '\0')),
              HasSubstr("not valid JSON"));
}

TEST(MalformedText, DepthIsBounded) {
  EXPECT_THAT(parseError(std::string(1 << 20, '[')),
              HasSubstr("nested deeper than 16 levels"));
  std::string objects;
  for (int i = 0; i < 1000; ++i)
    objects += "{\"a\":";
  EXPECT_THAT(parseError(objects), StartsWith("$.a.a.a.a"));
}

TEST(MalformedText, NumberOfKeysIsBounded) {
  std::string text = "{";
  for (int i = 0; i < 1000; ++i)
    text += "\"k" + std::to_string(i) + "\": 1, ";
  EXPECT_THAT(parseError(text), HasSubstr("more than 256 keys"));
}

TEST(MalformedText, EveryByteMatters) {
  // Any single byte may be damaged: the reader must not crash, and what it
  // accepts must be a plan that prints and reads back.
  const std::string &text = tinyText();
  for (size_t at = 0; at < text.size(); at += 23)
    for (char damage : {'\0', '9', '-', '"', ',', '}'}) {
      std::string broken = text;
      broken[at] = damage;
      Result<Plan> plan = parse(broken);
      if (!plan)
        continue;
      Result<Plan> again = parse(print(*plan));
      ASSERT_TRUE(again.ok()) << at << " " << damage;
      ASSERT_TRUE(*again == *plan) << at << " " << damage;
    }
}

} // namespace
} // namespace moe::plan

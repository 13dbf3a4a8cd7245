//===- JsonTest.cpp - strings as JSON has them ----------------------------===//
//
// The oracle is nlohmann's parser.
//
//===----------------------------------------------------------------------===//

#include "runtime/Plan/Json.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <random>
#include <string>

using namespace moe::plan;

namespace {

std::string asJson(const std::string &text) {
  std::string out = "before";
  json::appendQuoted(out, text);
  return out.substr(std::string("before").size());
}

TEST(Json, QuotesWhatHasToBe) {
  EXPECT_EQ(asJson(""), "\"\"");
  EXPECT_EQ(asJson("layers.3"), "\"layers.3\"");
  EXPECT_EQ(asJson("a\"b\\"), R"("a\"b\\")");
  EXPECT_EQ(asJson("\n\tx"), R"("\n\tx")");
  EXPECT_EQ(asJson(std::string("\0\x1f", 2)), R"("\u0000\u001f")");
}

TEST(Json, QuotedTextReadsBack) {
  std::mt19937 random(1);
  for (int trial = 0; trial < 2000; ++trial) {
    std::string text(random() % 12, ' ');
    for (char &c : text)
      c = random() % 3 == 0 ? "\"\\\n\t\r\b"[random() % 6]
                            : static_cast<char>(random() % 128);
    EXPECT_EQ(nlohmann::json::parse(asJson(text)).get<std::string>(), text);
  }
}

} // namespace

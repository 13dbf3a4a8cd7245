//===- WordsTest.cpp - numbers, nouns and lists ---------------------------===//

#include "support/Words.h"

#include <gtest/gtest.h>

using namespace moe;

TEST(Words, OneIsNoPlural) {
  EXPECT_EQ(counted(1, "rank"), "1 rank");
  EXPECT_EQ(counted(0, "rank"), "0 ranks");
  EXPECT_EQ(counted(2, "microbatch"), "2 microbatches");
  EXPECT_EQ(plural(1, "microbatch"), "microbatch");
}

TEST(Words, NothingIsLostBetweenSeparators) {
  using Items = std::vector<std::string_view>;
  EXPECT_EQ(itemsOf("a,bc,d"), Items({"a", "bc", "d"}));
  EXPECT_EQ(itemsOf("a;b,c;", ';'), Items({"a", "b,c", ""}));
  EXPECT_EQ(itemsOf(",,"), Items({"", "", ""}));
  EXPECT_EQ(itemsOf(""), Items({""}));
}

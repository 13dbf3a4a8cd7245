//===- ArgumentsTest.cpp - what users write on command lines --------------===//

#include "driver/Arguments.h"

#include <gtest/gtest.h>

using namespace moe::driver;

TEST(ParseBytes, TakesBinaryAndDecimalUnits) {
  EXPECT_EQ(*parseBytes("76GiB"), int64_t(76) << 30);
  EXPECT_EQ(*parseBytes("80GB"), 80'000'000'000);
  EXPECT_EQ(*parseBytes("1.5 MiB"), 3 << 19);
  EXPECT_EQ(*parseBytes("1000B"), 1000);
  EXPECT_EQ(*parseBytes("1048576"), 1 << 20);
}

TEST(ParseBytes, TakesUnitsInAnyCase) {
  EXPECT_EQ(*parseBytes("76gib"), int64_t(76) << 30);
  EXPECT_EQ(*parseBytes("2 TIB"), int64_t(2) << 40);
  EXPECT_EQ(*parseBytes("80gb"), 80'000'000'000);
}

TEST(ParseBytes, AsksForTheUnitOfWhatIsTooLittle) {
  for (const char *text : {"76", "0.5", "1048575"})
    EXPECT_FALSE(parseBytes(text)) << text;
  EXPECT_NE(parseBytes("76").error().message.find("is 76GiB meant?"),
            std::string::npos);
}

TEST(SizeText, WhatIsReadAgainIsEnough) {
  EXPECT_EQ(sizeText(int64_t{76} << 30), "76.00 GiB");
  EXPECT_EQ(sizeText((int64_t{9} << 20) + 1), "9.01 MiB");
  EXPECT_EQ(sizeText(1), "0.01 KiB");
  for (int64_t bytes : {int64_t{1}, int64_t{1'048'575}, int64_t{98'765'432},
                        int64_t{123'456'789'012}, (int64_t{76} << 30) + 1,
                        (int64_t{1} << 53) - 1}) {
    const int64_t again = *parseBytes(sizeText(bytes));
    EXPECT_GE(again, bytes);
    EXPECT_LE(again - bytes, std::max(bytes, int64_t{1024}) / 100 + 1);
  }
}

TEST(ParseBytes, RefusesWhatIsNoSize) {
  for (const char *text : {"", "GiB", "-1GiB", "0", "0.5", "12 parsecs", "1e99",
                           "nan", "inf", "1GiBs", "9999999TiB"}) {
    auto bytes = parseBytes(text);
    ASSERT_FALSE(bytes) << text;
    EXPECT_NE(bytes.error().message.find("76GiB"), std::string::npos);
  }
}

TEST(ParseLayout, FillsWhatIsGiven) {
  auto layout = parseLayout("pp=4,ep=8");
  ASSERT_TRUE(layout);
  EXPECT_EQ(layout->pipeline, 4);
  EXPECT_EQ(layout->expert, 8);
  EXPECT_EQ(layout->data, 1);
}

TEST(ParseLayout, RefusesUnknownRepeatedAndBadEntries) {
  for (const char *text :
       {"", "pp=2,", ",pp=2", "pp", "pp=", "pp=0", "pp=-1", "pp=2,pp=2", "xx=2",
        "pp=2x", "pp=2,,ep=2", "pp=99999999999999999999"}) {
    auto layout = parseLayout(text);
    ASSERT_FALSE(layout) << text;
    EXPECT_NE(layout.error().message.find("pp=4,ep=8,dp=1"), std::string::npos);
  }
}

TEST(WithMicrobatchSize, SharesTheSequences) {
  moe::plan::Layout layout;
  layout.microbatches = 16;
  layout.microbatchSize = 3;
  for (auto [text, count] : {std::pair("1", 48), {"4", 12}, {"48", 1}}) {
    auto made = withMicrobatchSize(layout, text);
    ASSERT_TRUE(made) << text;
    EXPECT_EQ(made->microbatches, count);
    EXPECT_EQ(made->microbatchSize * count, 48);
  }
  for (const char *text : {"", "0", "-1", "5", "96", "4x", " 4", "1000001",
                           "99999999999999999999"})
    EXPECT_FALSE(withMicrobatchSize(layout, text)) << text;
  layout.microbatches = kMostMicrobatches;
  EXPECT_FALSE(withMicrobatchSize(layout, "1"));
}

TEST(ParseCapacityFactor, TakesFactorsAndMax) {
  EXPECT_EQ(*parseCapacityFactor("max"), 0);
  EXPECT_EQ(*parseCapacityFactor("1.25"), 1.25);
  for (const char *text :
       {"0.9", "0", "-1", "", "nan", "inf", "1.2x", "maximum"})
    EXPECT_FALSE(parseCapacityFactor(text)) << text;
}

TEST(ParseLayers, TakesCounts) {
  EXPECT_EQ(*parseLayers("4,4,3,4"), (std::vector<int64_t>{4, 4, 3, 4}));
  EXPECT_EQ(*parseLayers("61"), (std::vector<int64_t>{61}));
  for (const char *text : {"", "4,", ",4", "4,0", "-1", "4;4", "4, 4", "x",
                           "99999999999999999999"}) {
    auto layers = parseLayers(text);
    ASSERT_FALSE(layers) << text;
    EXPECT_NE(layers.error().message.find("4,4,3,4"), std::string::npos);
  }
}

TEST(ParsePins, TakesLayersAndStages) {
  EXPECT_EQ(*parsePins("layers.0-2=stage0,layers.7=stage2"),
            (std::vector<Pin>{{0, 2, 0}, {7, 7, 2}}));
  for (const char *text :
       {"", "layers.0", "layers.0=0", "layers.2-0=stage0", "layers.=stage1",
        "layers.0-=stage1", "head=stage1", "layers.0-3=stage0,layers.3=stage1",
        "layers.0=stage", "layers.0=stage0,"}) {
    auto pins = parsePins(text);
    ASSERT_FALSE(pins) << text;
    EXPECT_NE(pins.error().message.find("layers.0-2=stage0"),
              std::string::npos);
  }
}

TEST(CheckPins, LetsThroughWhatLeavesALayerForEveryStage) {
  EXPECT_TRUE(checkPins({}, 8, 4));
  EXPECT_TRUE(checkPins({{0, 2, 0}, {7, 7, 3}}, 8, 4));
  EXPECT_TRUE(checkPins({{7, 7, 3}, {3, 3, 1}}, 8, 4)); // in any order
  EXPECT_TRUE(checkPins({{3, 3, 3}}, 8, 4));
  EXPECT_TRUE(checkPins({{2, 3, 1}, {4, 6, 1}}, 8, 2));
}

TEST(CheckPins, NamesThePinsAtFault) {
  auto errorOf = [](std::vector<Pin> pins) {
    moe::Status status = checkPins(std::move(pins), 8, 4);
    return status ? "" : status.error().message;
  };
  EXPECT_EQ(errorOf({{7, 8, 3}}),
            "layers.7-8=stage3: the model has layers 0 to 7");
  EXPECT_EQ(errorOf({{0, 2, 9}}), "layers.0-2=stage9: there are stages 0 to 3");
  EXPECT_EQ(errorOf({{6, 6, 1}, {5, 5, 2}}),
            "layers.5=stage2 and layers.6=stage1: later layers cannot lie on "
            "earlier stages");
  EXPECT_EQ(errorOf({{2, 2, 3}}),
            "layers.2=stage3: 2 layers for the 3 stages before, each of which "
            "needs one");
  EXPECT_EQ(errorOf({{6, 6, 0}}),
            "layers.6=stage0: 1 layer for the 3 stages behind, each of which "
            "needs one");
  EXPECT_EQ(errorOf({{3, 3, 0}, {4, 4, 2}}),
            "layers.3=stage0 and layers.4=stage2: 0 layers for the 1 stage "
            "between, each of which needs one");
}

#include "compiler/Export/Sweep.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <random>

namespace moe::report {
namespace {

using testing::HasSubstr;

SweepPoint pointOf(double speed, int64_t bytes, bool fits = true) {
  SweepPoint point;
  point.layout = "pp=4,ep=8,dp=1";
  point.schedule = "1f1b";
  point.budgetBytes = int64_t{76} << 30;
  point.stepNs = 1'000'000;
  point.tokensPerSecond = speed;
  point.deviceBytes = bytes;
  point.fits = fits;
  return point;
}

TEST(Sweep, TheFrontIsWhatNothingBeats) {
  std::mt19937_64 random(3);
  for (int trial = 0; trial < 50; ++trial) {
    std::vector<SweepPoint> points;
    for (int i = 0; i < 30; ++i)
      points.push_back(pointOf(static_cast<double>(random() % 12),
                               static_cast<int64_t>(random() % 12),
                               random() % 4 != 0));
    points.push_back(pointOf(100, 0));
    points.back().error = "too small";
    markFront(points);
    for (const SweepPoint &point : points) {
      bool beaten = !point.fits || !point.error.empty();
      for (const SweepPoint &other : points)
        if (other.fits && other.error.empty())
          beaten |= (other.tokensPerSecond > point.tokensPerSecond &&
                     other.deviceBytes <= point.deviceBytes) ||
                    (other.tokensPerSecond >= point.tokensPerSecond &&
                     other.deviceBytes < point.deviceBytes);
      EXPECT_EQ(point.isOnFront, !beaten);
    }
  }
}

TEST(Sweep, TableJsonAndPageSayTheSame) {
  std::vector<SweepPoint> points = {pointOf(900, int64_t{40} << 30),
                                    pointOf(1000, int64_t{60} << 30),
                                    pointOf(2000, int64_t{90} << 30, false)};
  points.push_back(pointOf(0, 0));
  points.back().error = "pp=64: <too few layers>";
  markFront(points);
  std::string table = printSweep(points);
  EXPECT_THAT(table, HasSubstr("* front"));
  EXPECT_THAT(table, HasSubstr("does not fit"));
  EXPECT_THAT(table, HasSubstr("no plan: pp=64: <too few layers>"));
  auto json = nlohmann::json::parse(sweepJson(points));
  EXPECT_EQ(json["points"].size(), 4U);
  EXPECT_EQ(json["points"][1]["on_front"], true);
  EXPECT_EQ(json["points"][2]["fits"], false);
  EXPECT_EQ(json["points"][3]["error"], "pp=64: <too few layers>");
  std::string page = sweepPage(points, "a & b");
  EXPECT_THAT(page, HasSubstr("<polyline class=\"front\""));
  EXPECT_THAT(page, HasSubstr("a &amp; b"));
  EXPECT_THAT(page, HasSubstr("&lt;too few layers&gt;"));
  EXPECT_THAT(page, testing::Not(HasSubstr("http")));
}

TEST(Sweep, MicrobatchesHaveAColumnWherePointsDifferInThem) {
  std::vector<SweepPoint> points(2, pointOf(900, int64_t{40} << 30));
  for (SweepPoint &point : points) {
    point.microbatches = 32;
    point.microbatchSize = 1;
  }
  EXPECT_THAT(printSweep(points), testing::Not(HasSubstr("microbatches")));
  points.back().microbatches = 16;
  points.back().microbatchSize = 2;
  EXPECT_THAT(printSweep(points), HasSubstr("16 x 2"));
  EXPECT_THAT(sweepPage(points, "t"), HasSubstr("<td>16 x 2</td>"));
  auto json = nlohmann::json::parse(sweepJson(points));
  EXPECT_EQ(json["points"][1]["microbatches"], 16);
  EXPECT_EQ(json["points"][1]["microbatch_size"], 2);
}

TEST(Sweep, WithoutAnyPlanThePageSaysSo) {
  SweepPoint point = pointOf(0, 0);
  point.error = "none";
  EXPECT_THAT(sweepPage({point}, "t"), HasSubstr("No plan could be made"));
}

} // namespace
} // namespace moe::report

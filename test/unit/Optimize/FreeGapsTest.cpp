#include "compiler/Optimize/FreeGaps.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <tuple>

using namespace moe;
using namespace moe::optimize;

namespace {

constexpr int64_t kMostHeight = 60;

/// The gaps at a moment, byte by byte.
std::vector<FreeGaps::Gap> gapsOf(const std::vector<TimedBox> &boxes,
                                  int64_t moment) {
  // Until when each byte is in use: 0: it is free.
  std::vector<int64_t> until(kMostHeight + 1, 0);
  for (const TimedBox &box : boxes)
    if (box.begin <= moment && moment < box.end)
      std::fill(until.begin() + box.low, until.begin() + box.high, box.end);
  std::vector<FreeGaps::Gap> gaps;
  for (int64_t at = 0; at <= kMostHeight; ++at) {
    if (until[static_cast<size_t>(at)] > 0)
      continue;
    FreeGaps::Gap &gap = gaps.emplace_back();
    gap.low = at;
    if (at > 0)
      gap.untilBelow = until[static_cast<size_t>(at) - 1];
    while (at <= kMostHeight && until[static_cast<size_t>(at)] == 0)
      ++at;
    if (at > kMostHeight)
      break;
    gap.high = at;
    gap.untilAbove = until[static_cast<size_t>(at)];
  }
  return gaps;
}

auto fieldsOf(const FreeGaps::Gap &gap) {
  return std::tuple(gap.low, gap.high, gap.untilBelow, gap.untilAbove);
}

/// A box somewhere in one of the gaps, often at one of its ends.
TimedBox randomBox(std::mt19937 &random, int64_t moment,
                   const std::vector<FreeGaps::Gap> &gaps) {
  const FreeGaps::Gap &gap = gaps[random() % gaps.size()];
  const int64_t room = std::min(gap.high, kMostHeight) - gap.low;
  TimedBox box{moment, moment + 1 + static_cast<int64_t>(random() % 12), 0, 0};
  if (room <= 0) // the highest gap, above all that is looked at
    return {};
  const int64_t size =
      1 + static_cast<int64_t>(random()) % std::min<int64_t>(room, 6);
  const int64_t apart = room - size;
  const int64_t from[] = {0, apart,
                          static_cast<int64_t>(random()) % (apart + 1)};
  box.low = gap.low + from[random() % 3];
  box.high = box.low + size;
  return box;
}

} // namespace

TEST(FreeGaps, AreThoseByteByByteAtEveryMoment) {
  std::mt19937 random(7);
  size_t compared = 0, forgotten = 0;
  for (int draw = 0; draw < 200; ++draw) {
    FreeGaps free;
    std::vector<TimedBox> boxes;
    int64_t past = 0;
    for (int64_t moment = 0; moment < 40;) {
      // Not always asked before something is inserted.
      const std::vector<FreeGaps::Gap> expected = gapsOf(boxes, moment);
      if (random() % 4 != 0) {
        const std::vector<FreeGaps::Gap> &gaps = free.at(moment);
        ASSERT_EQ(gaps.size(), expected.size());
        for (size_t i = 0; i < gaps.size(); ++i)
          ASSERT_EQ(fieldsOf(gaps[i]), fieldsOf(expected[i]));
        ++compared;
      }
      if (const TimedBox box = randomBox(random, moment, expected);
          box.end > 0) {
        free.insert(box);
        boxes.push_back(box);
      }
      if (random() % 3 == 0) {
        past = std::max(past, moment - static_cast<int64_t>(random() % 6));
        free.forget(past);
      }
      std::vector<TimedBox> living;
      for (const TimedBox &box : boxes)
        if (box.end > past)
          living.push_back(box);
      forgotten += boxes.size() - living.size();
      auto fields = [](const TimedBox &box) {
        return std::tuple(box.low, box.begin, box.high, box.end);
      };
      std::vector<TimedBox> kept = free.boxes();
      for (auto *list : {&living, &kept})
        std::stable_sort(list->begin(), list->end(),
                         [&](const TimedBox &a, const TimedBox &b) {
                           return fields(a) < fields(b);
                         });
      ASSERT_EQ(kept.size(), living.size());
      for (size_t i = 0; i < kept.size(); ++i)
        ASSERT_EQ(fields(kept[i]), fields(living[i]));
      moment += random() % 2;
    }
  }
  EXPECT_GT(compared, 5000u);
  EXPECT_GT(forgotten, 5000u);
}

TEST(FreeGaps, CanBeGoneBackTo) {
  FreeGaps free;
  free.insert({0, 9, 0, 4});
  const FreeGaps before = free;
  free.insert({2, 5, 4, 8});
  ASSERT_EQ(free.at(6).size(), 1u);
  FreeGaps again = before;
  EXPECT_EQ(again.at(2).back().low, 4);
  EXPECT_EQ(again.boxes().size(), 1u);
}

//===- PersistentBuffersTest.cpp - buffers that outlive every step --------===//

#include "runtime/Plan/Checks.h"

#include "RandomPlan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <string_view>

namespace moe::plan {
namespace {

const std::map<std::string_view, int64_t Parameter::*> kOffsets = {
    {"weight_offset", &Parameter::weightOffset},
    {"gradient_offset", &Parameter::gradientOffset},
    {"master_offset", &Parameter::masterOffset},
    {"first_moment_offset", &Parameter::firstMomentOffset},
    {"second_moment_offset", &Parameter::secondMomentOffset}};

// Whoever made the plan has counted the bytes of its ranks by itself.
TEST(PersistentBuffers, AreAllThatRanksCount) {
  int without = 0;
  for (unsigned seed = 0; seed < 200; ++seed) {
    const Plan plan = makeRandomPlan(seed);
    for (const Rank &rank : plan.ranks) {
      std::vector<PersistentBuffer> buffers;
      for (int64_t stage : rank.stages)
        appendPersistentBuffers(plan, stage, buffers);
      ByteCounts sum;
      std::set<int64_t> begins;
      for (const PersistentBuffer &buffer : buffers) {
        sum[buffer.memoryClass] += buffer.end - buffer.begin;
        const Parameter &parameter =
            plan.stages[buffer.stage].parameters[buffer.parameter];
        EXPECT_EQ(parameter.*kOffsets.at(buffer.field), buffer.begin)
            << buffer.path();
        EXPECT_TRUE(begins.insert(buffer.begin).second) << buffer.path();
      }
      EXPECT_EQ(sum, rank.persistent) << seed;
      size_t count = 0;
      for (int64_t stage : rank.stages)
        for (const Parameter &parameter : plan.stages[stage].parameters)
          for (auto [field, offset] : kOffsets) {
            count += parameter.*offset != -1;
            without += parameter.*offset == -1;
          }
      EXPECT_EQ(buffers.size(), count);
    }
  }
  EXPECT_GT(without, 50);
}

struct Range {
  int64_t begin, end;
  bool meets(const Range &other) const {
    return begin < other.end && other.begin < end;
  }
};

/// Whether a buffer of the rank's parameters meets another one, or what else
/// has a place in the arena: every pair is looked at.
bool collides(const Plan &plan, const Rank &rank) {
  std::vector<Range> lasting, others;
  auto add = [](std::vector<Range> &list, int64_t begin, int64_t bytes) {
    list.push_back({begin, begin + bytes});
  };
  for (int64_t s : rank.stages) {
    const Stage &stage = plan.stages[s];
    for (const Parameter &parameter : stage.parameters)
      for (auto [field, offset] : kOffsets) {
        int64_t elements = 1;
        for (int64_t size : parameter.shape)
          elements *= size;
        const bool isWeight = field == "weight_offset";
        const int64_t width = isWeight
                                  ? byteSize(parameter.dtype)
                                  : (parameter.dtype == DType::f64 ? 8 : 4);
        if (parameter.*offset != -1)
          add(lasting, parameter.*offset, alignUp(elements * width));
      }
    for (const Value &value : stage.values) {
      if (value.isOnHost())
        continue;
      if (value.placement == Placement::fixed)
        add(others, value.offset, value.bytes);
      else
        for (const std::vector<int64_t> &bases : stage.slots)
          add(others, bases[value.group] + value.offset, value.bytes);
    }
    for (const Program &program : stage.programs)
      for (const Op &op : program.ops)
        if (op.scratchBytes > 0)
          add(others, op.scratchOffset, op.scratchBytes);
  }
  for (size_t i = 0; i < lasting.size(); ++i) {
    for (size_t j = 0; j < i; ++j)
      if (lasting[i].meets(lasting[j]))
        return true;
    for (const Range &other : others)
      if (lasting[i].meets(other))
        return true;
  }
  return false;
}

/// All numbers that say where something lies in the arena of the rank.
std::vector<int64_t *> placesOf(Plan &plan, const Rank &rank) {
  std::vector<int64_t *> places;
  for (int64_t s : rank.stages) {
    Stage &stage = plan.stages[s];
    for (Parameter &parameter : stage.parameters)
      for (auto [field, offset] : kOffsets)
        if (parameter.*offset != -1)
          places.push_back(&(parameter.*offset));
    std::set<int64_t> groups; // on the device
    for (Value &value : stage.values)
      if (!value.isOnHost() && value.placement == Placement::fixed)
        places.push_back(&value.offset);
      else if (!value.isOnHost())
        groups.insert(value.group);
    for (std::vector<int64_t> &bases : stage.slots)
      for (int64_t group : groups)
        places.push_back(&bases[group]);
    for (Program &program : stage.programs)
      for (Op &op : program.ops)
        if (op.scratchBytes > 0)
          places.push_back(&op.scratchOffset);
  }
  return places;
}

// Anything is moved somewhere else: the check finds what every pair tells, on
// this rank alone.
TEST(PersistentBuffers, MeetNothingElse) {
  std::mt19937 random(5);
  int colliding = 0, apart = 0;
  for (unsigned seed = 0; seed < 300; ++seed) {
    const Plan original = makeRandomPlan(seed);
    for (int round = 0; round < 10; ++round) {
      Plan plan = original;
      const size_t r = random() % plan.ranks.size();
      const std::vector<int64_t *> places = placesOf(plan, plan.ranks[r]);
      int64_t &moved = *places[random() % places.size()];
      // To where another thing begins, or near it.
      moved = *places[random() % places.size()] +
              kAlignment * (static_cast<int64_t>(random() % 5) - 2);
      for (size_t rank = 0; rank < plan.ranks.size(); ++rank) {
        const Status apartFromAll =
            checkPersistentBuffers(plan, static_cast<int64_t>(rank));
        ASSERT_EQ(!apartFromAll.ok(), collides(plan, plan.ranks[rank]))
            << "seed " << seed << ", round " << round << ": "
            << (apartFromAll.ok() ? "" : apartFromAll.error().message);
        if (rank == r)
          ++(apartFromAll.ok() ? apart : colliding);
        else
          EXPECT_TRUE(apartFromAll.ok());
      }
    }
  }
  EXPECT_GT(colliding, 300);
  EXPECT_GT(apart, 300);
}

// Wherever its base lies.
TEST(PersistentBuffers, AGroupWithoutValuesHasNoBytes) {
  int moved = 0;
  for (unsigned seed = 0; seed < 100; ++seed) {
    Plan plan = makeRandomPlan(seed);
    for (Stage &stage : plan.stages) {
      std::vector<PersistentBuffer> buffers;
      appendPersistentBuffers(plan, &stage - plan.stages.data(), buffers);
      auto value = std::find_if(
          stage.values.begin(), stage.values.end(), [](const Value &each) {
            return each.placement == Placement::slot && !each.isOnHost();
          });
      if (value == stage.values.end() || buffers.empty())
        continue;
      const int64_t left = value->group;
      const auto taken = static_cast<int64_t>(stage.slots.front().size());
      for (Value &each : stage.values)
        if (each.placement == Placement::slot && each.group == left)
          each.group = taken;
      for (std::vector<int64_t> &bases : stage.slots) {
        bases.push_back(bases[left]);
        bases[left] = (buffers.front().begin + buffers.front().end) / 2;
      }
      ++moved;
    }
    for (const Rank &rank : plan.ranks) {
      const Status status = checkPersistentBuffers(plan, rank.rank);
      EXPECT_TRUE(status.ok()) << status.error().message;
    }
  }
  EXPECT_GT(moved, 50);
}

} // namespace
} // namespace moe::plan

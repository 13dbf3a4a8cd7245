#include "compiler/Optimize/SlotPlacement.h"

#include "compiler/Optimize/CommonSlot.h"
#include "compiler/Optimize/SlotGroups.h"
#include "compiler/Optimize/SlotHeights.h"
#include "compiler/Optimize/TimeOrder.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

namespace moe::optimize {
namespace {

/// The first that is not too much work.
constexpr SlotShares kFinest[] = {{1024, 512}, {128, 256}, {32, 64}};
/// Instances that are kept, times those that live at a time.
constexpr double kMostWork = 40e6;

class SlotPlacer {
public:
  SlotPlacer(plan::Plan &plan, plan::Rank &rank, const Contexts &contexts,
             Reuse reuse, int64_t base)
      : plan(plan), rank(rank), contexts(contexts), reuse(reuse), base(base) {}

  SlotHeights run(const BytesAbove &above, const BytesBeside &beside) {
    if (CommonSlot::isOf(plan, rank, contexts)) {
      group(kCommonShares, false);
      const int64_t stage = rank.stages.front();
      common.emplace(plan.stages[stage], rank, contexts, groups.at(stage));
    } else {
      // Where ops wait for bytes, those outside slots are free again sooner.
      const bool hasPassing = reuse == Reuse::withoutWaits;
      for (SlotShares shares : kFinest) {
        group(shares, hasPassing);
        if (work() <= kMostWork)
          break;
      }
    }
    findEvents();
    if (hasCommonSlot())
      common->takeProfiled({&events[0].front(), &events[1].front()});
    for (const auto &[stage, own] : groups)
      numberInstances(stage);
    followSteps();
    std::vector<int64_t> bytesAbove;
    if (!hasCommonSlot())
      bytesAbove = above(liveHeights(), begins);
    rank.hostArenaBytes = pack(true, 0, {});
    int64_t height = pack(false, base, std::move(bytesAbove)) - base;
    writeSlots();
    SlotHeights heights = followHeights(rank, contexts, instances, ranges(),
                                        begins, base, beside());
    if (hasCommonSlot()) {
      std::map<int64_t, int64_t> bases;
      for (const auto &[microbatch, slot] : slotOfMicrobatch)
        bases[microbatch] = slot.base - base;
      common->addTo(heights, bases);
    }
    heights.most = height;
    return heights;
  }

private:
  using Key = std::pair<int64_t, int64_t>; ///< stage and microbatch

  bool hasCommonSlot() const { return common && common->bytes() > 0; }

  /// Forms the groups of all stages.
  void group(SlotShares shares, bool hasPassing) {
    for (int64_t index : rank.stages) {
      plan::Stage &stage = plan.stages[index];
      std::vector<SlotGroup> &own = groups[index];
      own = formGroups(stage, shares);
      if (hasPassing)
        addPassing(stage, own, shares);
    }
  }

  /// What it takes to pack the groups.
  double work() const {
    double kept = 0, microbatches = 0;
    for (const auto &[stage, own] : groups) {
      const auto count = static_cast<double>(microbatchesOf(stage));
      microbatches += count;
      kept += count * static_cast<double>(std::count_if(
                          own.begin(), own.end(), [](const SlotGroup &group) {
                            return !group.isPassing && !group.isOnHost;
                          }));
    }
    return kept * kept / microbatches * static_cast<double>(mostHeld(rank));
  }

  int64_t microbatchesOf(int64_t stage) const {
    std::set<int64_t> microbatches;
    for (const plan::Step &step : rank.steps)
      if (step.stage == stage)
        microbatches.insert(step.microbatch);
    return static_cast<int64_t>(microbatches.size());
  }

  void findEvents() {
    for (const Context &context : contexts.all()) {
      ContextLifetimes lifetimes(context, Reuse::withoutWaits, Sharing::slots);
      std::vector<std::vector<GroupEvent>> &made = events.emplace_back();
      for (size_t m = 0; m < context.members.size(); ++m) {
        const plan::Stage &stage = plan.stages[context.members[m].stage];
        std::map<int64_t, GroupEvent> byGroup;
        lifetimes.forEach(
            stage, m,
            [&](plan::ValueIndex index, int64_t begin, int64_t end, bool isMade,
                bool isFreed) {
              const plan::Value &value = stage.values[index];
              if (!isInSlot(value))
                return;
              GroupEvent &event =
                  byGroup
                      .try_emplace(value.group, GroupEvent{value.group, -1, -1})
                      .first->second;
              if (isMade)
                event.begin =
                    event.begin == -1 ? begin : std::min(event.begin, begin);
              if (isFreed)
                event.end = std::max(event.end, end);
            },
            [](size_t, int64_t, int64_t) {});
        std::vector<GroupEvent> &list = made.emplace_back();
        for (const auto &[group, event] : byGroup)
          list.push_back(event);
      }
    }
  }

  /// Whether it is told from others of its slot.
  bool hasInstances(size_t group) const {
    return !common || !common->isProfiled(group);
  }

  void numberInstances(int64_t stage) {
    std::vector<size_t> &single = singlesOf[stage];
    std::vector<size_t> &places = placesOf[stage];
    for (size_t g = 0; g < groups.at(stage).size(); ++g) {
      places.push_back(single.size());
      if (hasInstances(g))
        single.push_back(g);
    }
    instancesOf[stage] = single.size() + (hasCommonSlot() ? 1 : 0);
  }

  /// The first instance of a microbatch on a stage; others follow, and behind
  /// them, what waits in its slot.
  size_t at(const Key &key) {
    auto [known, isNew] = firstOf.try_emplace(key, instances.size());
    if (!isNew)
      return known->second;
    const std::vector<SlotGroup> &own = groups.at(key.first);
    for (size_t g : singlesOf.at(key.first)) {
      const bool isInSlot = own[g].inSlot != -1;
      instances.push_back({{own[g].bytes, kNever, -1},
                           isInSlot && common->isPassing(g) ? 0 : own[g].bytes,
                           own[g].isOnHost,
                           own[g].isPassing,
                           isInSlot,
                           base});
    }
    if (hasCommonSlot())
      instances.push_back({{common->profile().waitingTop(), kNever, -1},
                           common->profile().waitingBytes(),
                           false,
                           false,
                           true,
                           base});
    return known->second;
  }

  /// All that waits in the slot of a microbatch of a rank with common slots.
  SlotInstance &waitingAt(size_t first) {
    return instances[first + instancesOf.at(rank.stages.front()) - 1];
  }

  void followSteps() {
    int64_t now = 0;
    size_t most = 0;
    for (const auto &[stage, count] : instancesOf)
      most += count;
    instances.reserve(most * static_cast<size_t>(plan.layout.microbatches));
    for (const plan::Step &step : rank.steps) {
      begins.push_back(now);
      if (step.stage == -1)
        continue;
      size_t first = at({step.stage, step.microbatch});
      if (plan::isExecution(step.kind)) {
        size_t index = contexts.indexOf(step);
        const Context &context = contexts.all()[index];
        if (hasCommonSlot())
          followSlot(step, index, first, now);
        int64_t stage = step.stage;
        for (size_t m = 0; m < context.members.size(); ++m) {
          if (m == 1) {
            stage = context.members[1].stage;
            first = at({stage, step.secondMicrobatch});
          }
          const std::vector<size_t> &places = placesOf.at(stage);
          for (const GroupEvent &event : events[index][m]) {
            SlotInstance &instance =
                instances[first + places[static_cast<size_t>(event.group)]];
            if (event.begin != -1)
              instance.live(now + event.begin, now + event.begin + 1);
            if (event.end != -1)
              instance.live(now + event.end - 1, now + event.end);
          }
        }
        now += context.length();
        continue;
      }
      const plan::Value &value = plan.stages[step.stage].values[step.value];
      if (isInSlot(value))
        instances[first +
                  placesOf.at(step.stage)[static_cast<size_t>(value.group)]]
            .live(now, now + 1);
      ++now;
    }
    begins.push_back(now);
  }

  /// A program of a rank with common slots fills a slot, or empties it.
  void followSlot(const plan::Step &step, size_t part, size_t first,
                  int64_t now) {
    const SlotProfile::Part &at = common->profile().part(part);
    if (at.end != -1)
      slotOfMicrobatch[step.microbatch].live(now + at.begin, now + at.end);
    TimedBuffer &waiting = waitingAt(first).life;
    if (part == 0)
      waiting.begin = now + contexts.all()[part].length();
    else
      waiting.end = now;
  }

  /// Gives microbatches slots as laid out in common, from `from` upwards;
  /// returns the end of the highest.
  int64_t packSlots(int64_t from) {
    std::vector<TimedBuffer> slots;
    std::vector<Key> keys;
    for (const auto &[key, first] : firstOf) {
      SlotInstance &slot = slotOfMicrobatch[key.second];
      slot.base = base;
      const std::vector<SlotGroup> &own = groups.at(key.first);
      const std::vector<size_t> &single = singlesOf.at(key.first);
      for (size_t n = 0; n < single.size(); ++n)
        if (const SlotInstance &each = instances[first + n];
            own[single[n]].inSlot != -1 && each.lives())
          slot.live(each.life.begin, each.life.end);
      if (!slot.lives())
        continue;
      slots.push_back({common->bytes(), slot.life.begin, slot.life.end});
      keys.push_back(key);
    }
    const std::vector<int64_t> offsets =
        packTimed({std::move(slots), {}, {}, from}).kept;
    int64_t top = from;
    for (size_t i = 0; i < keys.size(); ++i) {
      const int64_t begin = from + offsets[i];
      top = std::max(top, begin + common->bytes());
      slotOfMicrobatch[keys[i].second].base = begin;
      const size_t first = firstOf.at(keys[i]);
      const std::vector<SlotGroup> &own = groups.at(keys[i].first);
      const std::vector<size_t> &single = singlesOf.at(keys[i].first);
      for (size_t n = 0; n < single.size(); ++n)
        if (own[single[n]].inSlot != -1)
          instances[first + n].base = begin + own[single[n]].inSlot;
      waitingAt(first).base = begin;
    }
    return top;
  }

  /// Packs the instances in one of the arenas from `from` upwards: what is
  /// kept, and what passes where that leaves room. Returns the end of the
  /// highest.
  int64_t pack(bool onHost, int64_t from, std::vector<int64_t> bytesAbove) {
    if (!onHost && hasCommonSlot())
      from = packSlots(from);
    int64_t height = 0;
    struct PackedInstances {
      std::vector<size_t> numbers;
      std::vector<TimedBuffer> lives;
    };
    auto collect = [&](bool isPassing) {
      PackedInstances packed;
      for (size_t i = 0; i < instances.size(); ++i) {
        SlotInstance &instance = instances[i];
        if (instance.isOnHost != onHost || instance.isInSlot ||
            instance.isPassing != isPassing)
          continue;
        instance.base = from;
        // Where it would lie has to be in the arena, also if it never lives.
        height = std::max(height, instance.life.size);
        if (!instance.lives())
          continue;
        packed.lives.push_back(instance.life);
        packed.numbers.push_back(i);
      }
      return packed;
    };
    auto write = [&](const PackedInstances &packed,
                     const std::vector<int64_t> &offsets) {
      for (size_t i = 0; i < packed.numbers.size(); ++i) {
        instances[packed.numbers[i]].base += offsets[i];
        height = std::max(height, offsets[i] + packed.lives[i].size);
      }
    };
    const PackedInstances kept = collect(false), passing = collect(true);
    const TimedPacking packing =
        packTimed({kept.lives, passing.lives, std::move(bytesAbove), from});
    write(kept, packing.kept);
    write(passing, packing.passing);
    return from + height;
  }

  /// How high slots would reach if all that lives in them lay together.
  SlotHeights liveHeights() const {
    std::vector<SlotRange> ranges; // nothing has a slot yet
    for (const auto &[key, first] : firstOf)
      ranges.push_back({key.first, static_cast<int64_t>(ranges.size()), first,
                        instancesOf.at(key.first)});
    SlotHeights heights =
        followHeights(rank, contexts, instances, ranges, begins, base);
    heights.inContext = heights.liveInContext;
    for (size_t i = 0; i < rank.steps.size(); ++i) {
      heights.atStep[i] = 0;
      if (plan::isExecution(rank.steps[i].kind)) {
        const auto &live = heights.inContext[contexts.indexOf(rank.steps[i])];
        heights.atStep[i] = *std::max_element(live.begin(), live.end());
      }
    }
    return heights;
  }

  std::vector<SlotRange> ranges() const {
    std::vector<SlotRange> all;
    for (const auto &[key, first] : firstOf)
      all.push_back(
          {key.first, slotOf.at(key), first, instancesOf.at(key.first)});
    return all;
  }

  /// Of all groups.
  std::vector<int64_t> basesOf(const Key &key, size_t first) const {
    std::vector<int64_t> bases;
    const std::vector<SlotGroup> &own = groups.at(key.first);
    const std::vector<size_t> &places = placesOf.at(key.first);
    for (size_t g = 0; g < own.size(); ++g)
      if (hasInstances(g)) {
        bases.push_back(instances[first + places[g]].base);
      } else {
        const SlotInstance &slot = slotOfMicrobatch.at(key.second);
        bases.push_back(slot.base + (slot.lives() ? own[g].inSlot : 0));
      }
    return bases;
  }

  void writeSlots() {
    std::map<std::pair<int64_t, std::vector<int64_t>>, int64_t> known;
    for (int64_t stage : rank.stages)
      plan.stages[stage].slots.clear();
    for (const auto &[key, first] : firstOf) {
      // Of a slot, those of what waits in it tell the others.
      std::vector<int64_t> bases;
      for (size_t i = 0; i < instancesOf.at(key.first); ++i)
        bases.push_back(instances[first + i].base);
      std::vector<std::vector<int64_t>> &slots = plan.stages[key.first].slots;
      auto [entry, isNew] = known.try_emplace(
          {key.first, std::move(bases)}, static_cast<int64_t>(slots.size()));
      if (isNew)
        slots.push_back(basesOf(key, first));
      slotOf[key] = entry->second;
    }
    for (plan::Step &step : rank.steps) {
      if (step.stage == -1)
        continue;
      step.slot = slotOf.at({step.stage, step.microbatch});
      if (step.kind == plan::StepKind::overlap)
        step.secondSlot =
            slotOf.at({rank.overlaps[step.overlap].members[1].stage,
                       step.secondMicrobatch});
    }
  }

  plan::Plan &plan;
  plan::Rank &rank;
  const Contexts &contexts;
  Reuse reuse;
  int64_t base;
  std::map<int64_t, std::vector<SlotGroup>> groups; ///< by stage
  std::optional<CommonSlot> common; ///< where the rank has such slots
  /// By context and member.
  std::vector<std::vector<std::vector<GroupEvent>>> events;
  /// Of microbatches with a common slot: where slots lie, and how long they are
  /// in use.
  std::map<int64_t, SlotInstance> slotOfMicrobatch;
  std::vector<int64_t> begins; ///< of steps, and the end of the last
  std::vector<SlotInstance> instances;
  /// By stage: the groups with instances of their own, which of these is which
  /// group's, and how many instances a microbatch has.
  std::map<int64_t, std::vector<size_t>> singlesOf, placesOf;
  std::map<int64_t, size_t> instancesOf;
  std::map<Key, size_t> firstOf;
  std::map<Key, int64_t> slotOf; ///< as numbered in the plan
};

} // namespace

SlotHeights placeSlots(plan::Plan &plan, plan::Rank &rank,
                       const Contexts &contexts, Reuse reuse, int64_t base,
                       const BytesAbove &above, const BytesBeside &beside) {
  return SlotPlacer(plan, rank, contexts, reuse, base).run(above, beside);
}

} // namespace moe::optimize

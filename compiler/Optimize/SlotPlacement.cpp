#include "compiler/Optimize/SlotPlacement.h"

#include "compiler/Optimize/SlotGroups.h"
#include "compiler/Optimize/SlotHeights.h"
#include "compiler/Optimize/SlotProfile.h"
#include "compiler/Optimize/SlotStack.h"
#include "compiler/Optimize/TimeOrder.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <map>
#include <set>
#include <utility>

namespace moe::optimize {
namespace {

/// The first that is not too much work.
constexpr SlotShares kFinest[] = {{1024, 512}, {128, 256}, {32, 64}};
/// Instances that are kept, times those that live at a time.
constexpr double kMostWork = 40e6;
/// In slots of one layout there is nothing to gain from small ones.
constexpr SlotShares kStacked = {16, 256};

class SlotPlacer {
public:
  SlotPlacer(plan::Plan &plan, plan::Rank &rank, const Contexts &contexts,
             Reuse reuse, int64_t base)
      : plan(plan), rank(rank), contexts(contexts), reuse(reuse), base(base) {}

  SlotHeights run(const BytesAbove &above) {
    if (isStackable()) {
      group(kStacked, false);
      formSlot(rank.stages.front());
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
    if (slotBytes > 0)
      formProfile(rank.stages.front());
    for (const auto &[stage, own] : groups)
      numberInstances(stage);
    followSteps();
    std::vector<int64_t> bytesAbove;
    if (slotBytes == 0)
      bytesAbove = above(liveHeights(), begins);
    rank.hostArenaBytes = pack(true, 0, {});
    int64_t height = pack(false, base, std::move(bytesAbove)) - base;
    writeSlots();
    SlotHeights heights =
        followHeights(rank, contexts, instances, ranges(), begins, base);
    if (slotBytes > 0) {
      addProfile(heights);
      addPassingInSlots(heights);
    }
    heights.most = height;
    return heights;
  }

private:
  using Key = std::pair<int64_t, int64_t>; ///< stage and microbatch

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

  /// Whether microbatches come and go as a whole: one stage, of which a forward
  /// fills a slot and a whole backward empties it.
  bool isStackable() const {
    if (rank.stages.size() != 1 || contexts.all().size() != 2)
      return false;
    const std::vector<plan::Program> &programs =
        plan.stages[rank.stages.front()].programs;
    return programs.size() == 2 && programs[0].phase == plan::Phase::forward &&
           programs[1].phase == plan::Phase::backward;
  }

  /// Lays out the slot of a stackable rank, and moves what its programs need
  /// for themselves into it where that is large and finds room.
  void formSlot(int64_t index) {
    plan::Stage &stage = plan.stages[index];
    std::vector<SlotGroup> &own = groups[index];
    // One axis for both programs and the time between them.
    const int64_t backward = contexts.all()[0].length() + 1;
    std::vector<Lifetime> lives(stage.values.size(), {kNever, -1});
    std::vector<bool> isMade(stage.values.size(), false);
    for (size_t c : {0, 1})
      // All that shares bytes of a slot is of one microbatch.
      ContextLifetimes(contexts.all()[c], Reuse::withoutWaits, Sharing::fixed)
          .forEach(
              stage, 0,
              [&](plan::ValueIndex value, int64_t begin, int64_t end, bool made,
                  bool) {
                const int64_t from = c == 0 ? 0 : backward;
                lives[value].begin = std::min(lives[value].begin, from + begin);
                lives[value].end = std::max(lives[value].end, from + end);
                isMade[value] = isMade[value] || made;
              },
              [](size_t, int64_t, int64_t) {});

    // Groups without anything that arrives from elsewhere, which would be there
    // before the slot is.
    std::vector<StackBuffer> lifeOf(own.size(), {0, {kNever, -1}});
    std::vector<bool> arrives(own.size(), false);
    int64_t keptBytes = 0;
    for (size_t i = 0; i < stage.values.size(); ++i) {
      const plan::Value &value = stage.values[i];
      if (value.group == -1 || value.isOnHost())
        continue;
      keptBytes += value.bytes;
      auto group = static_cast<size_t>(value.group);
      Lifetime &life = lifeOf[group].life;
      life.begin = std::min(life.begin, lives[i].begin);
      life.end = std::max(life.end, lives[i].end);
      arrives[group] = arrives[group] || !isMade[i];
    }
    std::vector<size_t> stacked;
    std::vector<StackBuffer> kept, passing;
    for (size_t g = 0; g < own.size(); ++g)
      if (!own[g].isOnHost && !arrives[g]) {
        stacked.push_back(g);
        kept.push_back({own[g].bytes, lifeOf[g].life});
      }
    std::set<plan::ValueIndex> outer = passedOn(stage);
    std::vector<size_t> candidates;
    for (size_t i = 0; i < stage.values.size(); ++i) {
      const plan::Value &value = stage.values[i];
      if (!value.isOnHost() && isMade[i] &&
          !outer.contains(static_cast<plan::ValueIndex>(i)) &&
          value.bytes >= keptBytes / kStacked.passing) {
        candidates.push_back(i);
        passing.push_back({plan::alignUp(value.bytes), lives[i]});
      }
    }
    StackLayout layout = layOutSlot(kept, passing);
    slotBytes = layout.bytes;
    firstPassing = own.size();
    for (size_t n = 0; n < stacked.size(); ++n)
      own[stacked[n]].inSlot = layout.kept[n];
    for (size_t n = 0; n < candidates.size(); ++n) {
      if (layout.passing[n] == -1)
        continue;
      plan::Value &value = stage.values[candidates[n]];
      value.placement = plan::Placement::slot;
      value.group = static_cast<int64_t>(own.size());
      value.offset = 0;
      own.push_back({passing[n].bytes, false, false, layout.passing[n]});
    }
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

  /// Takes groups that come and go with the programs alone out of the events.
  void formProfile(int64_t index) {
    const plan::Stage &stage = plan.stages[index];
    const std::vector<SlotGroup> &own = groups.at(index);
    isInProfile.assign(own.size(), false);
    for (size_t g = 0; g < own.size(); ++g)
      isInProfile[g] = own[g].inSlot != -1;
    for (const plan::Step &step : rank.steps)
      if (step.stage != -1 && !plan::isExecution(step.kind))
        if (const plan::Value &value = stage.values[step.value];
            isInSlot(value))
          isInProfile[static_cast<size_t>(value.group)] = false;
    std::array<std::vector<GroupEvent>, 2> taken;
    for (size_t c : {0, 1}) {
      std::vector<GroupEvent> &all = events[c].front();
      auto isTaken = [&](const GroupEvent &event) {
        return isInProfile[static_cast<size_t>(event.group)];
      };
      std::copy_if(all.begin(), all.end(), std::back_inserter(taken[c]),
                   isTaken);
      std::erase_if(all, isTaken);
    }
    std::vector<ProfiledGroup> profiled;
    for (size_t g = 0; g < own.size(); ++g)
      profiled.push_back({own[g].inSlot, own[g].bytes, g >= firstPassing});
    profile = {profiled,
               taken,
               {contexts.all()[0].length(), contexts.all()[1].length()}};
  }

  /// Whether it is told from others of its slot.
  bool hasInstances(size_t group) const {
    return group >= isInProfile.size() || !isInProfile[group];
  }

  void numberInstances(int64_t stage) {
    std::vector<size_t> &single = singlesOf[stage];
    std::vector<size_t> &places = placesOf[stage];
    for (size_t g = 0; g < groups.at(stage).size(); ++g) {
      places.push_back(single.size());
      if (hasInstances(g))
        single.push_back(g);
    }
    instancesOf[stage] = single.size() + (slotBytes > 0 ? 1 : 0);
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
                           isInSlot && g >= firstPassing ? 0 : own[g].bytes,
                           own[g].isOnHost,
                           own[g].isPassing,
                           isInSlot,
                           base});
    }
    if (slotBytes > 0)
      instances.push_back({{profile.waitingTop(), kNever, -1},
                           profile.waitingBytes(),
                           false,
                           false,
                           true,
                           base});
    return known->second;
  }

  /// All that waits in the slot of a microbatch of a stackable rank.
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
        if (slotBytes > 0)
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

  /// A program of a stackable rank fills a slot, or empties it.
  void followSlot(const plan::Step &step, size_t part, size_t first,
                  int64_t now) {
    const SlotProfile::Part &at = profile.part(part);
    if (at.end != -1)
      slotOfMicrobatch[step.microbatch].live(now + at.begin, now + at.end);
    TimedBuffer &waiting = waitingAt(first).life;
    if (part == 0)
      waiting.begin = now + contexts.all()[part].length();
    else
      waiting.end = now;
  }

  /// Gives microbatches slots as laid out by formSlot(), from `from` upwards;
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
      slots.push_back({slotBytes, slot.life.begin, slot.life.end});
      keys.push_back(key);
    }
    const std::vector<int64_t> offsets =
        packTimed({std::move(slots), {}, {}, from}).kept;
    int64_t top = from;
    for (size_t i = 0; i < keys.size(); ++i) {
      const int64_t begin = from + offsets[i];
      top = std::max(top, begin + slotBytes);
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
    if (!onHost && slotBytes > 0)
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

  /// Adds what the microbatch that runs has in its slot.
  void addProfile(SlotHeights &heights) const {
    std::array<int64_t, 2> highest = {-1, -1}; // bases
    for (size_t i = 0; i < rank.steps.size(); ++i) {
      const plan::Step &step = rank.steps[i];
      if (!plan::isExecution(step.kind))
        continue;
      const size_t part = contexts.indexOf(step);
      const int64_t begin = slotOfMicrobatch.at(step.microbatch).base - base;
      highest[part] = std::max(highest[part], begin);
      heights.atStep[i] =
          std::max(heights.atStep[i], begin + profile.part(part).most);
    }
    for (size_t part : {0, 1})
      for (size_t at = 0; at < profile.part(part).top.size(); ++at) {
        const int64_t top = profile.part(part).top[at];
        if (highest[part] == -1 || top == 0)
          continue;
        int64_t &height = heights.inContext[part][at];
        height = std::max(height, highest[part] + top);
        heights.liveInContext[part][at] += profile.part(part).live[at];
      }
  }

  /// Adds what passes inside of slots to the live bytes of contexts. It gives
  /// way to others of its microbatch as values outside slots do to each other.
  void addPassingInSlots(SlotHeights &heights) const {
    const int64_t index = rank.stages.front();
    const plan::Stage &stage = plan.stages[index];
    const std::vector<SlotGroup> &own = groups.at(index);
    for (size_t c = 0; c < contexts.all().size(); ++c) {
      std::vector<int64_t> &live = heights.liveInContext[c];
      ContextLifetimes(contexts.all()[c], Reuse::withoutWaits, Sharing::fixed)
          .forEach(
              stage, 0,
              [&](plan::ValueIndex value, int64_t begin, int64_t end, bool,
                  bool) {
                const auto group =
                    static_cast<size_t>(stage.values[value].group);
                if (isInSlot(stage.values[value]) && group >= firstPassing)
                  for (int64_t at = begin; at < end; ++at)
                    live[at] += own[group].bytes;
              },
              [](size_t, int64_t, int64_t) {});
    }
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
  int64_t slotBytes = 0;   ///< of a stackable rank's microbatches
  size_t firstPassing = 0; ///< of its groups, that lives in one program only
  /// By context and member.
  std::vector<std::vector<std::vector<GroupEvent>>> events;
  SlotProfile profile;           ///< of the slots of a stackable rank
  std::vector<bool> isInProfile; ///< of its groups; empty elsewhere
  /// Of its microbatches: where slots lie, and how long they are in use.
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
                       const BytesAbove &above) {
  return SlotPlacer(plan, rank, contexts, reuse, base).run(above);
}

} // namespace moe::optimize

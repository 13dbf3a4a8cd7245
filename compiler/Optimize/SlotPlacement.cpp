#include "compiler/Optimize/SlotPlacement.h"

#include "compiler/Optimize/PackAround.h"
#include "compiler/Optimize/SlotGroups.h"
#include "compiler/Optimize/SlotStack.h"
#include "compiler/Optimize/TimeOrder.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <map>
#include <numeric>
#include <set>

namespace moe::optimize {
namespace {

constexpr SlotShares kFine = {1024, 256};
/// Where there would be more than kMostInstances.
constexpr SlotShares kCoarse = {32, 64};
constexpr size_t kMostInstances = 40'000;
/// In slots of one layout there is nothing to gain from small ones.
constexpr SlotShares kStacked = {16, 256};

/// When a program of a context begins or ends the life of a group; -1: it does
/// not.
struct Event {
  int64_t group, begin, end;
};

class SlotPlacer {
public:
  SlotPlacer(plan::Plan &plan, plan::Rank &rank, const Contexts &contexts,
             Reuse reuse, int64_t base)
      : plan(plan), rank(rank), contexts(contexts), reuse(reuse), base(base) {}

  SlotHeights run() {
    if (isStackable()) {
      group(kStacked, false);
      formSlot(rank.stages.front());
    } else {
      // Where ops wait for bytes, those outside slots are free again sooner.
      const bool hasPassing = reuse == Reuse::withoutWaits;
      if (group(kFine, hasPassing) > kMostInstances)
        group(kCoarse, hasPassing);
    }
    findEvents();
    followSteps();
    rank.hostArenaBytes = pack(true, 0);
    int64_t height = pack(false, base) - base;
    writeSlots();
    SlotHeights heights = findHeights();
    heights.most = height;
    return heights;
  }

private:
  using Key = std::pair<int64_t, int64_t>; ///< stage and microbatch

  static constexpr int64_t never = std::numeric_limits<int64_t>::max();
  /// A group of one microbatch.
  struct Instance {
    TimedBuffer life;
    bool isOnHost, isPassing, isInSlot, isPassingInSlot;
    int64_t base;
  };

  /// Forms the groups of all stages; returns how many instances they have.
  size_t group(SlotShares shares, bool hasPassing) {
    size_t count = 0;
    for (int64_t index : rank.stages) {
      plan::Stage &stage = plan.stages[index];
      std::vector<SlotGroup> &own = groups[index];
      own = formGroups(stage, shares);
      if (hasPassing)
        addPassing(stage, own, shares);
      count += own.size() * static_cast<size_t>(microbatchesOf(index));
    }
    return count;
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
    std::vector<Lifetime> lives(stage.values.size(), {never, -1});
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
    std::vector<StackBuffer> lifeOf(own.size(), {0, {never, -1}});
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
      std::vector<std::vector<Event>> &made = events.emplace_back();
      for (size_t m = 0; m < context.members.size(); ++m) {
        const plan::Stage &stage = plan.stages[context.members[m].stage];
        std::map<int64_t, Event> byGroup;
        lifetimes.forEach(
            stage, m,
            [&](plan::ValueIndex index, int64_t begin, int64_t end, bool isMade,
                bool isFreed) {
              const plan::Value &value = stage.values[index];
              if (!isInSlot(value))
                return;
              Event &event =
                  byGroup.try_emplace(value.group, Event{value.group, -1, -1})
                      .first->second;
              if (isMade)
                event.begin =
                    event.begin == -1 ? begin : std::min(event.begin, begin);
              if (isFreed)
                event.end = std::max(event.end, end);
            },
            [](size_t, int64_t, int64_t) {});
        std::vector<Event> &list = made.emplace_back();
        for (const auto &[group, event] : byGroup)
          list.push_back(event);
      }
    }
  }

  /// The first instance of a microbatch on a stage; those of the other groups
  /// follow.
  size_t at(const Key &key) {
    auto [known, isNew] = firstOf.try_emplace(key, instances.size());
    if (!isNew)
      return known->second;
    const std::vector<SlotGroup> &own = groups.at(key.first);
    for (size_t g = 0; g < own.size(); ++g)
      instances.push_back({{own[g].bytes, never, -1},
                           own[g].isOnHost,
                           own[g].isPassing,
                           own[g].inSlot != -1,
                           own[g].inSlot != -1 && g >= firstPassing,
                           base});
    return known->second;
  }

  static void live(Instance &instance, int64_t begin, int64_t end) {
    instance.life.begin = std::min(instance.life.begin, begin);
    instance.life.end = std::max(instance.life.end, end);
  }

  void followSteps() {
    int64_t now = 0;
    size_t most = 0;
    for (const auto &[stage, own] : groups)
      most += own.size();
    instances.reserve(most * static_cast<size_t>(plan.layout.microbatches));
    for (const plan::Step &step : rank.steps) {
      begins.push_back(now);
      if (step.stage == -1)
        continue;
      size_t first = at({step.stage, step.microbatch});
      if (plan::isExecution(step.kind)) {
        size_t index = contexts.indexOf(step);
        const Context &context = contexts.all()[index];
        for (size_t m = 0; m < context.members.size(); ++m) {
          if (m == 1)
            first = at({context.members[1].stage, step.secondMicrobatch});
          for (const Event &event : events[index][m]) {
            Instance &instance = instances[first + event.group];
            if (event.begin != -1)
              live(instance, now + event.begin, now + event.begin + 1);
            if (event.end != -1)
              live(instance, now + event.end - 1, now + event.end);
          }
        }
        now += context.length();
        continue;
      }
      const plan::Value &value = plan.stages[step.stage].values[step.value];
      if (isInSlot(value))
        live(instances[first + value.group], now, now + 1);
      ++now;
    }
    begins.push_back(now);
  }

  /// Gives microbatches slots as laid out by formSlot(), from `from` upwards;
  /// returns the end of the highest.
  int64_t packSlots(int64_t from) {
    std::vector<TimedBuffer> slots;
    std::vector<size_t> firsts;
    for (const auto &[key, first] : firstOf) {
      const std::vector<SlotGroup> &own = groups.at(key.first);
      TimedBuffer slot{slotBytes, never, -1};
      for (size_t g = 0; g < own.size(); ++g)
        if (const TimedBuffer &life = instances[first + g].life;
            own[g].inSlot != -1 && life.begin != never) {
          slot.begin = std::min(slot.begin, life.begin);
          slot.end = std::max(slot.end, life.end);
        }
      if (slot.begin == never)
        continue;
      slots.push_back(slot);
      firsts.push_back(first);
    }
    std::vector<int64_t> offsets = packInTimeOrder(slots);
    int64_t top = from;
    const std::vector<SlotGroup> &own = groups.at(rank.stages.front());
    for (size_t i = 0; i < slots.size(); ++i) {
      top = std::max(top, from + offsets[i] + slotBytes);
      for (size_t g = 0; g < own.size(); ++g)
        if (own[g].inSlot != -1)
          instances[firsts[i] + g].base = from + offsets[i] + own[g].inSlot;
    }
    return top;
  }

  /// Packs the instances in one of the arenas from `from` upwards: what is
  /// kept, and what passes where that leaves room. Returns the end of the
  /// highest.
  int64_t pack(bool onHost, int64_t from) {
    if (!onHost && slotBytes > 0)
      from = packSlots(from);
    int64_t height = 0;
    auto collect = [&](bool isPassing, std::vector<TimedBuffer> &buffers) {
      std::vector<Instance *> packed;
      for (Instance &instance : instances) {
        if (instance.isOnHost != onHost || instance.isInSlot ||
            instance.isPassing != isPassing)
          continue;
        instance.base = from;
        // Where it would lie has to be in the arena, also if it never lives.
        height = std::max(height, instance.life.size);
        if (instance.life.begin == never)
          continue;
        buffers.push_back(instance.life);
        packed.push_back(&instance);
      }
      return packed;
    };
    auto write = [&](const std::vector<Instance *> &packed,
                     const std::vector<int64_t> &offsets) {
      for (size_t i = 0; i < packed.size(); ++i) {
        packed[i]->base += offsets[i];
        height = std::max(height, offsets[i] + packed[i]->life.size);
      }
    };
    std::vector<TimedBuffer> kept, passing;
    const std::vector<Instance *> keptOnes = collect(false, kept);
    const std::vector<int64_t> places = packInTimeOrder(kept);
    write(keptOnes, places);
    const std::vector<Instance *> passingOnes = collect(true, passing);
    write(passingOnes, packAround(kept, places, passing));
    return from + height;
  }

  /// Those of `count` instances that have a time, by rising time. `timeOf(i)`:
  /// within 0 to `end`; -1: none. Linear: by the time's lower half, then by its
  /// upper one.
  static std::vector<uint32_t> byTime(size_t count, int64_t end, auto timeOf) {
    const int halfBits = (std::bit_width(static_cast<uint64_t>(end)) + 1) / 2;
    std::vector<uint32_t> order, sorted;
    for (size_t i = 0; i < count; ++i)
      if (timeOf(i) != -1)
        order.push_back(static_cast<uint32_t>(i));
    sorted.resize(order.size());
    for (int shift : {0, halfBits}) {
      const int64_t mask = (int64_t{1} << halfBits) - 1;
      std::vector<uint32_t> next(static_cast<size_t>(mask) + 2, 0);
      for (uint32_t i : order)
        ++next[static_cast<size_t>(timeOf(i) >> shift & mask) + 1];
      std::partial_sum(next.begin(), next.end(), next.begin());
      for (uint32_t i : order)
        sorted[next[static_cast<size_t>(timeOf(i) >> shift & mask)]++] = i;
      order.swap(sorted);
    }
    return order;
  }

  /// Ends of what lives, by number: of the different ones, which are few, since
  /// microbatches use the same places again and again.
  class Tops {
  public:
    explicit Tops(const SlotPlacer &placer)
        : numberOf(placer.instances.size(), 0) {
      auto topOf = [&](size_t instance) {
        const Instance &at = placer.instances[instance];
        return at.base - placer.base + at.life.size;
      };
      // Microbatches in one slot have the same ends.
      std::map<std::pair<int64_t, int64_t>, size_t> firstOfSlot;
      for (const auto &[key, first] : placer.firstOf) {
        auto [known, isNew] =
            firstOfSlot.try_emplace({key.first, placer.slotOf.at(key)}, first);
        for (size_t g = 0; isNew && g < placer.groups.at(key.first).size(); ++g)
          tops.push_back(topOf(first + g));
      }
      std::sort(tops.begin(), tops.end());
      tops.erase(std::unique(tops.begin(), tops.end()), tops.end());
      counts.resize(tops.size());
      for (const auto &[key, first] : placer.firstOf) {
        size_t same = firstOfSlot.at({key.first, placer.slotOf.at(key)});
        for (size_t g = 0; g < placer.groups.at(key.first).size(); ++g)
          numberOf[first + g] =
              same == first ? static_cast<uint32_t>(
                                  std::lower_bound(tops.begin(), tops.end(),
                                                   topOf(first + g)) -
                                  tops.begin())
                            : numberOf[same + g];
      }
    }

    void insert(size_t instance) {
      size_t number = numberOf[instance];
      ++counts[number];
      above = std::max(above, number + 1);
    }
    void erase(size_t instance) {
      --counts[numberOf[instance]];
      while (above > 0 && counts[above - 1] == 0)
        --above;
    }
    int64_t highest() const { return above == 0 ? 0 : tops[above - 1]; }

  private:
    std::vector<uint32_t> numberOf; ///< of each instance
    std::vector<int64_t> tops;      ///< rising
    std::vector<int64_t> counts;    ///< of those that live
    size_t above = 0;               ///< behind the highest that lives
  };

  /// The most at each moment of a context over its steps. Spans between changes
  /// are mostly the same in all of them, so each is kept as long as it is the
  /// same.
  class MostBySpan {
  public:
    /// `heights`, `live`: what is raised, by moment.
    MostBySpan(std::vector<int64_t> &heights, std::vector<int64_t> &live)
        : heights(heights), live(live), spans(heights.size()) {}

    void add(int64_t begin, int64_t end, int64_t height, int64_t liveBytes) {
      Span &span = spans[static_cast<size_t>(begin)];
      if (span.end != end) {
        write(begin);
        span = {end, height, liveBytes};
        return;
      }
      span.height = std::max(span.height, height);
      span.live = std::max(span.live, liveBytes);
    }

    void write() {
      for (size_t begin = 0; begin < spans.size(); ++begin)
        write(static_cast<int64_t>(begin));
    }

  private:
    struct Span {
      int64_t end = -1, height = 0, live = 0; ///< -1: none
    };

    void write(int64_t begin) {
      const Span &span = spans[static_cast<size_t>(begin)];
      for (int64_t at = begin; at < span.end; ++at) {
        heights[at] = std::max(heights[at], span.height);
        live[at] = std::max(live[at], span.live);
      }
    }

    std::vector<int64_t> &heights, &live;
    std::vector<Span> spans; ///< by where they begin
  };

  SlotHeights findHeights() const {
    auto lives = [&](size_t i) {
      return !instances[i].isOnHost && instances[i].life.begin != never;
    };
    auto beginOf = [&](size_t i) {
      return lives(i) ? instances[i].life.begin : -1;
    };
    auto endOf = [&](size_t i) {
      return lives(i) ? instances[i].life.end : -1;
    };
    const std::vector<uint32_t> begun =
        byTime(instances.size(), begins.back(), beginOf);
    const std::vector<uint32_t> ended =
        byTime(instances.size(), begins.back(), endOf);
    auto nextBegun = begun.begin(), nextEnded = ended.begin();
    SlotHeights heights;
    for (const Context &context : contexts.all())
      heights.inContext.emplace_back(context.length());
    heights.liveInContext = heights.inContext;
    heights.atStep.resize(rank.steps.size());
    std::vector<MostBySpan> most;
    for (size_t c = 0; c < contexts.all().size(); ++c)
      most.emplace_back(heights.inContext[c], heights.liveInContext[c]);
    Tops tops(*this);
    int64_t live = 0;
    for (size_t i = 0; i < rank.steps.size(); ++i) {
      const plan::Step &step = rank.steps[i];
      MostBySpan *mostOfContext =
          plan::isExecution(step.kind) ? &most[contexts.indexOf(step)] : nullptr;
      for (int64_t now = begins[i]; now < begins[i + 1];) {
        int64_t until = begins[i + 1]; // nothing changes before
        for (; nextBegun != begun.end(); ++nextBegun) {
          const Instance &made = instances[*nextBegun];
          if (made.life.begin > now) {
            until = std::min(until, made.life.begin);
            break;
          }
          tops.insert(*nextBegun);
          live += liveBytesOf(made);
        }
        for (; nextEnded != ended.end(); ++nextEnded) {
          const Instance &gone = instances[*nextEnded];
          if (gone.life.end > now) {
            until = std::min(until, gone.life.end);
            break;
          }
          tops.erase(*nextEnded);
          live -= liveBytesOf(gone);
        }
        const int64_t height = tops.highest();
        heights.atStep[i] = std::max(heights.atStep[i], height);
        if (mostOfContext)
          mostOfContext->add(now - begins[i], until - begins[i], height, live);
        now = until;
      }
    }
    for (MostBySpan &each : most)
      each.write();
    addPassingInSlots(heights);
    return heights;
  }

  /// What has the same lives in each run of a program counts there.
  static int64_t liveBytesOf(const Instance &instance) {
    return instance.isPassingInSlot ? 0 : instance.life.size;
  }

  /// Adds what passes inside of slots to the live bytes of contexts. It gives
  /// way to others of its microbatch as values outside slots do to each other.
  void addPassingInSlots(SlotHeights &heights) const {
    if (slotBytes == 0)
      return;
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

  void writeSlots() {
    std::map<std::pair<int64_t, std::vector<int64_t>>, int64_t> known;
    for (int64_t stage : rank.stages)
      plan.stages[stage].slots.clear();
    for (const auto &[key, first] : firstOf) {
      std::vector<int64_t> bases;
      for (size_t g = 0; g < groups.at(key.first).size(); ++g)
        bases.push_back(instances[first + g].base);
      std::vector<std::vector<int64_t>> &slots = plan.stages[key.first].slots;
      auto [entry, isNew] = known.try_emplace(
          {key.first, bases}, static_cast<int64_t>(slots.size()));
      if (isNew)
        slots.push_back(bases);
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
  std::vector<std::vector<std::vector<Event>>> events;
  std::vector<int64_t> begins; ///< of steps, and the end of the last
  std::vector<Instance> instances;
  std::map<Key, size_t> firstOf;
  std::map<Key, int64_t> slotOf; ///< as numbered in the plan
};

} // namespace

SlotHeights placeSlots(plan::Plan &plan, plan::Rank &rank,
                       const Contexts &contexts, Reuse reuse, int64_t base) {
  return SlotPlacer(plan, rank, contexts, reuse, base).run();
}

} // namespace moe::optimize

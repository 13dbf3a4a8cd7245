#include "compiler/Optimize/CommonSlot.h"

#include "compiler/Optimize/SlotStack.h"

#include <algorithm>
#include <iterator>
#include <set>

namespace moe::optimize {

bool CommonSlot::isOf(const plan::Plan &plan, const plan::Rank &rank,
                      const Contexts &contexts) {
  if (rank.stages.size() != 1 || contexts.all().size() != 2)
    return false;
  const std::vector<plan::Program> &programs =
      plan.stages[rank.stages.front()].programs;
  return programs.size() == 2 && programs[0].phase == plan::Phase::forward &&
         programs[1].phase == plan::Phase::backward;
}

CommonSlot::CommonSlot(plan::Stage &stage, const plan::Rank &rank,
                       const Contexts &contexts, std::vector<SlotGroup> &groups)
    : stage(stage), rank(rank), contexts(contexts), groups(groups) {
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
  std::vector<StackBuffer> lifeOf(groups.size(), {0, {kNever, -1}});
  std::vector<bool> arrives(groups.size(), false);
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
  for (size_t g = 0; g < groups.size(); ++g)
    if (!groups[g].isOnHost && !arrives[g]) {
      stacked.push_back(g);
      kept.push_back({groups[g].bytes, lifeOf[g].life});
    }
  std::set<plan::ValueIndex> outer = passedOn(stage);
  std::vector<size_t> candidates;
  for (size_t i = 0; i < stage.values.size(); ++i) {
    const plan::Value &value = stage.values[i];
    if (!value.isOnHost() && isMade[i] &&
        !outer.contains(static_cast<plan::ValueIndex>(i)) &&
        value.bytes >= keptBytes / kCommonShares.passing) {
      candidates.push_back(i);
      passing.push_back({plan::alignUp(value.bytes), lives[i]});
    }
  }
  const StackLayout layout = layOutSlot(kept, passing);
  slotBytes = layout.bytes;
  for (size_t n = 0; n < stacked.size(); ++n)
    groups[stacked[n]].inSlot = layout.kept[n];
  firstPassing = groups.size();
  move(candidates, layout.passing);
}

/// Values to their offsets in the slot, where they have one (-1: none).
void CommonSlot::move(const std::vector<size_t> &candidates,
                      const std::vector<int64_t> &offsets) {
  for (size_t n = 0; n < candidates.size(); ++n) {
    if (offsets[n] == -1)
      continue;
    plan::Value &value = stage.values[candidates[n]];
    value.placement = plan::Placement::slot;
    value.group = std::ssize(groups);
    value.offset = 0;
    groups.push_back({plan::alignUp(value.bytes), false, false, offsets[n]});
  }
}

void CommonSlot::takeProfiled(std::array<std::vector<GroupEvent> *, 2> events) {
  profiled.assign(groups.size(), false);
  for (size_t g = 0; g < groups.size(); ++g)
    profiled[g] = groups[g].inSlot != -1;
  for (const plan::Step &step : rank.steps)
    if (step.stage != -1 && !plan::isExecution(step.kind))
      if (const plan::Value &value = stage.values[step.value]; isInSlot(value))
        profiled[static_cast<size_t>(value.group)] = false;
  std::array<std::vector<GroupEvent>, 2> taken;
  for (size_t c : {0, 1}) {
    auto isTaken = [&](const GroupEvent &event) {
      return profiled[static_cast<size_t>(event.group)];
    };
    std::copy_if(events[c]->begin(), events[c]->end(),
                 std::back_inserter(taken[c]), isTaken);
    std::erase_if(*events[c], isTaken);
  }
  std::vector<ProfiledGroup> all;
  for (size_t g = 0; g < groups.size(); ++g)
    all.push_back({groups[g].inSlot, groups[g].bytes, isPassing(g)});
  ofPrograms = {
      all, taken, {contexts.all()[0].length(), contexts.all()[1].length()}};
}

void CommonSlot::addTo(SlotHeights &heights,
                       const std::map<int64_t, int64_t> &bases) const {
  std::array<int64_t, 2> highest = {-1, -1}; // bases
  for (size_t i = 0; i < rank.steps.size(); ++i) {
    const plan::Step &step = rank.steps[i];
    if (!plan::isExecution(step.kind))
      continue;
    const size_t part = contexts.indexOf(step);
    const int64_t begin = bases.at(step.microbatch);
    highest[part] = std::max(highest[part], begin);
    heights.atStep[i] =
        std::max(heights.atStep[i], begin + ofPrograms.part(part).most);
  }
  for (size_t part : {0, 1})
    for (size_t at = 0; at < ofPrograms.part(part).top.size(); ++at) {
      const int64_t top = ofPrograms.part(part).top[at];
      if (highest[part] == -1 || top == 0)
        continue;
      int64_t &height = heights.inContext[part][at];
      height = std::max(height, highest[part] + top);
      heights.liveInContext[part][at] += ofPrograms.part(part).live[at];
    }
  addPassing(heights);
}

/// To the live bytes of contexts. What passes inside of slots gives way to
/// others of its microbatch as values outside slots do to each other.
void CommonSlot::addPassing(SlotHeights &heights) const {
  for (size_t c = 0; c < contexts.all().size(); ++c) {
    std::vector<int64_t> &live = heights.liveInContext[c];
    ContextLifetimes(contexts.all()[c], Reuse::withoutWaits, Sharing::fixed)
        .forEach(
            stage, 0,
            [&](plan::ValueIndex value, int64_t begin, int64_t end, bool,
                bool) {
              const auto group = static_cast<size_t>(stage.values[value].group);
              if (isInSlot(stage.values[value]) && isPassing(group))
                for (int64_t at = begin; at < end; ++at)
                  live[at] += groups[group].bytes;
            },
            [](size_t, int64_t, int64_t) {});
  }
}

} // namespace moe::optimize

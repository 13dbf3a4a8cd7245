#include "compiler/Optimize/SlotGroups.h"

#include <map>
#include <string_view>
#include <tuple>
#include <utility>

namespace moe::optimize {
namespace {

/// The longest name among the stage's blocks that the value's begins with, or
/// the value's own.
std::string_view blockOf(const plan::Stage &stage, const plan::Value &value) {
  std::string_view longest;
  for (const std::string &block : stage.blocks)
    if (block.size() > longest.size() && value.name.size() > block.size() &&
        value.name[block.size()] == '.' && value.name.starts_with(block))
      longest = block;
  return longest.empty() ? std::string_view(value.name) : longest;
}

/// What lives in one program only is in no slot to begin with, whatever an
/// earlier placement has made of it.
void keepFixed(plan::Stage &stage) {
  std::set<plan::ValueIndex> outer = passedOn(stage);
  for (size_t i = 0; i < stage.values.size(); ++i)
    if (stage.values[i].overwrites == -1 &&
        !outer.contains(static_cast<plan::ValueIndex>(i)))
      stage.values[i].placement = plan::Placement::fixed;
}

} // namespace

std::set<plan::ValueIndex> passedOn(const plan::Stage &stage) {
  std::set<plan::ValueIndex> values;
  for (const plan::Program &program : stage.programs)
    for (const auto *list : {&program.inputs, &program.outputs})
      for (plan::ValueIndex value : *list)
        values.insert(plan::storageOf(stage, value));
  return values;
}

std::vector<SlotGroup> formGroups(plan::Stage &stage, SlotShares shares) {
  keepFixed(stage);
  // Bits for the phases that write a value, and for those that release it.
  using Uses = std::pair<uint8_t, uint8_t>;
  std::vector<Uses> uses(stage.values.size());
  for (const plan::Program &program : stage.programs)
    for (const plan::Op &op : program.ops) {
      auto phase = static_cast<uint8_t>(1U << static_cast<int>(program.phase));
      for (plan::ValueIndex output : op.outputs)
        if (output != -1 && stage.values[output].overwrites == -1)
          uses[output].first |= phase;
      for (plan::ValueIndex released : op.releases)
        uses[plan::storageOf(stage, released)].second |= phase;
    }
  std::map<std::string_view, int64_t> blockBytes;
  for (const plan::Value &value : stage.values)
    if (isInSlot(value))
      blockBytes[blockOf(stage, value)] += value.bytes;
  std::map<std::tuple<std::string_view, Uses, bool>, int64_t> known;
  std::vector<SlotGroup> groups;
  for (size_t i = 0; i < stage.values.size(); ++i) {
    plan::Value &value = stage.values[i];
    value.group = -1;
    if (!isInSlot(value))
      continue;
    const bool isLarge =
        value.bytes >= blockBytes.at(blockOf(stage, value)) / shares.own;
    auto [entry, isNew] =
        known.try_emplace({isLarge ? value.name : blockOf(stage, value),
                           uses[i], value.isOnHost()},
                          static_cast<int64_t>(groups.size()));
    if (isNew)
      groups.push_back({0, value.isOnHost(), false, -1});
    value.group = entry->second;
    SlotGroup &group = groups[static_cast<size_t>(value.group)];
    value.offset = group.bytes;
    group.bytes += plan::alignUp(value.bytes);
  }
  return groups;
}

void addPassing(plan::Stage &stage, std::vector<SlotGroup> &groups,
                SlotShares shares) {
  std::set<plan::ValueIndex> outer = passedOn(stage);
  for (const plan::Program &program : stage.programs)
    for (const plan::Op &op : program.ops)
      if (op.stream == plan::Stream::copy_out)
        for (plan::ValueIndex input : op.inputs)
          outer.insert(plan::storageOf(stage, input));
  int64_t keptBytes = 0;
  for (const SlotGroup &group : groups)
    keptBytes += group.isOnHost ? 0 : group.bytes;
  for (size_t i = 0; i < stage.values.size(); ++i) {
    plan::Value &value = stage.values[i];
    if (value.isOnHost() || value.overwrites != -1 ||
        outer.contains(static_cast<plan::ValueIndex>(i)) ||
        value.bytes < keptBytes / shares.passing)
      continue;
    value.placement = plan::Placement::slot;
    value.group = static_cast<int64_t>(groups.size());
    value.offset = 0;
    groups.push_back({plan::alignUp(value.bytes), false, true, -1});
  }
}

} // namespace moe::optimize

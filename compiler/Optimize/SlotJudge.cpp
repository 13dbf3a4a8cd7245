#include "compiler/Optimize/SlotJudge.h"

#include <algorithm>
#include <memory>
#include <utility>

namespace moe::optimize {
namespace {

constexpr int64_t kGoodShare = 128;

class Judge {
public:
  Judge(const SlottedRank &of, std::vector<SlotInstance> instances,
        std::vector<SlotRange> ranges, std::vector<size_t> packed)
      : of(of), instances(std::move(instances)), ranges(std::move(ranges)),
        packed(std::move(packed)) {
    for (const Context &context : of.contexts.all()) {
      auto stageOf = [&](size_t member) -> const plan::Stage & {
        return of.plan.stages[context.members[member].stage];
      };
      auto isFixed = [&](size_t member, plan::ValueIndex index) {
        const plan::Value &value = stageOf(member).values[index];
        return value.placement == plan::Placement::fixed && !value.isOnHost();
      };
      outside.push_back(liveBytes(context, of.reuse, stageOf, isFixed, true));
    }
  }

  int64_t heightOf(const TimedPacking &packing) {
    for (size_t i = 0; i < packed.size(); ++i)
      instances[packed[i]].base = of.base + packing.offsets[i];
    return std::max(packing.height, highest(follow().inContext));
  }

  /// Wherever the instances lie.
  int64_t bound() const { return highest(follow().liveInContext); }

private:
  SlotHeights follow() const {
    return followHeights(of.rank, of.contexts, instances, ranges, of.begins,
                         of.base);
  }

  int64_t highest(const std::vector<std::vector<int64_t>> &slots) const {
    int64_t most = 0;
    for (size_t c = 0; c < slots.size(); ++c)
      for (size_t at = 0; at < slots[c].size(); ++at)
        most = std::max(most, slots[c][at] + outside[c][at]);
    return most;
  }

  const SlottedRank of;
  std::vector<SlotInstance> instances;
  std::vector<SlotRange> ranges;
  std::vector<size_t> packed;
  /// By context and moment: live bytes of values with fixed places and scratch.
  std::vector<std::vector<int64_t>> outside;
};

} // namespace

PackingJudge judgeSlots(const SlottedRank &of,
                        std::vector<SlotInstance> instances,
                        std::vector<SlotRange> ranges,
                        std::vector<size_t> packed) {
  auto judge = std::make_shared<Judge>(of, std::move(instances),
                                       std::move(ranges), std::move(packed));
  const int64_t bound = judge->bound();
  return {bound + bound / kGoodShare, [judge](const TimedPacking &packing) {
            return judge->heightOf(packing);
          }};
}

} // namespace moe::optimize

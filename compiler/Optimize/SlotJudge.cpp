#include "compiler/Optimize/SlotJudge.h"

#include "compiler/Optimize/PackAround.h"

#include <algorithm>
#include <memory>
#include <utility>

namespace moe::optimize {
namespace {

constexpr int64_t kGoodShare = 128;

class Judge {
public:
  Judge(const SlottedRank &of, std::vector<SlotInstance> instances,
        std::vector<SlotRange> ranges, PackedInstances kept,
        PackedInstances passing)
      : of(of), instances(std::move(instances)), ranges(std::move(ranges)),
        kept(std::move(kept)), passing(std::move(passing)) {
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
    place(kept, packing.offsets);
    place(passing, packAround(kept.lives, packing.offsets, passing.lives));
    return std::max(packing.height, highest(follow().inContext));
  }

  /// Wherever the instances lie.
  int64_t bound() const { return highest(follow().liveInContext); }

private:
  void place(const PackedInstances &packed,
             const std::vector<int64_t> &offsets) {
    for (size_t i = 0; i < packed.numbers.size(); ++i)
      instances[packed.numbers[i]].base = of.base + offsets[i];
  }

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
  PackedInstances kept, passing;
  /// By context and moment: live bytes of values with fixed places and scratch.
  std::vector<std::vector<int64_t>> outside;
};

} // namespace

PackingJudge judgeSlots(const SlottedRank &of,
                        std::vector<SlotInstance> instances,
                        std::vector<SlotRange> ranges, PackedInstances kept,
                        PackedInstances passing) {
  auto judge =
      std::make_shared<Judge>(of, std::move(instances), std::move(ranges),
                              std::move(kept), std::move(passing));
  const int64_t bound = judge->bound();
  return {bound + bound / kGoodShare, [judge](const TimedPacking &packing) {
            return judge->heightOf(packing);
          }};
}

} // namespace moe::optimize

#include "compiler/Optimize/Placement.h"

#include "compiler/Optimize/Contexts.h"
#include "compiler/Optimize/OutsideSlots.h"
#include "compiler/Optimize/SlotPlacement.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

namespace moe::optimize {
namespace {

/// Hands out bytes one after the other.
struct Cursor {
  int64_t offset = 0;
  int64_t take(int64_t bytes) {
    int64_t begin = offset;
    offset += plan::alignUp(bytes);
    return begin;
  }
};

class RankPlacer {
public:
  RankPlacer(plan::Plan &plan, plan::Rank &rank, Reuse reuse)
      : plan(plan), rank(rank), reuse(reuse) {}

  Arena run() {
    moveFromSlots();
    moveToSlots();
    Cursor cursor;
    for (int64_t stage : rank.stages)
      placeParameters(plan.stages[stage], cursor);
    Contexts contexts(plan, rank);
    Arena arena = placeValues(contexts, cursor.offset);
    placeOverwriters();
    return arena;
  }

private:
  using Named = std::pair<int64_t, plan::ValueIndex>; ///< stage and value

  /// The inputs of the programs that a step executes.
  std::vector<Named> inputsOf(const plan::Step &step) const {
    std::vector<Named> inputs;
    for (const plan::Overlap::Member &member : membersOf(rank, step))
      for (const plan::Program &program : plan.stages[member.stage].programs)
        if (program.phase == member.phase)
          for (plan::ValueIndex input : program.inputs)
            inputs.push_back({member.stage, input});
    return inputs;
  }

  /// Where the rank is done with every microbatch before it begins with the
  /// next one, what is kept needs one place only: it is packed with all else,
  /// unless there is so much that this would take long. What arrives can be
  /// there sooner.
  void moveFromSlots() {
    constexpr size_t mostMoved = 256;
    if (mostHeld(rank) > 1)
      return;
    std::set<Named> arriving;
    for (const plan::Step &step : rank.steps)
      if (isArrival(step.kind))
        arriving.insert({step.stage, step.value});
    std::vector<plan::Value *> moved;
    for (int64_t stage : rank.stages) {
      std::vector<plan::Value> &values = plan.stages[stage].values;
      for (size_t i = 0; i < values.size(); ++i)
        if (values[i].placement == plan::Placement::slot &&
            !values[i].isOnHost() &&
            !arriving.contains({stage, static_cast<plan::ValueIndex>(i)}))
          moved.push_back(&values[i]);
    }
    if (moved.size() <= mostMoved)
      for (plan::Value *value : moved)
        value->placement = plan::Placement::fixed;
  }

  /// Where the input of a microbatch arrives before that of another one has
  /// been used, each needs a place of its own.
  void moveToSlots() {
    std::map<Named, int64_t> waiting;
    for (const plan::Step &step : rank.steps)
      if (isArrival(step.kind)) {
        if (++waiting[{step.stage, step.value}] > 1)
          plan.stages[step.stage].values[step.value].placement =
              plan::Placement::slot;
      } else if (plan::isExecution(step.kind)) {
        for (const Named &input : inputsOf(step))
          if (auto entry = waiting.find(input);
              entry != waiting.end() && entry->second > 0)
            --entry->second;
      }
  }

  static void placeParameters(plan::Stage &stage, Cursor &cursor) {
    for (plan::Parameter &parameter : stage.parameters) {
      int64_t elements = 1;
      for (int64_t size : parameter.shape)
        elements *= size;
      DType sums = parameter.dtype == DType::f64 ? DType::f64 : DType::f32;
      parameter.weightOffset =
          cursor.take(elements * byteSize(parameter.dtype));
      if (!parameter.trainable)
        continue;
      parameter.gradientOffset = cursor.take(elements * byteSize(sums));
      if (parameter.dtype == DType::bf16)
        parameter.masterOffset = cursor.take(elements * byteSize(DType::f32));
      parameter.firstMomentOffset = cursor.take(elements * byteSize(sums));
      parameter.secondMomentOffset = cursor.take(elements * byteSize(sums));
    }
  }

  /// Behind the slots there. What lives in one program only is rare.
  void placeFixedOnHost() {
    Cursor cursor{rank.hostArenaBytes};
    for (int64_t stage : rank.stages)
      for (plan::Value &value : plan.stages[stage].values)
        if (value.isOnHost() && value.placement == plan::Placement::fixed)
          value.offset = cursor.take(value.bytes);
    rank.hostArenaBytes = cursor.offset;
  }

  /// Where what they overwrite lies, which comes before them.
  void placeOverwriters() {
    for (int64_t stage : rank.stages)
      for (plan::Value &value : plan.stages[stage].values)
        if (value.overwrites != -1) {
          const plan::Value &other =
              plan.stages[stage].values[value.overwrites];
          value.placement = other.placement;
          value.group = other.group;
          value.offset = other.offset;
        }
  }

  /// Slots, and above them what is outside.
  Arena placeValues(const Contexts &contexts, int64_t base) {
    std::optional<OutsideSlots> outside;
    auto settle = [&] {
      if (!outside)
        outside.emplace(plan, rank, contexts, reuse);
    };
    // For slots that reach as high as lives in them, which were asked for.
    std::vector<int64_t> depths;
    SlotHeights slots = placeSlots(
        plan, rank, contexts, reuse, base,
        [&](const SlotHeights &live, const std::vector<int64_t> &begins) {
          settle();
          depths = outside->pack(live);
          return outside->depthsOverTime(depths, begins);
        },
        [&] {
          settle();
          return outside->bytesBesideSteps();
        });
    placeFixedOnHost();
    std::vector<int64_t> again = outside->pack(slots);
    if (depths.empty() ||
        outside->height(again, slots) < outside->height(depths, slots))
      depths = std::move(again);
    const int64_t end = base + plan::alignUp(outside->height(depths, slots));
    outside->write(depths, end);
    return {end, base + outside->bound(slots)};
  }

  plan::Plan &plan;
  plan::Rank &rank;
  Reuse reuse;
};

/// All bytes of a rank if nothing shared any: above 2^53 sums of sizes may not
/// fit 64 bits.
double bytesWithoutSharing(const plan::Plan &plan, const plan::Rank &rank) {
  double bytes = 0;
  for (int64_t index : rank.stages) {
    const plan::Stage &stage = plan.stages[index];
    for (const plan::Parameter &parameter : stage.parameters) {
      double elements = 1;
      for (int64_t size : parameter.shape)
        elements *= static_cast<double>(size);
      bytes += elements * 40; // weight, gradient, master, moments, all f64
    }
    for (const plan::Value &value : stage.values)
      bytes += static_cast<double>(value.bytes) *
               (value.placement == plan::Placement::slot
                    ? static_cast<double>(plan.layout.microbatches)
                    : 1.0);
    for (const plan::Program &program : stage.programs)
      for (const plan::Op &op : program.ops)
        bytes += static_cast<double>(op.scratchBytes);
  }
  return bytes;
}

} // namespace

std::vector<int64_t> liveWithoutWaits(plan::Stage &stage,
                                      plan::Program &program,
                                      const std::vector<bool> &ofOps) {
  std::vector<bool> counts(stage.values.size(), ofOps.empty());
  for (size_t i = 0; i < ofOps.size(); ++i)
    for (plan::ValueIndex output : program.ops[i].outputs)
      if (output != -1 && ofOps[i])
        counts[output] = true;
  Context context{{{0, &program}}, issueProgram(stage, program)};
  return liveBytes(
      context, Reuse::withoutWaits,
      [&](size_t) -> const plan::Stage & { return stage; },
      [&](size_t, plan::ValueIndex value) {
        return counts[value] && !stage.values[value].isOnHost();
      },
      ofOps.empty());
}

Result<Arena> placeRank(plan::Plan &plan, int64_t rank, Reuse reuse) {
  if (bytesWithoutSharing(plan, plan.ranks[rank]) > 0x1p53)
    return Error{"pipeline rank " + std::to_string(rank) +
                 " needs more than 2^53 bytes; use smaller microbatches or "
                 "fewer of them in flight"};
  return RankPlacer(plan, plan.ranks[rank], reuse).run();
}

} // namespace moe::optimize

#include "compiler/Optimize/SlotPlacement.h"

#include "compiler/Optimize/Offsets.h"
#include "compiler/Optimize/StreamWaits.h"

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <numeric>
#include <set>

namespace moe::optimize {
namespace {

/// Bytes behind the base of a slot.
struct Range {
  int64_t begin = 0;
  int64_t end = 0;
  bool isEmpty() const { return begin >= end; }
};

/// What a microbatch holds of its slot.
struct Layout {
  Range forward;       ///< from its first step to its backward
  Range backwardInput; ///< while that runs
  Range pending;       ///< from then to its weight gradients
};

/// Whether it lies in the part of a slot on the device.
bool isInSlot(const plan::Value &value) {
  return value.placement == plan::Placement::slot && !value.isOnHost();
}

/// Places the values of a slot one behind the other by how long they are
/// needed; `isMirrored`: what is needed longest lies on top.
Layout layOut(plan::Stage &stage, bool isMirrored) {
  std::set<plan::ValueIndex> forWeights;
  std::set<plan::ValueIndex> added;
  for (const plan::Program &program : stage.programs) {
    if (program.phase == plan::Phase::weight_grad)
      forWeights.insert(program.inputs.begin(), program.inputs.end());
    if (program.phase == plan::Phase::backward_input)
      for (const plan::Op &op : program.ops)
        added.insert(op.outputs.begin(), op.outputs.end());
  }
  int64_t end = 0;
  auto place = [&](bool forWeightGradients, bool isAdded) {
    for (size_t i = 0; i < stage.values.size(); ++i) {
      plan::Value &value = stage.values[i];
      auto index = static_cast<plan::ValueIndex>(i);
      if (!isInSlot(value) ||
          forWeights.contains(index) != forWeightGradients ||
          added.contains(index) != isAdded)
        continue;
      value.offset = end;
      end += plan::alignUp(value.bytes);
    }
    return end;
  };
  if (isMirrored) {
    int64_t behindForward = place(false, false);
    int64_t behindKept = place(true, false);
    int64_t behindAdded = place(true, true);
    return {{0, behindKept}, {0, behindAdded}, {behindForward, behindAdded}};
  }
  int64_t behindAdded = place(true, true);
  int64_t behindKept = place(true, false);
  int64_t behindForward = place(false, false);
  return {{behindAdded, behindForward}, {0, behindForward}, {0, behindKept}};
}

/// Places the values of a slot such that what backward_input adds takes the
/// bytes of what it has used up: the slot as a whole is small, but nothing of
/// it is free meanwhile. No op has to wait for that.
Layout layOutShared(plan::Stage &stage) {
  auto isPacked = [&](plan::ValueIndex value) {
    return value != -1 && isInSlot(stage.values[value]);
  };
  std::map<plan::ValueIndex, Lifetime> lives;
  for (size_t i = 0; i < stage.values.size(); ++i)
    if (isPacked(static_cast<plan::ValueIndex>(i)))
      lives[static_cast<plan::ValueIndex>(i)] = {
          0, std::numeric_limits<int64_t>::max()};
  for (const plan::Program &program : stage.programs) {
    if (program.phase != plan::Phase::backward_input)
      continue;
    std::vector<IssuedOp> issued = issueProgram(stage, program);
    std::vector<StreamPositions> done = doneBefore(issued);
    for (size_t i = 0; i < issued.size(); ++i) {
      // All before this position are done when the op begins.
      size_t begin = 0;
      while (begin < i &&
             static_cast<int64_t>(begin) <=
                 done[i][static_cast<size_t>(issued[begin].op->stream)])
        ++begin;
      for (plan::ValueIndex output : issued[i].op->outputs)
        if (isPacked(output))
          lives[output].begin = static_cast<int64_t>(begin);
      for (plan::ValueIndex released : issued[i].op->releases)
        if (isPacked(released))
          lives[released].end = static_cast<int64_t>(i) + 1;
    }
  }
  PackingProblem problem;
  for (const auto &[value, life] : lives)
    problem.buffers.push_back(
        {stage.values[value].bytes, life.begin, life.end, plan::kAlignment});
  PackingSolution solution = pack(problem);
  size_t next = 0;
  for (const auto &[value, life] : lives)
    stage.values[value].offset = solution.offsets[next++];
  Range all = {0, plan::alignUp(solution.height)};
  return {all, all, all};
}

/// A microbatch on a stage, from its first step to its last run.
struct Instance {
  int64_t stage = -1;
  size_t first = 0, last = 0; ///< steps
  int64_t split = -1;         ///< step of its backward_input, if any
  int64_t base = 0;
  int64_t hostBase = -1; ///< -1: nothing there

  struct Piece {
    size_t begin, end; ///< steps
    Range range;
  };
  std::array<Piece, 3> pieces{};
  size_t count = 0;

  void setPieces(const Layout &layout) {
    count = 0;
    auto add = [&](size_t begin, size_t end, Range range) {
      if (begin < end && !range.isEmpty())
        pieces[count++] = {begin, end, range};
    };
    if (split == -1) {
      add(first, last + 1, layout.forward);
      return;
    }
    auto at = static_cast<size_t>(split);
    add(first, at, layout.forward);
    add(at, at + 1, layout.backwardInput);
    add(at + 1, last + 1, layout.pending);
  }
};

class SlotPlacer {
public:
  SlotPlacer(plan::Plan &plan, plan::Rank &rank, int64_t base)
      : plan(plan), rank(rank), base(base) {}

  int64_t run() {
    for (int64_t stage : rank.stages) {
      plan.stages[stage].slots.clear();
      plan.stages[stage].hostSlots.clear();
    }
    findInstances();
    Attempt best;
    for (Kind kind : {Kind::upward, Kind::downward, Kind::shared})
      for (bool fromTheEnd : {false, true}) {
        int64_t end = place({kind, fromTheEnd, 0});
        if (best.end == 0 || end < best.end)
          best = {kind, fromTheEnd, end};
      }
    place(best);
    placeOnHost();
    writeSlots();
    return best.end;
  }

private:
  using Key = std::pair<int64_t, int64_t>; ///< stage and microbatch

  enum class Kind : uint8_t { upward, downward, shared }; ///< of layout

  struct Attempt {
    Kind kind = Kind::upward;
    bool fromTheEnd = false; ///< order of microbatches
    int64_t end = 0;
  };

  /// Places all instances and returns the end of the highest.
  int64_t place(const Attempt &attempt) {
    std::map<int64_t, Layout> layouts;
    for (int64_t stage : rank.stages)
      layouts[stage] =
          attempt.kind == Kind::shared
              ? layOutShared(plan.stages[stage])
              : layOut(plan.stages[stage], attempt.kind == Kind::downward);
    for (Instance &instance : instances)
      instance.setPieces(layouts.at(instance.stage));
    std::vector<size_t> order(instances.size());
    std::iota(order.begin(), order.end(), 0);
    if (attempt.fromTheEnd)
      std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
        return instances[a].last != instances[b].last
                   ? instances[a].last > instances[b].last
                   : a < b;
      });
    active.clear();
    int64_t end = base;
    for (size_t index : order)
      end = std::max(end, placeInstance(instances[index]));
    return end;
  }

  Instance &at(const Key &key, size_t step) {
    auto [known, isNew] = indices.try_emplace(key, instances.size());
    if (isNew)
      instances.push_back({key.first, step, step});
    return instances[known->second];
  }

  void findInstances() {
    auto note = [&](const Key &key, plan::Phase phase, bool runs, size_t step) {
      Instance &instance = at(key, step);
      if (!runs)
        return;
      instance.last = step;
      if (phase == plan::Phase::backward_input)
        instance.split = static_cast<int64_t>(step);
    };
    for (size_t i = 0; i < rank.steps.size(); ++i) {
      const plan::Step &step = rank.steps[i];
      if (step.stage == -1)
        continue;
      note({step.stage, step.microbatch}, step.phase,
           plan::isExecution(step.kind), i);
      if (step.kind == plan::StepKind::overlap) {
        const plan::Overlap::Member &second =
            rank.overlaps[step.overlap].members[1];
        note({second.stage, step.secondMicrobatch}, second.phase, true, i);
      }
    }
  }

  /// The lowest base at which the instance keeps off those that are in flight;
  /// returns its end. Those that it does not meet are not met by later ones.
  int64_t placeInstance(Instance &instance) {
    std::erase_if(active, [&](size_t other) {
      return instances[other].last < instance.first ||
             instances[other].first > instance.last;
    });
    std::vector<Range> taken; ///< bases that collide: begin < base < end
    for (size_t index : active) {
      const Instance &other = instances[index];
      for (size_t a = 0; a < instance.count; ++a)
        for (size_t b = 0; b < other.count; ++b) {
          const Instance::Piece &mine = instance.pieces[a];
          const Instance::Piece &its = other.pieces[b];
          if (mine.begin < its.end && its.begin < mine.end)
            taken.push_back({other.base + its.range.begin - mine.range.end,
                             other.base + its.range.end - mine.range.begin});
        }
    }
    std::sort(taken.begin(), taken.end(), [](Range a, Range b) {
      return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
    });
    instance.base = base;
    for (Range range : taken)
      if (range.begin < instance.base && instance.base < range.end)
        instance.base = range.end;
    int64_t end = instance.base;
    for (size_t i = 0; i < instance.count; ++i)
      end = std::max(end, instance.base + instance.pieces[i].range.end);
    active.push_back(static_cast<size_t>(&instance - instances.data()));
    return end;
  }

  /// Values on the host lie side by side, from the first step of a microbatch
  /// to its last run: there is room.
  void placeOnHost() {
    std::map<int64_t, int64_t> sizes; ///< by stage
    for (int64_t stage : rank.stages)
      for (plan::Value &value : plan.stages[stage].values)
        if (value.isOnHost() && value.placement == plan::Placement::slot) {
          value.offset = sizes[stage];
          sizes[stage] += plan::alignUp(value.bytes);
        }
    rank.hostArenaBytes = 0;
    std::vector<const Instance *> inFlight;
    for (Instance &instance : instances) {
      int64_t size = sizes[instance.stage];
      if (size == 0)
        continue;
      std::erase_if(inFlight, [&](const Instance *other) {
        return other->last < instance.first;
      });
      std::sort(inFlight.begin(), inFlight.end(),
                [](const Instance *a, const Instance *b) {
                  return a->hostBase < b->hostBase;
                });
      instance.hostBase = 0;
      for (const Instance *other : inFlight)
        if (other->hostBase < instance.hostBase + size)
          instance.hostBase = std::max(instance.hostBase,
                                       other->hostBase + sizes[other->stage]);
      inFlight.push_back(&instance);
      rank.hostArenaBytes =
          std::max(rank.hostArenaBytes, instance.hostBase + size);
    }
  }

  void writeSlots() {
    std::map<Key, int64_t> slotOf; ///< of each instance
    /// Stage, base, base on the host.
    std::map<std::array<int64_t, 3>, int64_t> slotAt;
    for (const auto &[key, index] : indices) {
      plan::Stage &stage = plan.stages[key.first];
      const Instance &instance = instances[index];
      auto [known, isNew] =
          slotAt.try_emplace({key.first, instance.base, instance.hostBase},
                             static_cast<int64_t>(stage.slots.size()));
      if (isNew) {
        stage.slots.push_back(instance.base);
        if (instance.hostBase != -1)
          stage.hostSlots.push_back(instance.hostBase);
      }
      slotOf[key] = known->second;
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
  int64_t base;
  std::vector<Instance> instances; ///< by first step
  std::map<Key, size_t> indices;
  std::vector<size_t> active;
};

} // namespace

int64_t placeSlots(plan::Plan &plan, plan::Rank &rank, int64_t base) {
  return SlotPlacer(plan, rank, base).run();
}

} // namespace moe::optimize

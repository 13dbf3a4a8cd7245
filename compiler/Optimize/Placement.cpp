#include "compiler/Optimize/Placement.h"

#include "compiler/Optimize/Contexts.h"
#include "compiler/Optimize/Offsets.h"
#include "compiler/Optimize/SlotPlacement.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <iterator>
#include <map>
#include <numeric>
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

/// Buffers of one arena or slot while their lifetimes are gathered.
class Lifetimes {
public:
  /// A value (stage, -1, its index) or the scratch of an op (stage, phase,
  /// index of the op).
  using Name = std::array<int64_t, 3>;

  /// The buffer lives over `life` as well; its place goes to `offset`.
  void add(const Name &name, int64_t &offset, int64_t bytes, Lifetime life) {
    at(name, offset, bytes).lives.push_back(life);
  }
  /// While the buffer lives, slots reach as far as `above`.
  void raise(const Name &name, int64_t &offset, int64_t bytes, int64_t above) {
    Gathered &buffer = at(name, offset, bytes);
    buffer.above = std::max(buffer.above, above);
  }

  /// Joins the lives of each buffer that meet.
  void merge() {
    for (Gathered &buffer : buffers) {
      std::sort(buffer.lives.begin(), buffer.lives.end(),
                [](Lifetime a, Lifetime b) {
                  return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
                });
      std::vector<Lifetime> merged;
      for (Lifetime life : buffer.lives)
        if (!merged.empty() && life.begin <= merged.back().end)
          merged.back().end = std::max(merged.back().end, life.end);
        else
          merged.push_back(life);
      buffer.lives = std::move(merged);
    }
  }

  /// Live bytes at every moment before `end`, when lives are merged.
  std::vector<int64_t> liveUntil(int64_t end) const {
    std::vector<int64_t> live(static_cast<size_t>(end) + 1, 0);
    for (const Gathered &buffer : buffers)
      for (const Lifetime &life : buffer.lives) {
        live[std::min(life.begin, end)] += buffer.bytes;
        live[std::min(life.end, end)] -= buffer.bytes;
      }
    for (size_t at = 1; at < live.size(); ++at)
      live[at] += live[at - 1];
    return live;
  }

  /// Packs all, lives merged, from the top of an arena downwards, over slots
  /// that begin at `base` and never reach higher than `slots`; writes the
  /// offsets, and returns the end of the arena.
  int64_t pack(int64_t base, int64_t slots) {
    PackingProblem problem;
    for (const Gathered &buffer : buffers) {
      problem.buffers.push_back({buffer.bytes,
                                 buffer.lives.front().begin,
                                 buffer.lives.front().end,
                                 plan::kAlignment,
                                 {buffer.lives.begin() + 1, buffer.lives.end()},
                                 buffer.above});
    }
    assert(problem.check().ok() && "lifetimes come from programs in order");
    PackingSolution solution = optimize::pack(problem);
    int64_t end = base + plan::alignUp(std::max(slots, solution.height));
    for (size_t i = 0; i < buffers.size(); ++i)
      *buffers[i].offset = end - solution.offsets[i] - buffers[i].bytes;
    return end;
  }

private:
  struct Gathered {
    int64_t *offset;
    int64_t bytes;
    std::vector<Lifetime> lives;
    int64_t above = 0;
  };

  Gathered &at(const Name &name, int64_t &offset, int64_t bytes) {
    auto [known, isNew] = index.try_emplace(name, buffers.size());
    if (isNew)
      buffers.push_back({&offset, bytes, {}});
    return buffers[known->second];
  }

  std::vector<Gathered> buffers; ///< in the order in which they were named
  std::map<Name, size_t> index;
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
    SlotHeights slots = placeSlots(plan, rank, contexts, reuse, cursor.offset);
    placeFixedOnHost();
    Arena arena = placeOthers(contexts, slots, cursor.offset);
    placeOverwriters();
    return arena;
  }

private:
  using Named = std::pair<int64_t, plan::ValueIndex>; ///< stage and value

  static bool isArrival(plan::StepKind kind) {
    return kind == plan::StepKind::load || kind == plan::StepKind::receive;
  }

  /// What a step executes.
  std::vector<plan::Overlap::Member> membersOf(const plan::Step &step) const {
    if (step.kind != plan::StepKind::overlap)
      return {{step.stage, step.phase}};
    const auto &members = rank.overlaps[step.overlap].members;
    return {members.begin(), members.end()};
  }

  /// The inputs of the programs that a step executes.
  std::vector<Named> inputsOf(const plan::Step &step) const {
    std::vector<Named> inputs;
    for (const plan::Overlap::Member &member : membersOf(step))
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
    if (holdsSeveral())
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

  /// Whether a stage begins with a microbatch before another one is done with
  /// on this rank.
  bool holdsSeveral() const {
    using Key = std::pair<int64_t, int64_t>; // stage and microbatch
    std::map<Key, size_t> last;              // step of
    auto forEachRun = [&](auto visit) {
      for (size_t i = 0; i < rank.steps.size(); ++i) {
        const plan::Step &step = rank.steps[i];
        if (!plan::isExecution(step.kind))
          continue;
        const std::vector<plan::Overlap::Member> members = membersOf(step);
        for (size_t m = 0; m < members.size(); ++m)
          visit(Key(members[m].stage,
                    m == 0 ? step.microbatch : step.secondMicrobatch),
                i);
      }
    };
    forEachRun([&](const Key &key, size_t step) { last[key] = step; });
    std::set<Key> held;
    bool isSeveral = false;
    forEachRun([&](const Key &key, size_t step) {
      held.insert(key);
      isSeveral |= held.size() > 1;
      if (last.at(key) == step)
        held.erase(key);
    });
    return isSeveral;
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

  plan::ValueIndex storage(int64_t stage, plan::ValueIndex value) const {
    return plan::storageOf(plan.stages[stage], value);
  }

  bool isFixed(int64_t stage, plan::ValueIndex value) const {
    const plan::Value &at = plan.stages[stage].values[value];
    return at.placement == plan::Placement::fixed && !at.isOnHost();
  }

  void addValue(int64_t stage, plan::ValueIndex index, Lifetime life,
                Lifetimes &lifetimes) {
    plan::Value &value = plan.stages[stage].values[index];
    lifetimes.add({stage, -1, index}, value.offset, value.bytes, life);
  }

  /// Adds the lifetimes that the ops of a context give to values outside slots
  /// and to scratch, and how far slots reach meanwhile.
  void gather(const Context &context, const std::vector<int64_t> &heights,
              int64_t begin, Lifetimes &lifetimes) {
    auto visit = [&](Sharing sharing, auto found) {
      ContextLifetimes lives(context, reuse, sharing);
      for (size_t m = 0; m < context.members.size(); ++m) {
        auto [stage, program] = context.members[m];
        lives.forEach(
            plan.stages[stage], m,
            [&](plan::ValueIndex index, int64_t from, int64_t to, bool, bool) {
              plan::Value &value = plan.stages[stage].values[index];
              if (isFixed(stage, index))
                found({stage, -1, index}, value.offset, value.bytes,
                      Lifetime{from, to});
            },
            [&](size_t number, int64_t from, int64_t to) {
              plan::Op &op = program->ops[number];
              found({stage, static_cast<int64_t>(program->phase),
                     static_cast<int64_t>(number)},
                    op.scratchOffset, op.scratchBytes, Lifetime{from, to});
            });
      }
    };
    using Name = Lifetimes::Name;
    visit(Sharing::fixed,
          [&](const Name &name, int64_t &offset, int64_t bytes, Lifetime life) {
            lifetimes.add(name, offset, bytes,
                          {begin + life.begin, begin + life.end});
          });
    visit(Sharing::slots,
          [&](const Name &name, int64_t &offset, int64_t bytes, Lifetime life) {
            lifetimes.raise(name, offset, bytes,
                            *std::max_element(heights.begin() + life.begin,
                                              heights.begin() + life.end));
          });
  }

  /// Values outside slots, and scratch.
  Arena placeOthers(const Contexts &contexts, const SlotHeights &slots,
                    int64_t base) {
    Lifetimes lifetimes;
    for (size_t i = 0; i < contexts.all().size(); ++i) {
      begins.push_back(axisEnd);
      gather(contexts.all()[i], slots.inContext[i], axisEnd, lifetimes);
      axisEnd += contexts.all()[i].length();
    }
    // What every run of a context has live; slots as far as any run has.
    lifetimes.merge();
    const std::vector<int64_t> live = lifetimes.liveUntil(axisEnd);
    followSteps(contexts, slots, lifetimes);
    lifetimes.merge();
    int64_t most = 0;
    for (size_t i = 0; i < contexts.all().size(); ++i)
      for (int64_t at = 0; at < contexts.all()[i].length(); ++at)
        most =
            std::max(most, slots.liveInContext[i][at] + live[begins[i] + at]);
    return {lifetimes.pack(base, slots.most), base + most};
  }

  /// What a context does to values outside slots that live between steps, both
  /// rising.
  struct Passage {
    std::vector<Named> used;
    std::vector<Named> staying; ///< of those, what it does not release
  };

  Passage passageOf(const Context &context) const {
    std::set<Named> used, released;
    for (const auto &[stage, program] : context.members) {
      for (const auto *list : {&program->inputs, &program->outputs})
        for (plan::ValueIndex value : *list)
          used.insert({stage, storage(stage, value)});
      for (const plan::Op &op : program->ops)
        for (plan::ValueIndex value : op.releases)
          released.insert({stage, storage(stage, value)});
    }
    Passage passage;
    for (const Named &named : used)
      if (isFixed(named.first, named.second)) {
        passage.used.push_back(named);
        if (!released.contains(named))
          passage.staying.push_back(named);
      }
    return passage;
  }

  /// Values that live between steps keep out of each other's way, and out of
  /// that of every context that runs meanwhile.
  void followSteps(const Contexts &contexts, const SlotHeights &slots,
                   Lifetimes &lifetimes) {
    std::vector<Passage> passages;
    for (const Context &context : contexts.all())
      passages.push_back(passageOf(context));
    std::vector<Named> live, others; // rising
    std::set<std::vector<Named>> moments;
    std::set<std::pair<size_t, std::vector<Named>>> passed;
    auto addAll = [&](const std::vector<Named> &values, Lifetime life) {
      for (auto [stage, value] : values)
        addValue(stage, value, life, lifetimes);
    };
    // Of every value, by stage: to what it was raised already.
    std::vector<std::vector<int64_t>> raised(plan.stages.size());
    for (int64_t stage : rank.stages)
      raised[stage].assign(plan.stages[stage].values.size(), -1);
    auto raiseAll = [&](const std::vector<Named> &values, int64_t above) {
      for (auto [stage, index] : values) {
        if (std::exchange(raised[stage][index],
                          std::max(raised[stage][index], above)) >= above)
          continue;
        plan::Value &value = plan.stages[stage].values[index];
        lifetimes.raise({stage, -1, index}, value.offset, value.bytes, above);
      }
    };
    for (size_t i = 0; i < rank.steps.size(); ++i) {
      const plan::Step &step = rank.steps[i];
      if (plan::isExecution(step.kind)) {
        // What a program uses has its life there; what it does not release
        // lives on.
        const size_t index = contexts.indexOf(step);
        const auto &[used, staying] = passages[index];
        others.clear();
        std::set_difference(live.begin(), live.end(), used.begin(), used.end(),
                            std::back_inserter(others));
        raiseAll(others, slots.atStep[i]);
        if (passed.insert({index, others}).second)
          addAll(others, {begins[index],
                          begins[index] + contexts.all()[index].length()});
        live.clear();
        std::merge(others.begin(), others.end(), staying.begin(), staying.end(),
                   std::back_inserter(live));
      } else if (plan::hasValue(step.kind) && isFixed(step.stage, step.value)) {
        const Named named(step.stage, step.value);
        auto at = std::lower_bound(live.begin(), live.end(), named);
        const bool isLive = at != live.end() && *at == named;
        if (isArrival(step.kind) && !isLive)
          live.insert(at, named);
        raiseAll(live, slots.atStep[i]);
        if (isLive && !isArrival(step.kind) &&
            step.kind != plan::StepKind::send)
          live.erase(at);
      } else {
        raiseAll(live, slots.atStep[i]);
        continue;
      }
      if (moments.insert(live).second) {
        addAll(live, {axisEnd, axisEnd + 1});
        ++axisEnd;
      }
    }
  }

  plan::Plan &plan;
  plan::Rank &rank;
  Reuse reuse;
  std::vector<int64_t> begins; ///< of contexts, on the axis of lifetimes
  int64_t axisEnd = 0;
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

#include "compiler/Optimize/Placement.h"

#include "compiler/Optimize/Offsets.h"
#include "compiler/Optimize/SlotPlacement.h"
#include "compiler/Optimize/StreamWaits.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <map>
#include <set>

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

/// What a `run` or `overlap` step executes: its programs, and its ops in issue
/// order.
struct Context {
  struct Member {
    int64_t stage;
    plan::Program *program;
  };
  std::vector<Member> members;
  std::vector<IssuedOp> issued;
  int64_t begin = 0; ///< on the axis of lifetimes

  int64_t length() const {
    return std::max<int64_t>(1, static_cast<int64_t>(issued.size()));
  }
  int64_t end() const { return begin + length(); }
};

/// How far the lifetimes of buffers reach that ops of a context begin or end,
/// so that nothing on another stream can still use the bytes or use them
/// already. Ops of the compute stream keep their places: those of the others
/// give way. Two of the others are only known to follow each other where a
/// compute op lies between them: copies reach one further to either side.
struct Reach {
  std::vector<int64_t> begin; ///< by position
  std::vector<int64_t> end;
};

Reach reachOf(const Context &context, Reuse reuse) {
  const std::vector<IssuedOp> &issued = context.issued;
  auto count = static_cast<int64_t>(issued.size());
  Reach reach;
  for (int64_t i = 0; i < count; ++i) {
    reach.begin.push_back(i);
    reach.end.push_back(i + 1);
  }
  if (reuse == Reuse::inIssueOrder)
    return reach;
  constexpr auto compute = static_cast<size_t>(plan::Stream::compute);
  std::vector<StreamPositions> done = doneBefore(issued);
  std::vector<IssuedTime> times = estimateTimes(issued);
  std::vector<int64_t> computes;
  for (int64_t i = 0; i < count; ++i)
    if (issued[i].op->stream == plan::Stream::compute)
      computes.push_back(i);
  for (int64_t i = 0; i < count; ++i) {
    if (issued[i].op->stream == plan::Stream::compute)
      continue;
    auto stream = static_cast<size_t>(issued[i].op->stream);
    bool isCopy = issued[i].op->stream != plan::Stream::expert_communication;
    // Compute ops from here on may still run when this one begins.
    auto next =
        std::upper_bound(computes.begin(), computes.end(), done[i][compute]);
    if (isCopy && next != computes.begin())
      --next;
    if (next != computes.end())
      reach.begin[i] = std::min(reach.begin[i], *next);
    // Compute ops before this one may begin before it has ended. Clocks only
    // grow along the stream.
    auto later = std::upper_bound(computes.begin(), computes.end(), i);
    auto knows =
        std::partition_point(later, computes.end(), [&](int64_t position) {
          return done[position][stream] < i;
        });
    if (issued[i].op->stream == plan::Stream::copy_out)
      knows = std::min(
          knows,
          std::partition_point(later, computes.end(), [&](int64_t position) {
            return times[position].beginNs < times[i].endNs;
          }));
    if (isCopy && knows != computes.end())
      ++knows;
    if (later != computes.end())
      reach.end[i] = knows == computes.end() ? count : *knows;
  }
  return reach;
}

/// Buffers of one arena or slot while their lifetimes are gathered.
class Lifetimes {
public:
  /// A value (stage, -1, its index) or the scratch of an op (stage, phase,
  /// index of the op).
  using Name = std::array<int64_t, 3>;

  /// The buffer lives over `life` as well; its place goes to `offset`.
  void add(const Name &name, int64_t &offset, int64_t bytes, Lifetime life) {
    auto [known, isNew] = index.try_emplace(name, buffers.size());
    if (isNew)
      buffers.push_back({&offset, bytes, {}});
    buffers[known->second].lives.push_back(life);
  }

  /// Packs all from `base` upwards, writes the offsets, and returns the end.
  int64_t pack(int64_t base) {
    PackingProblem problem;
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
      problem.buffers.push_back({buffer.bytes,
                                 merged.front().begin,
                                 merged.front().end,
                                 plan::kAlignment,
                                 {merged.begin() + 1, merged.end()}});
    }
    assert(problem.check().ok() && "lifetimes come from programs in order");
    PackingSolution solution = optimize::pack(problem);
    for (size_t i = 0; i < buffers.size(); ++i)
      *buffers[i].offset = base + solution.offsets[i];
    return base + plan::alignUp(solution.height);
  }

private:
  struct Gathered {
    int64_t *offset;
    int64_t bytes;
    std::vector<Lifetime> lives;
  };
  std::vector<Gathered> buffers; ///< in the order in which they were named
  std::map<Name, size_t> index;
};

class RankPlacer {
public:
  RankPlacer(plan::Plan &plan, plan::Rank &rank, Reuse reuse)
      : plan(plan), rank(rank), reuse(reuse) {}

  int64_t run() {
    moveToSlots();
    Cursor cursor;
    for (int64_t stage : rank.stages)
      placeParameters(plan.stages[stage], cursor);
    int64_t behindSlots = placeSlots(plan, rank, cursor.offset);
    placeFixedOnHost();
    int64_t arena = placeOthers(behindSlots);
    // A slot is as large as its stage's values need, also where no microbatch
    // in it comes to use the last of them.
    for (int64_t index : rank.stages) {
      const plan::Stage &stage = plan.stages[index];
      int64_t size = 0;
      for (const plan::Value &value : stage.values)
        if (value.placement == plan::Placement::slot && !value.isOnHost())
          size = std::max(size, value.offset + value.bytes);
      for (int64_t slot : stage.slots)
        arena = std::max(arena, slot + size);
    }
    return arena;
  }

private:
  using Named = std::pair<int64_t, plan::ValueIndex>; ///< stage and value

  /// The inputs of the programs that a step executes.
  std::vector<Named> inputsOf(const plan::Step &step) const {
    std::vector<plan::Overlap::Member> members = {{step.stage, step.phase}};
    if (step.kind == plan::StepKind::overlap)
      members.assign(rank.overlaps[step.overlap].members.begin(),
                     rank.overlaps[step.overlap].members.end());
    std::vector<Named> inputs;
    for (const plan::Overlap::Member &member : members)
      for (const plan::Program &program : plan.stages[member.stage].programs)
        if (program.phase == member.phase)
          for (plan::ValueIndex input : program.inputs)
            inputs.push_back({member.stage, input});
    return inputs;
  }

  /// Where the input of a microbatch arrives before that of another one has
  /// been used, each needs a place of its own.
  void moveToSlots() {
    std::map<Named, int64_t> waiting;
    for (const plan::Step &step : rank.steps)
      if (step.kind == plan::StepKind::load ||
          step.kind == plan::StepKind::receive) {
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

  Context programContext(int64_t stage, plan::Program &program) const {
    return {{{stage, &program}}, issueProgram(plan.stages[stage], program)};
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
  /// and to scratch.
  void gather(const Context &context, Lifetimes &lifetimes) {
    Reach reach = reachOf(context, reuse);
    for (size_t m = 0; m < context.members.size(); ++m) {
      auto [stage, program] = context.members[m];
      std::map<plan::ValueIndex, int64_t> begins; ///< of what is live
      auto end = [&](plan::ValueIndex value, int64_t begin, int64_t end) {
        if (isFixed(stage, value))
          addValue(stage, value, {context.begin + begin, context.begin + end},
                   lifetimes);
      };
      for (plan::ValueIndex input : program->inputs)
        begins[input] = 0;
      size_t next = 0;
      for (size_t i = 0; i < context.issued.size(); ++i) {
        if (context.issued[i].member != static_cast<int64_t>(m))
          continue;
        auto number = static_cast<int64_t>(next);
        plan::Op &op = program->ops[next++];
        for (plan::ValueIndex output : op.outputs)
          if (output != -1)
            begins[output] = reach.begin[i];
        if (op.scratchBytes > 0)
          lifetimes.add(
              {stage, static_cast<int64_t>(program->phase), number},
              op.scratchOffset, op.scratchBytes,
              {context.begin + reach.begin[i], context.begin + reach.end[i]});
        for (plan::ValueIndex released : op.releases) {
          auto live = begins.find(released);
          assert(live != begins.end() && "only live values are released");
          end(released, live->second, reach.end[i]);
          begins.erase(live);
        }
      }
      for (auto [value, begin] : begins)
        end(value, begin, context.length());
    }
  }

  /// Values outside slots, and scratch.
  int64_t placeOthers(int64_t base) {
    findContexts();
    Lifetimes lifetimes;
    for (const Context &context : contexts)
      gather(context, lifetimes);
    followSteps(lifetimes);
    return lifetimes.pack(base);
  }

  /// All programs, each by itself, and all overlaps, one behind the other.
  void findContexts() {
    for (int64_t stage : rank.stages)
      for (plan::Program &program : plan.stages[stage].programs) {
        contextOf[{stage, program.phase}] = contexts.size();
        contexts.push_back(programContext(stage, program));
      }
    for (const plan::Overlap &overlap : rank.overlaps) {
      Context context;
      for (const plan::Overlap::Member &member : overlap.members)
        context.members.push_back(
            contexts[contextOf.at({member.stage, member.phase})]
                .members.front());
      context.issued = issueOverlap(plan, overlap);
      contexts.push_back(std::move(context));
    }
    for (Context &context : contexts) {
      context.begin = axisEnd;
      axisEnd = context.end();
    }
  }

  /// Values that live between steps keep out of each other's way, and out of
  /// that of every context that runs meanwhile.
  void followSteps(Lifetimes &lifetimes) {
    std::set<Named> live;
    std::set<std::vector<Named>> moments;
    std::set<std::pair<size_t, std::vector<Named>>> passed;
    auto addAll = [&](const std::vector<Named> &values, Lifetime life) {
      for (auto [stage, value] : values)
        addValue(stage, value, life, lifetimes);
    };
    for (const plan::Step &step : rank.steps) {
      if (plan::isExecution(step.kind)) {
        size_t index = step.kind == plan::StepKind::run
                           ? contextOf.at({step.stage, step.phase})
                           : contexts.size() - rank.overlaps.size() +
                                 static_cast<size_t>(step.overlap);
        const Context &context = contexts[index];
        for (const Context::Member &member : context.members)
          for (plan::ValueIndex input : member.program->inputs)
            live.erase({member.stage, input});
        std::vector<Named> others(live.begin(), live.end());
        if (passed.insert({index, others}).second)
          addAll(others, {context.begin, context.end()});
        for (const Context::Member &member : context.members)
          for (plan::ValueIndex output : member.program->outputs)
            if (isFixed(member.stage, output))
              live.insert({member.stage, output});
      } else if (plan::hasValue(step.kind) && isFixed(step.stage, step.value)) {
        bool begins = step.kind == plan::StepKind::load ||
                      step.kind == plan::StepKind::receive;
        if (begins)
          live.insert({step.stage, step.value});
        else if (step.kind != plan::StepKind::send)
          live.erase({step.stage, step.value});
      } else {
        continue;
      }
      std::vector<Named> moment(live.begin(), live.end());
      if (moments.insert(moment).second) {
        addAll(moment, {axisEnd, axisEnd + 1});
        ++axisEnd;
      }
    }
  }

  plan::Plan &plan;
  plan::Rank &rank;
  Reuse reuse;
  std::vector<Context> contexts; ///< programs, then overlaps
  std::map<std::pair<int64_t, plan::Phase>, size_t> contextOf; ///< programs
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

Result<int64_t> placeRank(plan::Plan &plan, int64_t rank, Reuse reuse) {
  if (bytesWithoutSharing(plan, plan.ranks[rank]) > 0x1p53)
    return Error{"pipeline rank " + std::to_string(rank) +
                 " needs more than 2^53 bytes; use smaller microbatches or "
                 "fewer of them in flight"};
  return RankPlacer(plan, plan.ranks[rank], reuse).run();
}

} // namespace moe::optimize

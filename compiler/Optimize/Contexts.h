//===- Contexts.h - what steps execute, and when bytes are in use -*- C++ -*-=//
//
// Private to compiler/Optimize.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Optimize/Offsets.h"
#include "compiler/Optimize/Placement.h"
#include "compiler/Optimize/StreamWaits.h"

#include <map>
#include <numeric>

namespace moe::optimize {

/// What a `run` or `overlap` step executes: its programs, and its ops in issue
/// order.
struct Context {
  struct Member {
    int64_t stage;
    plan::Program *program;
  };
  std::vector<Member> members;
  std::vector<IssuedOp> issued;

  /// Two moments for each op: while it runs, and before the next is issued.
  int64_t length() const {
    return std::max<int64_t>(1, 2 * static_cast<int64_t>(issued.size()));
  }
};

/// All programs of a rank, each by itself, and then its overlaps.
class Contexts {
public:
  Contexts(plan::Plan &plan, plan::Rank &rank);

  const std::vector<Context> &all() const { return contexts; }
  /// Of a `run` or `overlap` step.
  size_t indexOf(const plan::Step &step) const;

private:
  std::vector<Context> contexts;
  std::map<std::pair<int64_t, plan::Phase>, size_t> programs;
  size_t firstOverlap = 0;
};

/// Whether a step brings a value into its place from elsewhere.
constexpr bool isArrival(plan::StepKind kind) {
  return kind == plan::StepKind::load || kind == plan::StepKind::receive;
}

/// What a `run` or `overlap` step executes.
std::vector<plan::Overlap::Member> membersOf(const plan::Rank &rank,
                                             const plan::Step &step);

/// How many microbatches of its stages a rank has begun with and is not done
/// with, at most at a time.
size_t mostHeld(const plan::Rank &rank);

/// From when on bytes are in use that an op writes, and until when those that
/// it uses last, for each position of a context: so that of two buffers whose
/// lifetimes do not meet one is done with before the other begins, whatever
/// the streams of their ops. Ops of the compute stream keep their moments:
/// those of the others give way, as far as compute ops are known to be done
/// before they begin, and they before compute ops.
struct Reach {
  std::vector<int64_t> begin;
  std::vector<int64_t> end;
};

/// Whose bytes: what shares bytes with a slot is the same for no two
/// microbatches, so that no wait could keep it off.
enum class Sharing : uint8_t { fixed, slots };
Reach reachOf(const Context &context, Reuse reuse, Sharing sharing);

/// The same as lifetimes of the values and the scratch of one of the programs
/// of a context.
class ContextLifetimes {
public:
  ContextLifetimes(const Context &context, Reuse reuse, Sharing sharing)
      : context(context), reach(reachOf(context, reuse, sharing)) {}

  /// Calls `value(index, begin, end, isMade, isFreed)` for each value with
  /// bytes of its own that the program uses, also while others have them, where
  /// `begin` is 0 for those that it did not make and `end` the length of the
  /// context for those that live on; and `scratch(op number, op, begin, end)`.
  template <typename VisitValue, typename VisitScratch>
  void forEach(const plan::Stage &stage, size_t member, VisitValue value,
               VisitScratch scratch) const {
    const plan::Program &program = *context.members[member].program;
    struct Live {
      int64_t begin = -1; ///< -1: it does not live
      bool isMade = false;
    };
    std::vector<Live> live(stage.values.size());
    for (plan::ValueIndex input : program.inputs)
      live[plan::storageOf(stage, input)] = {0, false};
    size_t number = 0;
    for (size_t i = 0; i < context.issued.size(); ++i) {
      if (context.issued[i].member != static_cast<int64_t>(member))
        continue;
      const plan::Op &op = *context.issued[i].op;
      for (plan::ValueIndex output : op.outputs)
        if (output != -1 && stage.values[output].overwrites == -1)
          live[output] = {reach.begin[i], true};
      if (op.scratchBytes > 0)
        scratch(number, reach.begin[i], reach.end[i]);
      ++number;
      for (plan::ValueIndex released : op.releases) {
        plan::ValueIndex storage = plan::storageOf(stage, released);
        Live &ended = live[storage];
        value(storage, ended.begin, reach.end[i], ended.isMade, true);
        ended = {};
      }
    }
    for (size_t index = 0; index < live.size(); ++index)
      if (live[index].begin != -1)
        value(static_cast<plan::ValueIndex>(index), live[index].begin,
              context.length(), live[index].isMade, false);
  }

private:
  const Context &context;
  Reach reach;
};

/// The bytes that live at each moment of a context: of the values of each
/// member's stage, `stageOf(member)`, that `counts(member, value)` admits, and
/// of scratch where `hasScratch`.
template <typename StageOf, typename Counts>
std::vector<int64_t> liveBytes(const Context &context, Reuse reuse,
                               StageOf stageOf, Counts counts,
                               bool hasScratch) {
  std::vector<int64_t> live(static_cast<size_t>(context.length()) + 1, 0);
  auto add = [&](int64_t bytes, int64_t begin, int64_t end) {
    live[static_cast<size_t>(begin)] += bytes;
    live[static_cast<size_t>(end)] -= bytes;
  };
  const ContextLifetimes lifetimes(context, reuse, Sharing::fixed);
  for (size_t m = 0; m < context.members.size(); ++m) {
    const plan::Stage &stage = stageOf(m);
    lifetimes.forEach(
        stage, m,
        [&](plan::ValueIndex value, int64_t begin, int64_t end, bool, bool) {
          if (counts(m, value))
            add(stage.values[value].bytes, begin, end);
        },
        [&](size_t op, int64_t begin, int64_t end) {
          if (hasScratch)
            add(context.members[m].program->ops[op].scratchBytes, begin, end);
        });
  }
  std::partial_sum(live.begin(), live.end(), live.begin());
  live.pop_back(); // behind all moments
  return live;
}

} // namespace moe::optimize

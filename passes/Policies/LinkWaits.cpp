//===- LinkWaits.cpp - what a block waits for the host link ---------------===//

#include "passes/Policies/LinkWaits.h"

#include "compiler/Schedule/Interleave.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallVector.h"

#include <algorithm>

using namespace moe;

namespace {

bool isCopy(const plan::Op &op) { return op.stream == plan::Stream::copy_in; }

/// The times of a program's ops, which they get back in the end.
class Times {
public:
  explicit Times(plan::Program &program) : program(program) {
    for (const plan::Op &op : program.ops)
      ns.push_back(op.timeNs);
  }
  ~Times() {
    for (auto [op, timeNs] : llvm::zip(program.ops, ns))
      op.timeNs = timeNs;
  }
  Times(const Times &) = delete;
  Times &operator=(const Times &) = delete;

private:
  plan::Program &program;
  llvm::SmallVector<int64_t> ns;
};

/// The block that first reads what an op makes.
size_t readerOf(const plan::Program &program, size_t maker,
                llvm::ArrayRef<size_t> blocks) {
  for (size_t op = maker + 1; op < program.ops.size(); ++op)
    for (plan::ValueIndex output : program.ops[maker].outputs)
      if (llvm::is_contained(program.ops[op].inputs, output))
        return blocks[op];
  return blocks[maker];
}

} // namespace

LinkWaits moe::findLinkWaits(plan::Program &program,
                             llvm::ArrayRef<size_t> blocks) {
  const Times times(program);
  // The lowest block's first op, and where it has its turn: behind all ops of
  // others, some of which wait behind its first exchange.
  bool isAlone = true;
  size_t first = blocks.size(), turn = blocks.size();
  size_t others = blocks.size(); // where those above begin to compute
  for (size_t i = blocks.size(); i-- > 0;) {
    if (isCopy(program.ops[i]))
      continue;
    if (blocks[i] == 0) {
      first = i;
    } else {
      isAlone = false;
      if (program.ops[i].stream == plan::Stream::compute)
        others = i;
    }
    if (isAlone)
      turn = i;
  }
  if (turn == blocks.size())
    return {schedule::durationNs(program), 0};
  // Of the lowest block: issued while the one above it runs, and in its turn.
  llvm::SmallVector<plan::Op *> early, late;
  LinkWaits waits;
  size_t next = blocks.size(); // the next that is no copy
  for (size_t i = blocks.size(); i-- > 0;) {
    plan::Op &op = program.ops[i];
    if (!isCopy(op)) {
      next = i;
    } else if (isAlone || readerOf(program, i, blocks) != 0) {
      // What waits behind the exchange may bring copies of its own.
      if (isAlone)
        waits.lateNs += op.timeNs;
      if (isAlone || i < first)
        op.timeNs = 0;
    } else if (i < others || (next < blocks.size() && blocks[next] != 0)) {
      early.push_back(&op);
      waits.earlyNs += op.timeNs;
    } else {
      late.push_back(&op);
      waits.lateNs += op.timeNs;
    }
  }
  const llvm::SmallVector<int64_t> earlyTimes(
      llvm::map_range(early, [](const plan::Op *op) { return op->timeNs; }));
  for (plan::Op *op : early)
    op->timeNs = 0;
  const std::vector<int64_t> ends = schedule::endsNs(program);
  waits.unhinderedNs = *std::max_element(ends.begin(), ends.end());
  const int64_t beginNs = ends[turn] - program.ops[turn].timeNs;
  waits.mayWaitNs = waits.unhinderedNs - beginNs;
  if (early.empty() && late.empty())
    return waits;
  // As late as the turn is long: what that makes the program longer, it is too
  // late, since from some lateness on a program ends that much later.
  const int64_t lateNs = waits.mayWaitNs;
  if (early.empty()) {
    late.back()->timeNs += lateNs;
  } else {
    for (auto [op, ns] : llvm::zip(early, earlyTimes))
      op->timeNs = ns;
    // Where the others alone take longer they are later still.
    early.back()->timeNs = std::max<int64_t>(0, early.back()->timeNs + beginNs +
                                                    lateNs - waits.earlyNs);
  }
  waits.mayWaitNs -= std::clamp<int64_t>(
      schedule::durationNs(program) - waits.unhinderedNs, 0, waits.mayWaitNs);
  return waits;
}

//===- LeadTest.cpp - how early what an op needs is issued ----------------===//

#include "passes/Policies/Lead.h"

#include "dialects/MoE/IR/MoE.h"
#include "dialects/Pipe/IR/Pipe.h"

#include "mlir/IR/Builders.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <string>
#include <vector>

using namespace mlir;
using namespace moe;

namespace {

/// A region of ops that are known by their names, and of copies.
class Leads : public testing::Test {
protected:
  Leads() {
    context.loadDialect<MoEDialect, pipe::PipeDialect>();
    context.allowUnregisteredDialects();
    type = RankedTensorType::get({4}, Float32Type::get(&context));
    for (int i = 0; i < 3; ++i)
      block.addArgument(type, UnknownLoc::get(&context));
    builder.setInsertionPointToEnd(&block);
  }

  Operation *add(const std::string &name, ValueRange operands = {}) {
    OperationState state(nameLoc(&context, name), "test.op");
    state.addOperands(operands);
    return ops.emplace_back(builder.create(state));
  }
  Operation *addCopy(const std::string &name) {
    return ops.emplace_back(pipe::OffloadOp::create(
        builder, nameLoc(&context, name + ".offload"), block.getArgument(0)));
  }
  void addYield() {
    ops.push_back(pipe::YieldOp::create(builder, UnknownLoc::get(&context),
                                        ValueRange(),
                                        block.getArguments().take_back(2)));
  }
  void clear() {
    block.getOperations().clear();
    ops.clear();
  }

  int64_t pick(int64_t from, int64_t to) {
    return std::uniform_int_distribution<int64_t>(from, to)(random);
  }

  MLIRContext context{MLIRContext::Threading::DISABLED};
  Type type;
  Block block;
  OpBuilder builder{&context};
  std::vector<Operation *> ops; ///< in order
  std::mt19937 random{6};
};

bool isCopy(Operation *op) { return isa<pipe::OffloadOp>(op); }

TEST_F(Leads, FirstUserComesFirst) {
  int unused = 0;
  for (int round = 0; round < 200; ++round) {
    clear();
    SmallVector<Operation *> first(3, nullptr);
    for (int64_t i = pick(0, 6); i > 0; --i) {
      // Before the ops that are there, between them or behind them.
      if (!ops.empty())
        builder.setInsertionPoint(
            ops[static_cast<size_t>(pick(0, std::ssize(ops) - 1))]);
      SmallVector<Value> operands;
      for (int64_t used = pick(0, 2); used > 0; --used)
        operands.push_back(
            block.getArgument(static_cast<unsigned>(pick(0, 2))));
      add("embedding", operands);
      builder.setInsertionPointToEnd(&block);
    }
    addYield();
    for (Operation &op : llvm::reverse(block))
      for (Value operand : op.getOperands())
        if (!isa<pipe::YieldOp>(op))
          first[cast<BlockArgument>(operand).getArgNumber()] = &op;
    for (unsigned argument = 0; argument < 3; ++argument) {
      EXPECT_EQ(firstUser(block.getArgument(argument)), first[argument]);
      unused += !first[argument];
    }
    ASSERT_FALSE(HasFailure()) << "round " << round;
  }
  EXPECT_GT(unused, 20);
}

// A backward of layers 12 and 2: what layer 2 needs comes back while layer 12
// runs, which is no part of layer 1.
TEST_F(Leads, OneLayerAheadIsTheTurnBefore) {
  add("head.linear.input_grad");
  Operation *upper = add("layers.12.mlp.input_grad");
  addCopy("layers.12.mlp");
  add("layers.12.norm.input_grad");
  Operation *user = add("layers.2.mlp.input_grad");
  EXPECT_EQ(pointAhead(user, {.layers = 1}), upper);
  EXPECT_EQ(pointAhead(user, {.layers = 0}), user);
  EXPECT_EQ(pointAhead(user, {.layers = 2}), ops.front());
  EXPECT_EQ(pointAhead(user, {.layers = 9}), ops.front());
  EXPECT_EQ(pointAhead(user, {.layers = 1, .ops = 1}), ops[3]);
  EXPECT_EQ(pointAhead(user, {.layers = 1, .ops = 2}), upper);
}

// The earliest place from which on no more of other blocks, or no more ops, run
// before the user; copies are no turn of anything, and replays not of their
// block.
TEST_F(Leads, PointIsTheEarliestWithinTheLead) {
  const std::string blocks[] = {"embedding", "layers.1", "layers.11",
                                "mtp.0",     "mtp.1",    "head"};
  int behindCopies = 0, atBegin = 0, amongReplays = 0;
  for (int round = 0; round < 2000; ++round) {
    clear();
    std::vector<std::string> blockOf; // of each op; empty: it does not count
    size_t turn = static_cast<size_t>(pick(0, 5));
    const int64_t count = pick(1, 24);
    for (int64_t i = 0; i < count; ++i) {
      if (pick(0, 3) == 0)
        turn = (turn + 1) % 6;
      const bool isLast = i + 1 == count;
      if (!isLast && pick(0, 3) == 0) {
        addCopy(blocks[pick(0, 5)]);
        blockOf.emplace_back();
      } else if (!isLast && pick(0, 4) == 0) {
        add(blocks[pick(0, 5)] + ".linear.replay");
        blockOf.emplace_back();
      } else {
        add(blocks[turn] + ".op" + std::to_string(i));
        blockOf.push_back(blocks[turn]);
      }
    }
    Operation *user = ops.back();
    OffloadLead lead{.layers = pick(0, 3)};
    if (pick(0, 1) == 0)
      lead.ops = pick(1, 6);
    size_t at = 0;
    for (; at + 1 < ops.size(); ++at) {
      std::set<std::string> others;
      int64_t between = 0;
      for (size_t i = at; i + 1 < ops.size(); ++i) {
        between += !isCopy(ops[i]);
        if (!blockOf[i].empty() && blockOf[i] != blockOf.back())
          others.insert(blockOf[i]);
      }
      if (lead.ops > 0 ? between <= lead.ops
                       : std::ssize(others) <= lead.layers)
        break;
    }
    atBegin += at == 0;
    behindCopies += isCopy(ops[at]);
    while (isCopy(ops[at]))
      ++at;
    amongReplays += lead.ops == 0 && isReplay(ops[at]);
    EXPECT_EQ(pointAhead(user, lead), ops[at])
        << "round " << round << ": " << lead.layers << " layers, " << lead.ops
        << " ops";
  }
  EXPECT_GT(behindCopies, 100);
  EXPECT_GT(atBegin, 100);
  EXPECT_GT(amongReplays, 100);
}

} // namespace

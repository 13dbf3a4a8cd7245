//===- Differentiate.cpp - backward regions from forward regions ----------===//

#include "passes/Differentiate/GradientNeeds.h"
#include "passes/Passes.h"

#include "mlir/IR/Builders.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SetVector.h"

namespace moe {
#define GEN_PASS_DEF_DIFFERENTIATE
#include "passes/Passes.h.inc"
} // namespace moe

using namespace mlir;
using namespace moe;

namespace {

/// Derives the gradients of one block. All new ops are first appended to the
/// forward block, where every forward value can be used as it stands; then they
/// are moved to their regions, and what they use of the forward region becomes
/// saved. What needs no gradient gets none, so that nothing is saved for it.
class BlockDifferentiator {
public:
  BlockDifferentiator(BlockOp op, SymbolTableCollection &symbols)
      : op(op), forward(op.getForward().front()),
        yield(cast<YieldOp>(forward.getTerminator())), builder(yield),
        needs(op, symbols) {}

  LogicalResult run() {
    if (!needs.any())
      return success();
    SmallVector<Operation *> forwardOps;
    for (Operation &each : forward.without_terminator())
      forwardOps.push_back(&each);
    seedOutputGradients();
    for (Operation *each : llvm::reverse(forwardOps))
      if (failed(differentiate(each)))
        return failure();
    for (unsigned position : hiddenInputsWithGradient())
      if (!gradients.lookup(forward.getArgument(position)))
        return op.emitOpError() << "has no gradient for input " << position
                                << ": nothing differentiable uses it";
    eraseUnused();
    moveToRegions();
    return success();
  }

private:
  /// Gradients that enter: one temporary argument for each hidden output.
  void seedOutputGradients() {
    for (auto [role, value] : llvm::zip(
             op.getOutputs().getAsValueRange<StringAttr>(), yield.getResults()))
      if (role == "hidden")
        accumulate(value, entering.emplace_back(forward.addArgument(
                              value.getType(), op.getLoc())));
  }

  LogicalResult differentiate(Operation *each) {
    auto differentiable = dyn_cast<DifferentiableOpInterface>(each);
    if (!differentiable)
      return each->emitOpError() << "cannot be differentiated";
    SmallVector<Value> resultGradients;
    bool reached = false;
    for (Value result : each->getResults()) {
      resultGradients.push_back(gradients.lookup(result));
      reached |= resultGradients.back() != nullptr;
    }
    if (!reached && !differentiable.isSeed())
      return success();

    if (llvm::any_of(each->getOperands(),
                     [&](Value operand) { return needs.of(operand); })) {
      SmallVector<Value> operandGradients(each->getNumOperands());
      if (failed(differentiable.buildInputGradients(builder, resultGradients,
                                                    operandGradients)))
        return failure();
      for (auto [operand, gradient] :
           llvm::zip(each->getOperands(), operandGradients))
        if (gradient && needs.of(operand))
          accumulate(operand, gradient);
    }

    Operation *last = yield->getPrevNode();
    if (failed(differentiable.buildWeightGradients(builder, resultGradients)))
      return failure();
    SmallVector<Operation *> made;
    for (Operation *next = last->getNextNode(); next != yield;
         next = next->getNextNode())
      made.push_back(next);
    for (Operation *next : made) {
      FailureOr<bool> isTrained = needs.trainsAll(next);
      if (failed(isTrained))
        return failure();
      if (*isTrained)
        weightGradients.insert(next);
      else
        next->erase();
    }
    return success();
  }

  SmallVector<unsigned> hiddenInputsWithGradient() {
    if (op.getDetached())
      return {};
    return BlockOp::getPositions(op.getInputs(), "hidden");
  }

  /// Erases gradients that were made along with others and that nothing needs.
  void eraseUnused() {
    llvm::SmallDenseSet<Value> leaving;
    for (unsigned position : hiddenInputsWithGradient())
      leaving.insert(gradients.lookup(forward.getArgument(position)));
    SmallVector<Operation *> made;
    for (Operation &each : forward.without_terminator())
      if (isNew(&each) && !weightGradients.contains(&each))
        made.push_back(&each);
    for (Operation *each : llvm::reverse(made))
      if (each->use_empty() &&
          llvm::none_of(each->getResults(),
                        [&](Value value) { return leaving.contains(value); }))
        each->erase();
  }

  void accumulate(Value value, Value gradient) {
    Value &sum = gradients[value];
    if (!sum) {
      sum = gradient;
      return;
    }
    std::string name;
    if (Operation *producer = value.getDefiningOp())
      name = getOpName(producer).str();
    else
      name = (op.getSymName() + ".input").str();
    int64_t &count = sums[value];
    std::string suffix = count ? ".grad_sum" + std::to_string(count + 1)
                               : std::string(".grad_sum");
    ++count;
    sum = AddOp::create(builder, nameLoc(builder.getContext(), name + suffix),
                        sum.getType(), sum, gradient);
  }

  /// Moves the ops behind the forward ones into the other two regions.
  void moveToRegions() {
    Block &backward = op.getBackward().emplaceBlock();
    Block &weightGrad = op.getWeightGrad().emplaceBlock();
    SmallVector<Value> inputGradients;
    for (unsigned position : hiddenInputsWithGradient())
      inputGradients.push_back(gradients.lookup(forward.getArgument(position)));

    SmallVector<Operation *> made;
    for (Operation &each : forward.without_terminator())
      if (isNew(&each))
        made.push_back(&each);
    for (Operation *each : made) {
      Block &home = weightGradients.contains(each) ? weightGrad : backward;
      each->moveBefore(&home, home.end());
    }

    // Entering gradients become the first arguments of the backward region.
    for (Value &gradient : entering) {
      Value argument =
          backward.addArgument(gradient.getType(), gradient.getLoc());
      gradient.replaceAllUsesWith(argument);
      for (Value &leaving : inputGradients)
        if (leaving == gradient)
          leaving = argument;
    }
    forward.eraseArguments(forward.getNumArguments() - entering.size(),
                           entering.size());

    // Weight gradients read values of both other regions.
    SetVector<Value> kept = captured(weightGrad);
    for (Value value : kept)
      pass(value, weightGrad);
    // A forward value that only a weight gradient reads travels through the
    // backward region.
    SetVector<Value> saved = captured(backward);
    for (Value value : kept)
      if (value.getParentBlock() == &forward)
        saved.insert(value);
    SmallVector<Value> ordered = saved.takeVector();
    llvm::sort(ordered,
               [&](Value a, Value b) { return position(a) < position(b); });
    SmallVector<Value> passed(kept.begin(), kept.end());
    for (Value value : ordered) {
      Value argument = pass(value, backward);
      llvm::replace(passed, value, argument);
      llvm::replace(inputGradients, value, argument);
    }

    OpBuilder end(op.getContext());
    end.setInsertionPointToEnd(&backward);
    YieldOp::create(end, op.getLoc(), inputGradients, passed);
    end.setInsertionPointToEnd(&weightGrad);
    YieldOp::create(end, op.getLoc(), ValueRange{}, ValueRange{});
    yield.getSavedMutable().assign(ordered);
  }

  bool isNew(Operation *each) { return !original.contains(each); }

  /// Values from outside `block` that its ops use, in order of first use.
  static SetVector<Value> captured(Block &block) {
    SetVector<Value> values;
    for (Operation &each : block)
      for (Value operand : each.getOperands())
        if (operand.getParentBlock() != &block)
          values.insert(operand);
    return values;
  }

  /// Gives `block` an argument that stands for `value` inside it.
  static Value pass(Value value, Block &block) {
    Value argument = block.addArgument(value.getType(), value.getLoc());
    value.replaceUsesWithIf(argument, [&](OpOperand &use) {
      return use.getOwner()->getBlock() == &block;
    });
    return argument;
  }

  /// Order of definition in the forward block: arguments, then results.
  std::pair<int64_t, int64_t> position(Value value) {
    if (auto argument = dyn_cast<BlockArgument>(value))
      return {-1, argument.getArgNumber()};
    return {originalIndex.lookup(value.getDefiningOp()),
            cast<OpResult>(value).getResultNumber()};
  }

  BlockOp op;
  Block &forward;
  YieldOp yield;
  OpBuilder builder;
  GradientNeeds needs;
  llvm::SmallDenseSet<Operation *> original = collectOriginal();
  DenseMap<Operation *, int64_t> originalIndex = numberOriginal();
  DenseMap<Value, Value> gradients;
  DenseMap<Value, int64_t> sums;
  SmallVector<Value> entering;
  llvm::SmallDenseSet<Operation *> weightGradients;

  llvm::SmallDenseSet<Operation *> collectOriginal() {
    llvm::SmallDenseSet<Operation *> ops;
    for (Operation &each : forward)
      ops.insert(&each);
    return ops;
  }
  DenseMap<Operation *, int64_t> numberOriginal() {
    DenseMap<Operation *, int64_t> numbers;
    for (auto [index, each] : llvm::enumerate(forward))
      numbers[&each] = index;
    return numbers;
  }
};

struct Differentiate : public moe::impl::DifferentiateBase<Differentiate> {
  void runOnOperation() override {
    SymbolTableCollection symbols;
    for (BlockOp block : getOperation().getOps<BlockOp>())
      if (failed(differentiate(block, symbols)))
        return signalPassFailure();
  }

  static LogicalResult differentiate(BlockOp op,
                                     SymbolTableCollection &symbols) {
    if (!op.getBackward().empty() || !op.getWeightGrad().empty())
      return op.emitOpError() << "is differentiated already";
    if (op.getForward().empty())
      return op.emitOpError() << "has no forward program to differentiate";
    return BlockDifferentiator(op, symbols).run();
  }
};

} // namespace

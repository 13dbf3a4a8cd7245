//===- MoEBlocks.cpp - models, blocks and parameters: checks --------------===//

#include "dialects/MoE/IR/MoE.h"
#include "support/TokenRole.h"

using namespace mlir;
using namespace moe;

#include "dialects/MoE/IR/MoEInterfaces.cpp.inc"

//===----------------------------------------------------------------------===//
// Level A
//===----------------------------------------------------------------------===//

/// The terminator of a region of one block; null when there is none.
static YieldOp getYieldOf(Region &region) {
  if (region.empty() || region.front().empty())
    return nullptr;
  return dyn_cast<YieldOp>(region.front().back());
}

static bool isTokens(Type type) {
  auto tensor = dyn_cast<RankedTensorType>(type);
  return tensor && tensor.getRank() == 1 &&
         tensor.getElementType().isSignlessInteger(32);
}

static bool isHidden(Type type) {
  auto tensor = dyn_cast<RankedTensorType>(type);
  return tensor && tensor.getRank() == 2 &&
         isa<FloatType>(tensor.getElementType());
}

static bool isLoss(Type type) {
  auto tensor = dyn_cast<RankedTensorType>(type);
  return tensor && tensor.getRank() == 1 && tensor.getDimSize(0) == 1 &&
         isa<Float32Type, Float64Type>(tensor.getElementType());
}

LogicalResult ModelOp::verifyRegions() {
  Region &body = getBody();
  if (body.getNumArguments() != 2 ||
      !llvm::all_of(body.getArgumentTypes(), isTokens))
    return emitOpError("takes tokens and labels, two 1-D tensors of i32");
  if (body.getArgument(0).getType() != body.getArgument(1).getType())
    return emitOpError("takes as many labels as tokens");
  YieldOp yield = getYieldOf(body);
  if (!yield || yield.getResults().size() != 1 || !yield.getSaved().empty() ||
      !isLoss(yield.getResults().front().getType()))
    return emitOpError(
        "must end in a moe.yield of the loss alone, a tensor of one sum");
  int64_t next = 0;
  for (Operation &op : body.front()) {
    IntegerAttr index;
    if (auto layer = dyn_cast<DecoderLayerOp>(op))
      index = layer.getIndexAttr();
    else if (auto layer = dyn_cast<MtpLayerOp>(op))
      index = layer.getIndexAttr();
    if (!index)
      continue;
    if (index.getInt() != next)
      return op.emitOpError("is layer ")
             << index.getInt() << ", but layer " << next << " comes next";
    ++next;
  }
  return success();
}

void ModelOp::getAsmBlockArgumentNames(Region &region,
                                       OpAsmSetValueNameFn setName) {
  if (region.getNumArguments() != 2)
    return;
  setName(region.getArgument(0), "tokens");
  setName(region.getArgument(1), "labels");
}

/// A hidden value must be as wide as the model.
static LogicalResult verifyWidth(Operation *op, Value hidden) {
  auto model = cast<ModelOp>(op->getParentOp());
  int64_t width = cast<RankedTensorType>(hidden.getType()).getDimSize(1);
  if (width == model.getHidden())
    return success();
  InFlightDiagnostic diagnostic =
      op->emitOpError("has a hidden value of width ");
  if (ShapedType::isDynamic(width))
    diagnostic << "?";
  else
    diagnostic << width;
  return diagnostic << ", the model's is " << model.getHidden();
}

/// A hidden value must have a row for each token.
static LogicalResult verifyRows(Operation *op, Value hidden, Value tokens,
                                StringRef role) {
  int64_t rows = cast<RankedTensorType>(hidden.getType()).getDimSize(0);
  if (rows == cast<RankedTensorType>(tokens.getType()).getDimSize(0))
    return success();
  return op->emitOpError("has hidden type ")
         << hidden.getType() << ", but " << role << " of type "
         << tokens.getType();
}

LogicalResult InputEmbeddingOp::verify() {
  if (failed(verifyWidth(*this, getHidden())))
    return failure();
  return verifyRows(*this, getHidden(), getTokens(), "tokens");
}

LogicalResult DecoderLayerOp::verify() {
  return verifyWidth(*this, getHidden());
}

LogicalResult MtpLayerOp::verify() {
  if (failed(verifyWidth(*this, getHidden())))
    return failure();
  return verifyRows(*this, getHidden(), getTokens(), "tokens");
}

LogicalResult LmLossOp::verify() {
  if (failed(verifyWidth(*this, getHidden())) ||
      failed(verifyRows(*this, getHidden(), getLabels(), "labels")))
    return failure();
  for (Value mtp : getMtp())
    if (mtp.getType() != getHidden().getType())
      return emitOpError("has an mtp value of type ")
             << mtp.getType() << ", but hidden type " << getHidden().getType();
  if (!isLoss(getLoss().getType()))
    return emitOpError("must yield a tensor of one sum, yields ")
           << getLoss().getType();
  return success();
}

//===----------------------------------------------------------------------===//
// Parameters
//===----------------------------------------------------------------------===//

LogicalResult ParameterOp::verify() {
  auto type = cast<RankedTensorType>(getType());
  if (type.getRank() == 0 || type.getNumElements() == 0)
    return emitOpError("must have at least one dimension and one element, is ")
           << type;
  if (type.getEncoding())
    return emitOpError("must have a type without encoding, is ") << type;
  if (getDecay() && !getTrainable())
    return emitOpError("is not trainable, so `decay` must be false");
  return success();
}

LogicalResult
ParameterOp::verifySymbolUses(SymbolTableCollection &symbolTable) {
  FlatSymbolRefAttr symbol = getTiedToAttr();
  if (!symbol)
    return success();
  auto original =
      symbolTable.lookupNearestSymbolFrom<ParameterOp>(*this, symbol);
  if (!original)
    return emitOpError("is tied to ")
           << symbol << ", which is no parameter of the module";
  if (original.getTiedToAttr())
    return emitOpError("is tied to ") << symbol << ", which is tied itself";
  if (original.getType() != getType() ||
      original.getReplication() != getReplication() ||
      original.getInitializer() != getInitializer() ||
      original.getTrainable() != getTrainable() ||
      original.getDecay() != getDecay())
    return emitOpError("is tied to ")
           << symbol << " and must be like it in everything but its name";
  return success();
}

//===----------------------------------------------------------------------===//
// Blocks
//===----------------------------------------------------------------------===//

YieldOp BlockOp::getYield(Region &region) { return getYieldOf(region); }

SmallVector<unsigned> BlockOp::getPositions(ArrayAttr roles, StringRef role) {
  SmallVector<unsigned> positions;
  for (auto [i, name] : llvm::enumerate(roles.getAsValueRange<StringAttr>()))
    if (name == role)
      positions.push_back(i);
  return positions;
}

void BlockOp::build(OpBuilder &builder, OperationState &state, StringRef name,
                    BlockKind kind, ArrayRef<StringRef> inputs,
                    ArrayRef<StringRef> outputs) {
  build(builder, state, name, kind, builder.getStrArrayAttr(inputs),
        builder.getStrArrayAttr(outputs));
}

void BlockOp::getAsmBlockArgumentNames(Region &region,
                                       OpAsmSetValueNameFn setName) {
  if (region.empty())
    return;
  auto names = llvm::to_vector(getInputs().getAsValueRange<StringAttr>());
  if (&region == &getForward() && names.size() == region.getNumArguments())
    for (auto [argument, name] : llvm::zip_equal(region.getArguments(), names))
      setName(argument, name);
  if (&region == &getBackward() && region.getNumArguments() > 0 &&
      !getPositions(getOutputs(), "hidden").empty())
    setName(region.getArgument(0), "d_hidden");
}

LogicalResult BlockOp::verify() {
  for (StringRef role : getInputs().getAsValueRange<StringAttr>())
    if (role != "hidden" && !parseTokenRole(role))
      return emitOpError("has an input with role '")
             << role << "', expected hidden, tokens or labels";
  for (StringRef role : getOutputs().getAsValueRange<StringAttr>())
    if (role != "hidden" && role != "loss")
      return emitOpError("has an output with role '")
             << role << "', expected hidden or loss";
  return success();
}

/// The type of a value must be what its role says.
static LogicalResult verifyRole(BlockOp block, StringRef what, StringRef role,
                                Type type) {
  bool fits = role == "hidden" ? isHidden(type)
              : role == "loss" ? isLoss(type)
                               : isTokens(type);
  if (fits)
    return success();
  return block.emitOpError(what)
         << " with role '" << role << "' cannot have type " << type;
}

/// Two lists of types must be equal, element by element.
static LogicalResult verifyTypes(BlockOp block, const Twine &what,
                                 TypeRange actual, TypeRange expected) {
  if (actual.size() != expected.size())
    return block.emitOpError() << what << ": " << expected.size() << " needed, "
                               << actual.size() << " there";
  for (size_t i = 0; i < actual.size(); ++i)
    if (actual[i] != expected[i])
      return block.emitOpError()
             << what << ": number " << i << " must have type " << expected[i]
             << ", has " << actual[i];
  return success();
}

LogicalResult BlockOp::verifyRegions() {
  auto check = [&](Region &region, StringRef name) -> LogicalResult {
    if (!region.empty() && !getYieldOf(region))
      return emitOpError(name) << " must end in a moe.yield";
    return success();
  };
  if (failed(check(getForward(), "forward")) ||
      failed(check(getBackward(), "backward")) ||
      failed(check(getWeightGrad(), "weight_grad")))
    return failure();
  if (getForward().empty() && !getBackward().empty())
    return emitOpError("has a backward program without a forward one");
  if (getBackward().empty() && !getWeightGrad().empty())
    return emitOpError("has a weight_grad program without a backward one");
  if (getForward().empty())
    return success();

  // What forward takes and yields.
  YieldOp forward = getYieldOf(getForward());
  auto inputs = llvm::to_vector(getInputs().getAsValueRange<StringAttr>());
  auto outputs = llvm::to_vector(getOutputs().getAsValueRange<StringAttr>());
  if (getForward().getNumArguments() != inputs.size())
    return emitOpError("forward takes ")
           << getForward().getNumArguments() << " values, but the block has "
           << inputs.size() << " inputs";
  if (forward.getResults().size() != outputs.size())
    return emitOpError("forward yields ")
           << forward.getResults().size() << " values, but the block has "
           << outputs.size() << " outputs";
  SmallVector<Type> hiddenInputs, expected;
  for (auto [argument, role] :
       llvm::zip_equal(getForward().getArguments(), inputs)) {
    if (failed(verifyRole(*this, "input", role, argument.getType())))
      return failure();
    if (role == "hidden")
      hiddenInputs.push_back(argument.getType());
  }
  for (auto [result, role] : llvm::zip_equal(forward.getResults(), outputs)) {
    if (failed(verifyRole(*this, "output", role, result.getType())))
      return failure();
    if (role == "hidden")
      expected.push_back(result.getType());
  }

  // Backward, if it is there.
  if (getBackward().empty()) {
    if (!forward.getSaved().empty())
      return emitOpError("forward saves ")
             << forward.getSaved().size()
             << " values, but there is no backward program to take them";
    return success();
  }
  YieldOp backward = getYieldOf(getBackward());
  if (getDetached())
    hiddenInputs.clear();
  llvm::append_range(expected, forward.getSaved().getTypes());
  if (failed(verifyTypes(*this,
                         "arguments of backward (gradients of hidden outputs, "
                         "then what forward saves)",
                         getBackward().getArgumentTypes(), expected)) ||
      failed(verifyTypes(*this,
                         "results of backward (gradients of hidden inputs)",
                         backward.getResults().getTypes(), hiddenInputs)))
    return failure();

  // The weight gradient, if it is there.
  if (getWeightGrad().empty()) {
    if (!backward.getSaved().empty())
      return emitOpError("backward saves ")
             << backward.getSaved().size()
             << " values, but there is no weight_grad program to take them";
    return success();
  }
  YieldOp weightGrad = getYieldOf(getWeightGrad());
  if (!weightGrad.getResults().empty() || !weightGrad.getSaved().empty())
    return emitOpError("weight_grad must yield nothing");
  return verifyTypes(*this, "arguments of weight_grad (what backward saves)",
                     getWeightGrad().getArgumentTypes(),
                     backward.getSaved().getTypes());
}

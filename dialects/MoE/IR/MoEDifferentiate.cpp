//===- MoEDifferentiate.cpp - gradient ops of forward ops -----------------===//
//
// Which operands and results of a forward op appear here decides what training
// has to keep: each gradient names what its formula needs and nothing else.
//
//===----------------------------------------------------------------------===//

#include "dialects/MoE/IR/MoE.h"

using namespace mlir;
using namespace moe;

/// The location of a gradient op: the forward op's name and a suffix.
static Location gradientLoc(Operation *forward, StringRef suffix) {
  return nameLoc(forward->getContext(),
                 Twine(getOpName(forward)) + "." + suffix);
}

static Location inputGradLoc(Operation *forward) {
  return gradientLoc(forward, "input_grad");
}

static Location weightGradLoc(Operation *forward) {
  return gradientLoc(forward, "weight_grad");
}

//===----------------------------------------------------------------------===//
// Embedding, norm, linear
//===----------------------------------------------------------------------===//

LogicalResult EmbeddingOp::buildInputGradients(OpBuilder &, ValueRange,
                                               MutableArrayRef<Value>) {
  return success();
}

LogicalResult EmbeddingOp::buildWeightGradients(OpBuilder &builder,
                                                ValueRange resultGradients) {
  if (Value dOut = resultGradients[0])
    EmbeddingWeightGradOp::create(builder, weightGradLoc(*this), dOut,
                                  getTokens(), getTableAttr());
  return success();
}

LogicalResult
RmsNormOp::buildInputGradients(OpBuilder &builder, ValueRange resultGradients,
                               MutableArrayRef<Value> operandGradients) {
  if (Value dOut = resultGradients[0])
    operandGradients[0] = RmsNormInputGradOp::create(
        builder, inputGradLoc(*this), dOut, getX(), getInverse(),
        getWeightAttr(), getGroupsAttr());
  return success();
}

LogicalResult RmsNormOp::buildWeightGradients(OpBuilder &builder,
                                              ValueRange resultGradients) {
  if (Value dOut = resultGradients[0])
    RmsNormWeightGradOp::create(builder, weightGradLoc(*this), dOut, getX(),
                                getInverse(), getWeightAttr(), getGroupsAttr());
  return success();
}

LogicalResult
LinearOp::buildInputGradients(OpBuilder &builder, ValueRange resultGradients,
                              MutableArrayRef<Value> operandGradients) {
  if (Value dOut = resultGradients[0])
    operandGradients[0] = LinearInputGradOp::create(
        builder, inputGradLoc(*this), getX().getType(), dOut, getWeightAttr());
  return success();
}

LogicalResult LinearOp::buildWeightGradients(OpBuilder &builder,
                                             ValueRange resultGradients) {
  if (Value dOut = resultGradients[0])
    LinearWeightGradOp::create(builder, weightGradLoc(*this), dOut, getX(),
                               getWeightAttr(), getBiasAttr());
  return success();
}

LogicalResult
AddOp::buildInputGradients(OpBuilder &, ValueRange resultGradients,
                           MutableArrayRef<Value> operandGradients) {
  operandGradients[0] = operandGradients[1] = resultGradients[0];
  return success();
}

//===----------------------------------------------------------------------===//
// Attention
//===----------------------------------------------------------------------===//

LogicalResult
RopeOp::buildInputGradients(OpBuilder &builder, ValueRange resultGradients,
                            MutableArrayRef<Value> operandGradients) {
  if (Value dOut = resultGradients[0])
    operandGradients[0] = RopeInputGradOp::create(
        builder, inputGradLoc(*this), dOut.getType(), dOut, getHeadsAttr(),
        getSequenceLengthAttr(), getRotaryAttr());
  return success();
}

LogicalResult
MlaKeyOp::buildInputGradients(OpBuilder &builder, ValueRange resultGradients,
                              MutableArrayRef<Value> operandGradients) {
  if (Value dKey = resultGradients[0]) {
    auto gradient = MlaKeyInputGradOp::create(
        builder, inputGradLoc(*this), dKey, getHeadsAttr(),
        getSequenceLengthAttr(), getRotaryAttr());
    operandGradients[0] = gradient.getDNope();
    operandGradients[1] = gradient.getDPe();
  }
  return success();
}

LogicalResult
AttentionOp::buildInputGradients(OpBuilder &builder, ValueRange resultGradients,
                                 MutableArrayRef<Value> operandGradients) {
  if (Value dOut = resultGradients[0]) {
    auto gradient = AttentionInputGradOp::create(
        builder, inputGradLoc(*this), dOut, getQ(), getK(), getV(), getOut(),
        getLogSumExp(), getSequenceLengthAttr(), getHeadsAttr(),
        getKvHeadsAttr(), getQkDimAttr(), getVDimAttr(), getSoftmaxScaleAttr(),
        getWindowAttr());
    operandGradients[0] = gradient.getDQ();
    operandGradients[1] = gradient.getDK();
    operandGradients[2] = gradient.getDV();
  }
  return success();
}

LogicalResult AttentionOp::buildWeightGradients(OpBuilder &builder,
                                                ValueRange resultGradients) {
  Value dOut = resultGradients[0];
  if (dOut && getSinksAttr())
    AttentionSinkGradOp::create(builder, weightGradLoc(*this), dOut, getOut(),
                                getLogSumExp(), getSinksAttr(),
                                getSequenceLengthAttr(), getHeadsAttr(),
                                getKvHeadsAttr(), getQkDimAttr(), getVDimAttr(),
                                getSoftmaxScaleAttr(), getWindowAttr());
  return success();
}

//===----------------------------------------------------------------------===//
// Routing and exchange
//===----------------------------------------------------------------------===//

LogicalResult
RouteOp::buildInputGradients(OpBuilder &builder, ValueRange resultGradients,
                             MutableArrayRef<Value> operandGradients) {
  if (Value dProbabilities = resultGradients[0])
    operandGradients[0] = RouteInputGradOp::create(
        builder, inputGradLoc(*this), getLogits().getType(), dProbabilities,
        getProbabilities(), getExperts(), getScores(), getRoutingAttr());
  return success();
}

LogicalResult
DispatchOp::buildInputGradients(OpBuilder &builder, ValueRange resultGradients,
                                MutableArrayRef<Value> operandGradients) {
  Value dRows = resultGradients[0], dRowProbabilities = resultGradients[1];
  if (!dRows && !dRowProbabilities)
    return success();
  if (!dRows || !dRowProbabilities)
    return emitOpError("has a gradient for only one of rows and "
                       "row_probabilities; both must be used behind it");
  auto gradient = DispatchInputGradOp::create(
      builder, inputGradLoc(*this), dRows, dRowProbabilities, getHandle(),
      getTopKAttr(), getExpertsAttr(), getRanksAttr(), getCapacityAttr(),
      getGroupsAttr(), getTopGroupsAttr());
  operandGradients[0] = gradient.getDX();
  operandGradients[1] = gradient.getDProbabilities();
  return success();
}

LogicalResult
CombineOp::buildInputGradients(OpBuilder &builder, ValueRange resultGradients,
                               MutableArrayRef<Value> operandGradients) {
  if (Value dOut = resultGradients[0])
    operandGradients[0] = CombineInputGradOp::create(
        builder, inputGradLoc(*this), dOut, getHandle(), getTopKAttr(),
        getExpertsAttr(), getRanksAttr(), getCapacityAttr(), getGroupsAttr(),
        getTopGroupsAttr());
  return success();
}

//===----------------------------------------------------------------------===//
// Feed-forward networks and loss
//===----------------------------------------------------------------------===//

LogicalResult
GroupedLinearOp::buildInputGradients(OpBuilder &builder,
                                     ValueRange resultGradients,
                                     MutableArrayRef<Value> operandGradients) {
  Value dOut = resultGradients[0];
  if (!dOut)
    return success();
  operandGradients[0] = GroupedLinearInputGradOp::create(
      builder, inputGradLoc(*this), getX().getType(), dOut, getCounts(),
      getWeightAttr());
  if (getBiasScale())
    operandGradients[2] = GroupedLinearBiasScaleGradOp::create(
        builder, gradientLoc(*this, "bias_scale_grad"), dOut, getCounts(),
        getBiasAttr());
  return success();
}

LogicalResult
GroupedLinearOp::buildWeightGradients(OpBuilder &builder,
                                      ValueRange resultGradients) {
  if (Value dOut = resultGradients[0])
    GroupedLinearWeightGradOp::create(builder, weightGradLoc(*this), dOut,
                                      getX(), getCounts(), getBiasScale(),
                                      getWeightAttr(), getBiasAttr());
  return success();
}

LogicalResult
SwigluOp::buildInputGradients(OpBuilder &builder, ValueRange resultGradients,
                              MutableArrayRef<Value> operandGradients) {
  Value dOut = resultGradients[0];
  if (!dOut)
    return success();
  auto gradient = SwigluInputGradOp::create(builder, inputGradLoc(*this), dOut,
                                            getX(), getRowScale(), getCounts(),
                                            getActivationAttr());
  operandGradients[0] = gradient.getDX();
  if (getRowScale())
    operandGradients[1] = gradient.getDRowScale();
  return success();
}

LogicalResult
CrossEntropyOp::buildInputGradients(OpBuilder &builder, ValueRange,
                                    MutableArrayRef<Value> operandGradients) {
  if (!getGradScaleAttr())
    return emitOpError("needs `grad_scale` to be differentiated");
  operandGradients[0] = CrossEntropyInputGradOp::create(
      builder, inputGradLoc(*this), getLogits(), getLabels(), getLogSumExp(),
      getGradScaleAttr());
  return success();
}

bool CrossEntropyOp::isSeed() { return true; }

std::optional<unsigned> CrossEntropyInputGradOp::getOverwritableOperand() {
  return getLogitsMutable().getOperandNumber();
}

std::optional<unsigned> SwigluInputGradOp::getOverwritableOperand() {
  return getXMutable().getOperandNumber();
}

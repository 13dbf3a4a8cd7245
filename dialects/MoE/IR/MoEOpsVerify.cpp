//===- MoEOpsVerify.cpp - checks of ops whose types are not inferred ------===//

#include "dialects/MoE/IR/MoE.h"

using namespace mlir;
using namespace moe;

static RankedTensorType typeOf(Value value) {
  return cast<RankedTensorType>(value.getType());
}

static RankedTensorType tensor(ArrayRef<int64_t> shape, Type element) {
  return RankedTensorType::get(shape, element);
}

/// A value must have exactly this type; an absent one is fine.
static LogicalResult expect(Operation *op, StringRef name, Value value,
                            Type type) {
  if (!value || value.getType() == type)
    return success();
  return op->emitOpError() << "`" << name << "` must have type " << type
                           << ", has " << value.getType();
}

static LogicalResult divides(Operation *op, StringRef name, int64_t divisor,
                             StringRef ofName, int64_t of) {
  if (of % divisor == 0)
    return success();
  return op->emitOpError() << ofName << " = " << of
                           << " must be a multiple of `" << name
                           << "` = " << divisor;
}

/// One number of the sum type for each row.
static RankedTensorType rowScalars(RankedTensorType rows) {
  return RankedTensorType::get(rows.getShape().take_front(),
                               getSumType(rows.getElementType()),
                               rows.getEncoding());
}

/// `sums` must have the type S of `storage`, or the type of its sums.
static LogicalResult verifySums(Operation *op, StringRef name,
                                RankedTensorType sums, StringRef storageName,
                                RankedTensorType storage) {
  Type element = storage.getElementType();
  if (sums.getElementType() == element ||
      sums.getElementType() == getSumType(element))
    return success();
  return op->emitOpError() << "`" << name << "` cannot have elements of type "
                           << sums.getElementType() << " when those of `"
                           << storageName << "` have type " << element;
}

static LogicalResult verifySameRows(Operation *op, StringRef name,
                                    RankedTensorType type, StringRef ofName,
                                    RankedTensorType of) {
  if (type.getDimSize(0) == of.getDimSize(0) &&
      type.getEncoding() == of.getEncoding())
    return success();
  return op->emitOpError() << "`" << name << "` of type " << type
                           << " must have as many rows as `" << ofName
                           << "` of type " << of;
}

static LogicalResult verifySameElements(Operation *op, StringRef name,
                                        RankedTensorType type, StringRef ofName,
                                        RankedTensorType of) {
  if (type.getElementType() == of.getElementType())
    return success();
  return op->emitOpError() << "`" << name << "` of type " << type
                           << " must have elements of the same type as `"
                           << ofName << "` of type " << of;
}

//===----------------------------------------------------------------------===//
// Forward
//===----------------------------------------------------------------------===//

LogicalResult EmbeddingOp::verify() {
  return verifySameRows(*this, "out", typeOf(getOut()), "tokens",
                        typeOf(getTokens()));
}

LogicalResult LinearOp::verify() {
  if (failed(
          verifySameRows(*this, "out", typeOf(getOut()), "x", typeOf(getX()))))
    return failure();
  return verifySums(*this, "out", typeOf(getOut()), "x", typeOf(getX()));
}

/// Rotated columns must lie inside a head.
template <typename Op>
static LogicalResult verifyRope(Op op, StringRef name, RankedTensorType rows) {
  int64_t heads = op.getHeads(), width = rows.getDimSize(1);
  if (failed(divides(op, "heads", heads, ("width of " + name).str(), width)) ||
      failed(divides(op, "sequence_length", op.getSequenceLength(),
                     ("rows of " + name).str(), rows.getDimSize(0))))
    return failure();
  int64_t end = op.getRotary().getBegin() + op.getRotary().getDim();
  if (end > width / heads)
    return op.emitOpError("`rotary` ends at column ")
           << end << " of heads with " << width / heads << " columns";
  return success();
}

LogicalResult RopeOp::verify() {
  return verifyRope(*this, "x", typeOf(getX()));
}

LogicalResult RopeInputGradOp::verify() {
  return verifyRope(*this, "d_out", typeOf(getDOut()));
}

LogicalResult GroupedLinearOp::verify() {
  if (failed(verifySameRows(*this, "out", typeOf(getOut()), "x",
                            typeOf(getX()))) ||
      failed(verifySameElements(*this, "out", typeOf(getOut()), "x",
                                typeOf(getX()))))
    return failure();
  if (getBiasScale() && !getBiasAttr())
    return emitOpError("has a scale for a bias that is absent");
  return expect(*this, "bias_scale", getBiasScale(),
                rowScalars(typeOf(getX())));
}

//===----------------------------------------------------------------------===//
// Gradients of inputs
//===----------------------------------------------------------------------===//

LogicalResult LinearInputGradOp::verify() {
  if (failed(verifySameRows(*this, "d_x", typeOf(getDX()), "d_out",
                            typeOf(getDOut()))))
    return failure();
  return verifySums(*this, "d_out", typeOf(getDOut()), "d_x", typeOf(getDX()));
}

LogicalResult GroupedLinearInputGradOp::verify() {
  if (failed(verifySameRows(*this, "d_x", typeOf(getDX()), "d_out",
                            typeOf(getDOut()))))
    return failure();
  return verifySameElements(*this, "d_x", typeOf(getDX()), "d_out",
                            typeOf(getDOut()));
}

LogicalResult RouteInputGradOp::verify() {
  RankedTensorType logits = typeOf(getDLogits());
  int64_t tokens = logits.getDimSize(0);
  int64_t topK = getRouting().getTopK();
  RankedTensorType chosen = tensor({tokens, topK}, logits.getElementType());
  if (failed(expect(*this, "d_probabilities", getDProbabilities(), chosen)) ||
      failed(expect(*this, "probabilities", getProbabilities(), chosen)) ||
      failed(
          expect(*this, "experts", getExperts(),
                 tensor({tokens, topK}, IntegerType::get(getContext(), 32)))))
    return failure();
  bool sigmoid = getRouting().getScoring() == Scoring::sigmoid;
  bool needed = sigmoid || !getRouting().getNormalize();
  if (needed != static_cast<bool>(getScores()))
    return emitOpError(needed ? "needs `scores` with this routing"
                              : "has no use for `scores` with this routing");
  return expect(*this, "scores", getScores(), sigmoid ? chosen : logits);
}

//===----------------------------------------------------------------------===//
// Gradients of parameters
//===----------------------------------------------------------------------===//

LogicalResult EmbeddingWeightGradOp::verify() {
  return verifySameRows(*this, "d_out", typeOf(getDOut()), "tokens",
                        typeOf(getTokens()));
}

LogicalResult RmsNormWeightGradOp::verify() {
  RankedTensorType x = typeOf(getX());
  if (failed(divides(*this, "groups", getGroups(), "width of x",
                     x.getDimSize(1))) ||
      failed(expect(*this, "d_out", getDOut(), x)))
    return failure();
  return expect(
      *this, "inverse", getInverse(),
      tensor({x.getDimSize(0), getGroups()}, getSumType(x.getElementType())));
}

LogicalResult LinearWeightGradOp::verify() {
  if (failed(verifySameRows(*this, "d_out", typeOf(getDOut()), "x",
                            typeOf(getX()))))
    return failure();
  return verifySums(*this, "d_out", typeOf(getDOut()), "x", typeOf(getX()));
}

LogicalResult GroupedLinearWeightGradOp::verify() {
  if (failed(verifySameRows(*this, "d_out", typeOf(getDOut()), "x",
                            typeOf(getX()))) ||
      failed(verifySameElements(*this, "d_out", typeOf(getDOut()), "x",
                                typeOf(getX()))))
    return failure();
  if (getBiasScale() && !getBiasAttr())
    return emitOpError("has a scale for a bias that is absent");
  return expect(*this, "bias_scale", getBiasScale(),
                rowScalars(typeOf(getX())));
}

LogicalResult AttentionSinkGradOp::verify() {
  RankedTensorType out = typeOf(getOut());
  int64_t tokens = out.getDimSize(0);
  if (failed(divides(*this, "kv_heads", getKvHeads(), "heads", getHeads())) ||
      failed(divides(*this, "sequence_length", getSequenceLength(),
                     "rows of out", tokens)) ||
      failed(expect(
          *this, "out", getOut(),
          tensor({tokens, getHeads() * getVDim()}, out.getElementType()))) ||
      failed(expect(*this, "d_out", getDOut(), out)))
    return failure();
  return expect(*this, "log_sum_exp", getLogSumExp(),
                tensor({getHeads(), tokens}, getSumType(out.getElementType())));
}

//===- MoECosts.cpp - what ops cost ---------------------------------------===//
//
// Counts of arithmetic follow the definitions of the ops; a multiplication and
// an addition are two. Memory traffic is that of operands, results and
// parameters, each read or written once.
//
//===----------------------------------------------------------------------===//

#include "dialects/MoE/IR/MoE.h"

using namespace mlir;
using namespace moe;

static RankedTensorType typeOf(Value value) {
  return cast<RankedTensorType>(value.getType());
}

/// Rows at balance.
static int64_t rows(Value value) {
  RankedTensorType type = typeOf(value);
  RowsAttr encoding = getRows(type);
  return encoding ? encoding.getBalanced() : type.getDimSize(0);
}

static int64_t columns(Value value) { return typeOf(value).getDimSize(1); }

static int64_t elements(Value value) {
  RankedTensorType type = typeOf(value);
  return getBalancedByteSize(type) / (type.getElementTypeBitWidth() / 8);
}

/// Bytes of all operands and results.
static int64_t valueBytes(Operation *op) {
  int64_t bytes = 0;
  for (Type type : op->getOperandTypes())
    bytes += getBalancedByteSize(type);
  for (Type type : op->getResultTypes())
    bytes += getBalancedByteSize(type);
  return bytes;
}

/// Bytes of the parameters that an op reads whole, in their own type.
static int64_t parameterBytes(Operation *op) {
  int64_t bytes = 0;
  for (const ParameterUse &use : cast<KernelOpInterface>(op).getParameters())
    if (use.symbol && use.elementType)
      bytes += ShapedType::getNumElements(use.shape) *
               (use.elementType.getIntOrFloatBitWidth() / 8);
  return bytes;
}

/// Bytes of the gradients that an op adds to: read and written, in the type of
/// sums.
static int64_t gradientBytes(Operation *op) {
  int64_t bytes = 0;
  for (const ParameterUse &use : cast<KernelOpInterface>(op).getParameters())
    if (use.symbol)
      bytes += 2 * ShapedType::getNumElements(use.shape) *
               (getSumType(use.elementType).getIntOrFloatBitWidth() / 8);
  return bytes;
}

static OpCost elementwise(Operation *op, double flops) {
  return {flops, valueBytes(op) + parameterBytes(op), 0, "elementwise"};
}

//===----------------------------------------------------------------------===//
// Elementwise ops and reductions over rows
//===----------------------------------------------------------------------===//

OpCost EmbeddingOp::getCost() {
  // As many table rows are read as result rows are written.
  int64_t bytes =
      getByteSize(getTokens().getType()) + 2 * getByteSize(getOut().getType());
  return {0, bytes, 0, "elementwise"};
}

OpCost EmbeddingWeightGradOp::getCost() {
  int64_t gradient =
      getSumType(typeOf(getDOut()).getElementType()).getIntOrFloatBitWidth() /
      8;
  return {double(elements(getDOut())),
          valueBytes(*this) + 2 * elements(getDOut()) * gradient, 0,
          "elementwise"};
}

OpCost RmsNormOp::getCost() {
  return elementwise(*this, 4.0 * elements(getX()));
}

OpCost RmsNormInputGradOp::getCost() {
  return elementwise(*this, 8.0 * elements(getX()));
}

OpCost RmsNormWeightGradOp::getCost() {
  return {3.0 * elements(getX()), valueBytes(*this) + gradientBytes(*this), 0,
          "elementwise"};
}

/// Two multiplications and one addition for each rotated column.
static double rotationFlops(int64_t rows, int64_t heads, RotaryAttr rotary) {
  return 3.0 * rows * heads * rotary.getDim();
}

OpCost RopeOp::getCost() {
  return elementwise(*this,
                     rotationFlops(rows(getX()), getHeads(), getRotary()));
}

OpCost RopeInputGradOp::getCost() {
  return elementwise(*this,
                     rotationFlops(rows(getDOut()), getHeads(), getRotary()));
}

OpCost MlaKeyOp::getCost() {
  return elementwise(*this, rotationFlops(rows(getPe()), 1, getRotary()));
}

OpCost MlaKeyInputGradOp::getCost() {
  // Heads are added up, then the sum is rotated.
  double sums = double(rows(getDKey())) * getHeads() * columns(getDPe());
  return elementwise(*this,
                     sums + rotationFlops(rows(getDKey()), 1, getRotary()));
}

OpCost AddOp::getCost() { return elementwise(*this, elements(getOut())); }

OpCost RouteOp::getCost() {
  // A score for each logit, and a comparison with each for every choice.
  return elementwise(*this, double(elements(getLogits())) *
                                (4 + getRouting().getTopK()));
}

OpCost RouteInputGradOp::getCost() {
  return elementwise(*this, 4.0 * elements(getDLogits()));
}

OpCost SwigluOp::getCost() {
  return elementwise(*this, 8.0 * elements(getOut()));
}

OpCost SwigluInputGradOp::getCost() {
  return elementwise(*this, 16.0 * elements(getDOut()));
}

OpCost CrossEntropyOp::getCost() {
  return elementwise(*this, 4.0 * elements(getLogits()));
}

OpCost CrossEntropyInputGradOp::getCost() {
  return elementwise(*this, 4.0 * elements(getLogits()));
}

OpCost GroupedLinearBiasScaleGradOp::getCost() {
  return elementwise(*this, 2.0 * elements(getDOut()));
}

OpCost AttentionSinkGradOp::getCost() {
  return {2.0 * elements(getOut()), valueBytes(*this) + gradientBytes(*this), 0,
          "elementwise"};
}

//===----------------------------------------------------------------------===//
// Matrix multiplications
//===----------------------------------------------------------------------===//

/// Multiplies a matrix of `rows` x `inner` by one of `inner` x `columns`.
static double gemmFlops(int64_t rows, int64_t inner, int64_t columns) {
  return 2.0 * rows * inner * columns;
}

OpCost LinearOp::getCost() {
  return {gemmFlops(rows(getX()), columns(getX()), columns(getOut())),
          valueBytes(*this) + parameterBytes(*this), 0, "gemm"};
}

OpCost LinearInputGradOp::getCost() {
  return {gemmFlops(rows(getDX()), columns(getDOut()), columns(getDX())),
          valueBytes(*this) + parameterBytes(*this), 0, "gemm"};
}

OpCost LinearWeightGradOp::getCost() {
  return {gemmFlops(columns(getDOut()), rows(getX()), columns(getX())),
          valueBytes(*this) + gradientBytes(*this), 0, "gemm"};
}

OpCost GroupedLinearOp::getCost() {
  return {gemmFlops(rows(getX()), columns(getX()), columns(getOut())),
          valueBytes(*this) + parameterBytes(*this), 0, "grouped_gemm",
          elements(getCounts())};
}

OpCost GroupedLinearInputGradOp::getCost() {
  return {gemmFlops(rows(getDX()), columns(getDOut()), columns(getDX())),
          valueBytes(*this) + parameterBytes(*this), 0, "grouped_gemm",
          elements(getCounts())};
}

OpCost GroupedLinearWeightGradOp::getCost() {
  return {gemmFlops(columns(getDOut()), rows(getX()), columns(getX())),
          valueBytes(*this) + gradientBytes(*this), 0, "grouped_gemm",
          elements(getCounts())};
}

//===----------------------------------------------------------------------===//
// Attention
//===----------------------------------------------------------------------===//

/// Pairs of a query and a key that it sees, over all heads and sequences. In a
/// sequence of s rows, row i sees min(i + 1, w) keys.
template <typename Op> static double visiblePairs(Op op, int64_t tokens) {
  double s = op.getSequenceLength();
  double w = op.getWindow() > 0 ? std::min<double>(op.getWindow(), s) : s;
  double pairs = w * s - w * (w - 1) / 2;
  double sequences = static_cast<double>(tokens) / s;
  return pairs * op.getHeads() * sequences;
}

/// Heads times sequences, each of which is worked on alone.
template <typename Op> static int64_t instances(Op op, int64_t tokens) {
  int64_t sequences = tokens / static_cast<int64_t>(op.getSequenceLength());
  return std::max<int64_t>(static_cast<int64_t>(op.getHeads()) * sequences, 1);
}

OpCost AttentionOp::getCost() {
  // Scores over qk_dim columns, then values over v_dim.
  double flops =
      visiblePairs(*this, rows(getQ())) * 2.0 * (getQkDim() + getVDim());
  return {flops, valueBytes(*this) + parameterBytes(*this), 0, "attention",
          instances(*this, rows(getQ()))};
}

OpCost AttentionInputGradOp::getCost() {
  // Scores again, d_q and d_k over qk_dim columns; d_v and the gradient of the
  // softmax over v_dim.
  double flops = visiblePairs(*this, rows(getQ())) * 2.0 *
                 (3 * getQkDim() + 2 * getVDim());
  return {flops, valueBytes(*this) + 2 * getScratch().bytes, 0, "attention",
          instances(*this, rows(getQ()))};
}

//===----------------------------------------------------------------------===//
// Exchanges
//===----------------------------------------------------------------------===//

/// Each part of the scratch starts at a multiple of this.
static int64_t align(int64_t bytes) { return (bytes + 255) / 256 * 256; }

static int64_t bytesOf(Type element) {
  return element.getIntOrFloatBitWidth() / 8;
}

/// Staging of an exchange: a row of `width` elements for each of the
/// assignments, and one sum for each when `scalars`.
static Scratch staging(int64_t assignments, int64_t width, Type element,
                       bool scalars) {
  int64_t bytes = align(assignments * width * bytesOf(element));
  if (scalars)
    bytes += align(assignments * bytesOf(getSumType(element)));
  return {bytes, "expert_communication"};
}

/// Cost of moving rows of `tokens` tokens to their experts, or back: a row for
/// each choice is read, staged, sent and written. Of balanced choices, all but
/// one rank's share leave the rank; `exchange` says what else is known of them.
template <typename Op>
static OpCost exchange(Op op, int64_t tokens, int64_t rowBytes, double flops) {
  int64_t ranks = op.getRanks(), topK = op.getTopK();
  int64_t payload = tokens * topK * rowBytes;
  OpCost cost = {flops, valueBytes(op) + 2 * payload,
                 payload * (ranks - 1) / ranks, "exchange"};
  cost.exchange = {tokens,
                   rowBytes,
                   topK,
                   static_cast<int64_t>(op.getExperts()),
                   static_cast<int64_t>(op.getGroups()),
                   static_cast<int64_t>(op.getTopGroups())};
  return cost;
}

Scratch DispatchOp::getScratch() {
  return staging(rows(getX()) * getTopK(), columns(getX()),
                 typeOf(getX()).getElementType(), /*scalars=*/true);
}

OpCost DispatchOp::getCost() {
  Type element = typeOf(getX()).getElementType();
  return exchange(
      *this, rows(getX()),
      columns(getX()) * bytesOf(element) + bytesOf(getSumType(element)), 0);
}

Scratch DispatchInputGradOp::getScratch() {
  return staging(rows(getDX()) * getTopK(), columns(getDX()),
                 typeOf(getDX()).getElementType(), /*scalars=*/true);
}

OpCost DispatchInputGradOp::getCost() {
  Type element = typeOf(getDX()).getElementType();
  return exchange(*this, rows(getDX()),
                  columns(getDX()) * bytesOf(element) +
                      bytesOf(getSumType(element)),
                  double(rows(getDX())) * getTopK() * columns(getDX()));
}

Scratch CombineOp::getScratch() {
  return staging(rows(getOut()) * getTopK(), columns(getOut()),
                 typeOf(getOut()).getElementType(), /*scalars=*/false);
}

OpCost CombineOp::getCost() {
  return exchange(*this, rows(getOut()),
                  columns(getOut()) *
                      bytesOf(typeOf(getOut()).getElementType()),
                  double(rows(getOut())) * getTopK() * columns(getOut()));
}

Scratch CombineInputGradOp::getScratch() {
  return staging(rows(getDOut()) * getTopK(), columns(getDOut()),
                 typeOf(getDOut()).getElementType(), /*scalars=*/false);
}

OpCost CombineInputGradOp::getCost() {
  return exchange(
      *this, rows(getDOut()),
      columns(getDOut()) * bytesOf(typeOf(getDOut()).getElementType()), 0);
}

Scratch AttentionInputGradOp::getScratch() {
  return {align(getByteSize(getLogSumExp().getType())), "workspace"};
}

//===----------------------------------------------------------------------===//
// Streams and replay
//===----------------------------------------------------------------------===//

StreamKind DispatchOp::getStreamKind() {
  return StreamKind::expert_communication;
}
StreamKind DispatchInputGradOp::getStreamKind() {
  return StreamKind::expert_communication;
}
StreamKind CombineOp::getStreamKind() {
  return StreamKind::expert_communication;
}
StreamKind CombineInputGradOp::getStreamKind() {
  return StreamKind::expert_communication;
}

bool DispatchOp::hasCollective() { return true; }
bool DispatchInputGradOp::hasCollective() { return true; }
bool CombineOp::hasCollective() { return true; }
bool CombineInputGradOp::hasCollective() { return true; }

bool RouteOp::isReplayable() { return false; }

// A second run would add the same gradient again.
bool EmbeddingWeightGradOp::isReplayable() { return false; }
bool RmsNormWeightGradOp::isReplayable() { return false; }
bool LinearWeightGradOp::isReplayable() { return false; }
bool GroupedLinearWeightGradOp::isReplayable() { return false; }
bool AttentionSinkGradOp::isReplayable() { return false; }

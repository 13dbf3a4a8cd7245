//===- MoEInferTypes.cpp - result types that follow from operands ---------===//
//
// Inference also checks the operands against each other: the verifier compares
// the result with the op's result types, so that every shape is checked once.
//
//===----------------------------------------------------------------------===//

#include "dialects/MoE/IR/MoE.h"

using namespace mlir;
using namespace moe;

namespace {

/// Reports errors of one op at the given location, if any.
struct Inference {
  std::optional<Location> location;
  StringRef op;

  LogicalResult fail(const Twine &message) const {
    return emitOptionalError(location, "'", op, "' op ", message);
  }
  LogicalResult require(bool holds, const Twine &message) const {
    return holds ? success() : fail(message);
  }
  /// An operand must have exactly this type; an absent one is fine.
  LogicalResult expect(StringRef name, Value value, Type type) const {
    if (!value || value.getType() == type)
      return success();
    return emitOptionalError(location, "'", op, "' op `", name,
                             "` must have type ", type, ", has ",
                             value.getType());
  }
  LogicalResult divides(StringRef name, int64_t divisor, StringRef ofName,
                        int64_t of) const {
    return require(divisor > 0 && of % divisor == 0,
                   ofName + " = " + Twine(of) + " must be a multiple of `" +
                       name + "` = " + Twine(divisor));
  }
};

} // namespace

/// The type of a tensor of the given rank, else null; ODS reports the others.
static RankedTensorType tensorOf(Value value, int64_t rank) {
  auto type = dyn_cast<RankedTensorType>(value.getType());
  return type && type.getRank() == rank ? type : RankedTensorType();
}

static RankedTensorType tensor(ArrayRef<int64_t> shape, Type element) {
  return RankedTensorType::get(shape, element);
}

/// One number of the sum type for each row of `type`.
static RankedTensorType rowScalars(RankedTensorType type) {
  return RankedTensorType::get(type.getShape().take_front(),
                               getSumType(type.getElementType()),
                               type.getEncoding());
}

static Type indexType(MLIRContext *context) {
  return IntegerType::get(context, 32);
}

//===----------------------------------------------------------------------===//
// Norm
//===----------------------------------------------------------------------===//

LogicalResult RmsNormOp::inferReturnTypes(MLIRContext *,
                                          std::optional<Location> location,
                                          Adaptor adaptor,
                                          SmallVectorImpl<Type> &results) {
  Inference infer{location, getOperationName()};
  auto x = tensorOf(adaptor.getX(), 2);
  if (!x || failed(infer.divides("groups", adaptor.getGroups(), "width of x",
                                 x.getDimSize(1))))
    return failure();
  results.assign({x, tensor({x.getDimSize(0), adaptor.getGroups()},
                            getSumType(x.getElementType()))});
  return success();
}

LogicalResult RmsNormInputGradOp::inferReturnTypes(
    MLIRContext *, std::optional<Location> location, Adaptor adaptor,
    SmallVectorImpl<Type> &results) {
  Inference infer{location, getOperationName()};
  auto x = tensorOf(adaptor.getX(), 2);
  if (!x ||
      failed(infer.divides("groups", adaptor.getGroups(), "width of x",
                           x.getDimSize(1))) ||
      failed(infer.expect("d_out", adaptor.getDOut(), x)) ||
      failed(infer.expect("inverse", adaptor.getInverse(),
                          tensor({x.getDimSize(0), adaptor.getGroups()},
                                 getSumType(x.getElementType())))))
    return failure();
  results.assign({x});
  return success();
}

//===----------------------------------------------------------------------===//
// Attention
//===----------------------------------------------------------------------===//

LogicalResult MlaKeyOp::inferReturnTypes(MLIRContext *,
                                         std::optional<Location> location,
                                         Adaptor adaptor,
                                         SmallVectorImpl<Type> &results) {
  Inference infer{location, getOperationName()};
  auto nope = tensorOf(adaptor.getNope(), 2);
  auto pe = tensorOf(adaptor.getPe(), 2);
  if (!nope || !pe)
    return failure();
  int64_t tokens = nope.getDimSize(0), heads = adaptor.getHeads();
  RotaryAttr rotary = adaptor.getRotary();
  if (failed(
          infer.divides("heads", heads, "width of nope", nope.getDimSize(1))) ||
      failed(infer.divides("sequence_length", adaptor.getSequenceLength(),
                           "rows of nope", tokens)) ||
      failed(infer.require(rotary.getBegin() == 0,
                           "`rotary` must begin at column 0 of pe")) ||
      failed(infer.expect(
          "pe", adaptor.getPe(),
          tensor({tokens, rotary.getDim()}, nope.getElementType()))))
    return failure();
  results.assign(
      {tensor({tokens, nope.getDimSize(1) + heads * pe.getDimSize(1)},
              nope.getElementType())});
  return success();
}

LogicalResult MlaKeyInputGradOp::inferReturnTypes(
    MLIRContext *, std::optional<Location> location, Adaptor adaptor,
    SmallVectorImpl<Type> &results) {
  Inference infer{location, getOperationName()};
  auto key = tensorOf(adaptor.getDKey(), 2);
  if (!key)
    return failure();
  int64_t tokens = key.getDimSize(0), heads = adaptor.getHeads();
  RotaryAttr rotary = adaptor.getRotary();
  int64_t nope = key.getDimSize(1) - heads * rotary.getDim();
  if (failed(
          infer.divides("heads", heads, "width of d_key", key.getDimSize(1))) ||
      failed(infer.divides("sequence_length", adaptor.getSequenceLength(),
                           "rows of d_key", tokens)) ||
      failed(infer.require(rotary.getBegin() == 0,
                           "`rotary` must begin at column 0 of pe")) ||
      failed(infer.require(nope > 0, "`d_key` has no columns besides the " +
                                         Twine(rotary.getDim()) +
                                         " rotated ones of each head")))
    return failure();
  results.assign({tensor({tokens, nope}, key.getElementType()),
                  tensor({tokens, rotary.getDim()}, key.getElementType())});
  return success();
}

/// Checks queries, keys and values of attention and its gradient; fills in the
/// types of its results.
template <typename Adaptor>
static LogicalResult inferAttention(const Inference &infer, Adaptor adaptor,
                                    RankedTensorType &out,
                                    RankedTensorType &logSumExp) {
  auto q = tensorOf(adaptor.getQ(), 2);
  if (!q)
    return failure();
  int64_t tokens = q.getDimSize(0);
  int64_t heads = adaptor.getHeads(), kvHeads = adaptor.getKvHeads();
  Type element = q.getElementType();
  auto matrix = [&](int64_t columns) {
    return tensor({tokens, columns}, element);
  };
  if (failed(infer.divides("kv_heads", kvHeads, "heads", heads)) ||
      failed(infer.divides("sequence_length", adaptor.getSequenceLength(),
                           "rows of q", tokens)) ||
      failed(infer.expect("q", adaptor.getQ(),
                          matrix(heads * adaptor.getQkDim()))) ||
      failed(infer.expect("k", adaptor.getK(),
                          matrix(kvHeads * adaptor.getQkDim()))) ||
      failed(infer.expect("v", adaptor.getV(),
                          matrix(kvHeads * adaptor.getVDim()))))
    return failure();
  out = matrix(heads * adaptor.getVDim());
  logSumExp = tensor({heads, tokens}, getSumType(element));
  return success();
}

LogicalResult AttentionOp::inferReturnTypes(MLIRContext *,
                                            std::optional<Location> location,
                                            Adaptor adaptor,
                                            SmallVectorImpl<Type> &results) {
  RankedTensorType out, logSumExp;
  if (failed(inferAttention({location, getOperationName()}, adaptor, out,
                            logSumExp)))
    return failure();
  results.assign({out, logSumExp});
  return success();
}

LogicalResult AttentionInputGradOp::inferReturnTypes(
    MLIRContext *, std::optional<Location> location, Adaptor adaptor,
    SmallVectorImpl<Type> &results) {
  Inference infer{location, getOperationName()};
  RankedTensorType out, logSumExp;
  if (failed(inferAttention(infer, adaptor, out, logSumExp)) ||
      failed(infer.expect("d_out", adaptor.getDOut(), out)) ||
      failed(infer.expect("out", adaptor.getOut(), out)) ||
      failed(infer.expect("log_sum_exp", adaptor.getLogSumExp(), logSumExp)))
    return failure();
  results.assign({adaptor.getQ().getType(), adaptor.getK().getType(),
                  adaptor.getV().getType()});
  return success();
}

//===----------------------------------------------------------------------===//
// Routing and exchange
//===----------------------------------------------------------------------===//

LogicalResult RouteOp::inferReturnTypes(MLIRContext *context,
                                        std::optional<Location> location,
                                        Adaptor adaptor,
                                        SmallVectorImpl<Type> &results) {
  Inference infer{location, getOperationName()};
  auto logits = tensorOf(adaptor.getLogits(), 2);
  if (!logits)
    return failure();
  int64_t tokens = logits.getDimSize(0), experts = logits.getDimSize(1);
  RoutingAttr routing = adaptor.getRouting();
  int64_t topK = routing.getTopK();
  if (failed(infer.divides("groups", routing.getGroups(), "number of experts",
                           experts)))
    return failure();
  int64_t groupSize = experts / routing.getGroups();
  if (failed(infer.require(topK <= groupSize * routing.getTopGroups(),
                           "`top_k` = " + Twine(topK) + " exceeds the " +
                               Twine(groupSize * routing.getTopGroups()) +
                               " experts to choose from")) ||
      failed(infer.require(routing.getGroupScore() != GroupScore::top2_sum ||
                               groupSize >= 2,
                           "`group_score` top2_sum needs groups of two experts "
                           "or more")))
    return failure();
  results.assign({tensor({tokens, topK}, logits.getElementType()),
                  tensor({tokens, topK}, indexType(context))});
  if (routing.getScoring() == Scoring::sigmoid)
    results.push_back(results.front());
  else if (!routing.getNormalize())
    results.push_back(logits);
  return success();
}

/// Checks attributes that all four exchange ops share.
template <typename Adaptor>
static LogicalResult checkExchange(const Inference &infer, Adaptor adaptor) {
  return failure(
      failed(infer.divides("ranks", adaptor.getRanks(), "`experts`",
                           adaptor.getExperts())) ||
      failed(infer.divides("groups", adaptor.getGroups(), "`experts`",
                           adaptor.getExperts())) ||
      failed(infer.require(
          adaptor.getTopGroups() <= adaptor.getGroups(),
          "`top_groups` = " + Twine(adaptor.getTopGroups()) +
              " must not exceed `groups` = " + Twine(adaptor.getGroups()))) ||
      failed(infer.require(
          adaptor.getTopK() <= adaptor.getExperts() / adaptor.getGroups() *
                                   adaptor.getTopGroups() ||
              adaptor.getGroups() == 1,
          "`top_k` = " + Twine(adaptor.getTopK()) +
              " exceeds the experts of `top_groups` groups")) ||
      failed(infer.require(
          adaptor.getTopK() <= adaptor.getExperts(),
          "`top_k` = " + Twine(adaptor.getTopK()) +
              " must not exceed `experts` = " + Twine(adaptor.getExperts()))));
}

/// Checks the attributes against a handle.
template <typename Adaptor>
static LogicalResult checkHandle(const Inference &infer, Adaptor adaptor,
                                 HandleType handle) {
  return infer.expect("handle", adaptor.getHandle(),
                      HandleType::get(handle.getContext(), handle.getTokens(),
                                      adaptor.getTopK(), adaptor.getExperts()));
}

/// Encoding of the rows behind a dispatch of `tokens` tokens; null with an
/// error when they do not fit the capacity.
template <typename Adaptor>
static RowsAttr rowsOf(const Inference &infer, Adaptor adaptor,
                       MLIRContext *context, int64_t tokens) {
  int64_t balanced = tokens * adaptor.getTopK();
  if (failed(infer.require(balanced <= adaptor.getCapacity(),
                           "`capacity` = " + Twine(adaptor.getCapacity()) +
                               " must be at least the balanced number of rows, "
                               "tokens * top_k = " +
                               Twine(balanced))))
    return nullptr;
  return RowsAttr::get(context, balanced, adaptor.getCapacity());
}

LogicalResult DispatchOp::inferReturnTypes(MLIRContext *context,
                                           std::optional<Location> location,
                                           Adaptor adaptor,
                                           SmallVectorImpl<Type> &results) {
  Inference infer{location, getOperationName()};
  auto x = tensorOf(adaptor.getX(), 2);
  if (!x || failed(checkExchange(infer, adaptor)))
    return failure();
  int64_t tokens = x.getDimSize(0), topK = adaptor.getTopK();
  Type sum = getSumType(x.getElementType());
  if (failed(infer.expect("probabilities", adaptor.getProbabilities(),
                          tensor({tokens, topK}, sum))) ||
      failed(infer.expect("chosen", adaptor.getChosen(),
                          tensor({tokens, topK}, indexType(context)))))
    return failure();
  RowsAttr rows = rowsOf(infer, adaptor, context, tokens);
  if (!rows)
    return failure();
  results.assign(
      {getRowsType(rows, {x.getDimSize(1)}, x.getElementType()),
       getRowsType(rows, {}, sum),
       tensor({adaptor.getExperts() / adaptor.getRanks()}, indexType(context)),
       HandleType::get(context, tokens, topK, adaptor.getExperts())});
  return success();
}

LogicalResult DispatchInputGradOp::inferReturnTypes(
    MLIRContext *context, std::optional<Location> location, Adaptor adaptor,
    SmallVectorImpl<Type> &results) {
  Inference infer{location, getOperationName()};
  auto rows = tensorOf(adaptor.getDRows(), 2);
  auto handle = dyn_cast<HandleType>(adaptor.getHandle().getType());
  if (!rows || !handle || failed(checkExchange(infer, adaptor)) ||
      failed(checkHandle(infer, adaptor, handle)))
    return failure();
  RowsAttr encoding = rowsOf(infer, adaptor, context, handle.getTokens());
  if (!encoding)
    return failure();
  int64_t width = rows.getDimSize(1);
  Type element = rows.getElementType();
  if (failed(infer.expect("d_rows", adaptor.getDRows(),
                          getRowsType(encoding, {width}, element))) ||
      failed(infer.expect("d_row_probabilities", adaptor.getDRowProbabilities(),
                          getRowsType(encoding, {}, getSumType(element)))))
    return failure();
  results.assign(
      {tensor({handle.getTokens(), width}, element),
       tensor({handle.getTokens(), adaptor.getTopK()}, getSumType(element))});
  return success();
}

LogicalResult CombineOp::inferReturnTypes(MLIRContext *context,
                                          std::optional<Location> location,
                                          Adaptor adaptor,
                                          SmallVectorImpl<Type> &results) {
  Inference infer{location, getOperationName()};
  auto rows = tensorOf(adaptor.getRows(), 2);
  auto handle = dyn_cast<HandleType>(adaptor.getHandle().getType());
  if (!rows || !handle || failed(checkExchange(infer, adaptor)) ||
      failed(checkHandle(infer, adaptor, handle)))
    return failure();
  RowsAttr encoding = rowsOf(infer, adaptor, context, handle.getTokens());
  if (!encoding ||
      failed(infer.expect(
          "rows", adaptor.getRows(),
          getRowsType(encoding, {rows.getDimSize(1)}, rows.getElementType()))))
    return failure();
  results.assign({tensor({handle.getTokens(), rows.getDimSize(1)},
                         rows.getElementType())});
  return success();
}

LogicalResult CombineInputGradOp::inferReturnTypes(
    MLIRContext *context, std::optional<Location> location, Adaptor adaptor,
    SmallVectorImpl<Type> &results) {
  Inference infer{location, getOperationName()};
  auto out = tensorOf(adaptor.getDOut(), 2);
  auto handle = dyn_cast<HandleType>(adaptor.getHandle().getType());
  if (!out || !handle || failed(checkExchange(infer, adaptor)) ||
      failed(checkHandle(infer, adaptor, handle)))
    return failure();
  RowsAttr encoding = rowsOf(infer, adaptor, context, handle.getTokens());
  if (!encoding ||
      failed(infer.expect("d_out", adaptor.getDOut(),
                          tensor({handle.getTokens(), out.getDimSize(1)},
                                 out.getElementType()))))
    return failure();
  results.assign(
      {getRowsType(encoding, {out.getDimSize(1)}, out.getElementType())});
  return success();
}

//===----------------------------------------------------------------------===//
// Feed-forward networks and loss
//===----------------------------------------------------------------------===//

LogicalResult GroupedLinearBiasScaleGradOp::inferReturnTypes(
    MLIRContext *, std::optional<Location>, Adaptor adaptor,
    SmallVectorImpl<Type> &results) {
  auto out = tensorOf(adaptor.getDOut(), 2);
  if (!out)
    return failure();
  results.assign({rowScalars(out)});
  return success();
}

/// Checks the operands that swiglu and its gradient share; fills in the type of
/// the result.
template <typename Adaptor>
static LogicalResult inferSwiglu(const Inference &infer, Adaptor adaptor,
                                 RankedTensorType &out) {
  auto x = tensorOf(adaptor.getX(), 2);
  if (!x)
    return failure();
  if (failed(infer.require(x.getDimSize(1) % 2 == 0,
                           "width of x must be even, is " +
                               Twine(x.getDimSize(1)))) ||
      failed(infer.expect("row_scale", adaptor.getRowScale(), rowScalars(x))))
    return failure();
  if (failed(infer.require((adaptor.getCounts() != nullptr) ==
                               (getRows(x) != nullptr),
                           "needs `counts` exactly when x has #moe.rows")))
    return failure();
  out = RankedTensorType::get({x.getDimSize(0), x.getDimSize(1) / 2},
                              x.getElementType(), x.getEncoding());
  return success();
}

LogicalResult SwigluOp::inferReturnTypes(MLIRContext *,
                                         std::optional<Location> location,
                                         Adaptor adaptor,
                                         SmallVectorImpl<Type> &results) {
  RankedTensorType out;
  if (failed(inferSwiglu({location, getOperationName()}, adaptor, out)))
    return failure();
  results.assign({out});
  return success();
}

LogicalResult SwigluInputGradOp::inferReturnTypes(
    MLIRContext *, std::optional<Location> location, Adaptor adaptor,
    SmallVectorImpl<Type> &results) {
  Inference infer{location, getOperationName()};
  RankedTensorType out;
  if (failed(inferSwiglu(infer, adaptor, out)) ||
      failed(infer.expect("d_out", adaptor.getDOut(), out)))
    return failure();
  results.assign({adaptor.getX().getType()});
  if (adaptor.getRowScale())
    results.push_back(adaptor.getRowScale().getType());
  return success();
}

LogicalResult CrossEntropyOp::inferReturnTypes(MLIRContext *context,
                                               std::optional<Location> location,
                                               Adaptor adaptor,
                                               SmallVectorImpl<Type> &results) {
  Inference infer{location, getOperationName()};
  auto logits = tensorOf(adaptor.getLogits(), 2);
  if (!logits ||
      failed(infer.expect("labels", adaptor.getLabels(),
                          tensor({logits.getDimSize(0)}, indexType(context)))))
    return failure();
  Type sum = getSumType(logits.getElementType());
  results.assign({tensor({1}, sum), tensor({logits.getDimSize(0)}, sum)});
  return success();
}

LogicalResult CrossEntropyInputGradOp::inferReturnTypes(
    MLIRContext *context, std::optional<Location> location, Adaptor adaptor,
    SmallVectorImpl<Type> &results) {
  Inference infer{location, getOperationName()};
  auto logits = tensorOf(adaptor.getLogits(), 2);
  if (!logits)
    return failure();
  int64_t rows = logits.getDimSize(0);
  if (failed(infer.expect("labels", adaptor.getLabels(),
                          tensor({rows}, indexType(context)))) ||
      failed(infer.expect("log_sum_exp", adaptor.getLogSumExp(),
                          tensor({rows}, getSumType(logits.getElementType())))))
    return failure();
  results.assign({logits});
  return success();
}

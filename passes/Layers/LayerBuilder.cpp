//===- LayerBuilder.cpp - ops with per-rank shapes ------------------------===//

#include "passes/Layers/LayerBuilder.h"

#include <algorithm>
#include <cmath>

using namespace mlir;
using namespace moe;

LayerBuilder::LayerBuilder(const ExpansionFacts &facts, Operation *end)
    : facts(facts), modules(end), ops(end->getContext()) {}

void LayerBuilder::beginBlock(StringRef name, StringRef newPrefix,
                              BlockKind kind, ArrayRef<StringRef> inputs,
                              ArrayRef<StringRef> outputs) {
  prefix = newPrefix;
  block = BlockOp::create(modules, nameLoc(modules.getContext(), name), name,
                          kind, inputs, outputs);
  Block &body = block.getForward().emplaceBlock();
  for (StringRef role : inputs)
    body.addArgument(
        role == "hidden"
            ? matrix(facts.hidden)
            : RankedTensorType::get({facts.tokens}, modules.getI32Type()),
        block.getLoc());
  ops.setInsertionPointToEnd(&body);
}

Value LayerBuilder::input(StringRef role) {
  unsigned position = BlockOp::getPositions(block.getInputs(), role).front();
  return block.getForward().getArgument(position);
}

void LayerBuilder::endBlock(ValueRange results) {
  YieldOp::create(ops, block.getLoc(), results, ValueRange{});
}

Location LayerBuilder::loc(StringRef name) {
  return nameLoc(ops.getContext(),
                 prefix.empty() ? Twine(name) : prefix + Twine(".") + name);
}

RankedTensorType LayerBuilder::matrix(int64_t columns) {
  return RankedTensorType::get({facts.tokens, columns}, facts.storage);
}

RankedTensorType LayerBuilder::routed(RowsAttr rows, int64_t columns) {
  return RankedTensorType::get({ShapedType::kDynamic, columns}, facts.storage,
                               rows);
}

//===----------------------------------------------------------------------===//
// Parameters
//===----------------------------------------------------------------------===//

FlatSymbolRefAttr
LayerBuilder::parameter(StringRef name, ArrayRef<int64_t> shape,
                        InitializerKind kind, Replication replication,
                        bool trainable, FlatSymbolRefAttr tiedTo) {
  std::string full = prefix.empty() ? name.str() : prefix + "." + name.str();
  double deviation =
      kind == InitializerKind::normal ? facts.initializerRange : 0;
  // Parameters stand before the block that uses them. Weight decay pulls
  // matrices towards zero; norms and biases are left alone.
  OpBuilder before(block);
  ParameterOp::create(
      before, nameLoc(before.getContext(), full), full,
      RankedTensorType::get(shape, facts.storage), replication,
      InitializerAttr::get(before.getContext(), kind, deviation), trainable,
      /*decay=*/kind == InitializerKind::normal, tiedTo);
  return FlatSymbolRefAttr::get(before.getContext(), full);
}

FlatSymbolRefAttr LayerBuilder::weight(StringRef name, ArrayRef<int64_t> shape,
                                       Replication replication) {
  return parameter(name, shape, InitializerKind::normal, replication, true);
}

FlatSymbolRefAttr LayerBuilder::bias(StringRef name, ArrayRef<int64_t> shape,
                                     Replication replication) {
  return parameter(name, shape, InitializerKind::zeros, replication, true);
}

/// "attention.q_proj" -> "attention.q_bias"; "moe.router" -> "moe.router_bias".
static std::string biasName(StringRef name) {
  name.consume_back("_proj");
  return (name + "_bias").str();
}

//===----------------------------------------------------------------------===//
// Single ops
//===----------------------------------------------------------------------===//

FlatSymbolRefAttr LayerBuilder::table(FlatSymbolRefAttr original) {
  return parameter("table", {facts.vocabulary, facts.hidden},
                   InitializerKind::normal, Replication::dense, true, original);
}

Value LayerBuilder::embedding(Value tokens, FlatSymbolRefAttr table) {
  return EmbeddingOp::create(ops, loc("lookup"), matrix(facts.hidden), tokens,
                             table);
}

Value LayerBuilder::norm(StringRef name, Value x, int64_t groups) {
  int64_t columns = cast<RankedTensorType>(x.getType()).getDimSize(1);
  FlatSymbolRefAttr scale =
      parameter(name, {columns / groups}, InitializerKind::ones,
                Replication::dense, true);
  auto inverse = RankedTensorType::get({facts.tokens, groups}, facts.sums);
  return RmsNormOp::create(ops, loc(name), x.getType(), inverse, x, scale,
                           ops.getF64FloatAttr(facts.epsilon),
                           ops.getI64IntegerAttr(groups))
      .getOut();
}

Value LayerBuilder::linear(StringRef name, Value x, int64_t columns,
                           bool hasBias, bool sums) {
  int64_t depth = cast<RankedTensorType>(x.getType()).getDimSize(1);
  FlatSymbolRefAttr matrixRef = weight(name, {columns, depth});
  FlatSymbolRefAttr biasRef;
  if (hasBias)
    biasRef = bias(biasName(name), {columns});
  auto type = RankedTensorType::get({facts.tokens, columns},
                                    sums ? facts.sums : facts.storage);
  return LinearOp::create(ops, loc(name), type, x, matrixRef, biasRef);
}

Value LayerBuilder::linear(StringRef name, Value x, int64_t columns,
                           FlatSymbolRefAttr weight) {
  return LinearOp::create(ops, loc(name), matrix(columns), x, weight,
                          FlatSymbolRefAttr());
}

Value LayerBuilder::rope(StringRef name, Value x, int64_t heads,
                         RotaryAttr rotary) {
  return RopeOp::create(ops, loc(name), x.getType(), x, heads,
                        facts.layout.getSequenceLength(), rotary);
}

Value LayerBuilder::add(StringRef name, Value a, Value b) {
  return AddOp::create(ops, loc(name), a.getType(), a, b);
}

Value LayerBuilder::swiglu(StringRef name, Value x, SwigluAttr activation) {
  int64_t columns = cast<RankedTensorType>(x.getType()).getDimSize(1) / 2;
  return SwigluOp::create(ops, loc(name), matrix(columns), x,
                          /*row_scale=*/Value(), /*counts=*/Value(),
                          activation);
}

Value LayerBuilder::loss(Value logits, Value labels, double weight) {
  auto scalar = RankedTensorType::get({1}, facts.sums);
  auto logSumExp = RankedTensorType::get({facts.tokens}, facts.sums);
  return CrossEntropyOp::create(
             ops, loc("loss"), scalar, logSumExp, logits, labels,
             weight == 1 ? FloatAttr() : ops.getF64FloatAttr(weight),
             ops.getF64FloatAttr(facts.gradientScale * weight))
      .getLoss();
}

//===----------------------------------------------------------------------===//
// Attention
//===----------------------------------------------------------------------===//

Value LayerBuilder::core(Value q, Value k, Value v, int64_t heads,
                         int64_t kvHeads, int64_t qkDim, int64_t vDim,
                         double scale, int64_t window, bool sinks) {
  FlatSymbolRefAttr sinkLogits;
  if (sinks)
    sinkLogits = bias("attention.sinks", {heads});
  auto logSumExp = RankedTensorType::get({heads, facts.tokens}, facts.sums);
  auto number = [&](int64_t value) { return ops.getI64IntegerAttr(value); };
  return AttentionOp::create(
             ops, loc("attention.core"), matrix(heads * vDim), logSumExp, q, k,
             v, sinkLogits, number(facts.layout.getSequenceLength()),
             number(heads), number(kvHeads), number(qkDim), number(vDim),
             ops.getF64FloatAttr(scale), number(window))
      .getOut();
}

Value LayerBuilder::attention(GqaAttr gqa, Value x) {
  int64_t heads = gqa.getHeads(), kvHeads = gqa.getKvHeads();
  int64_t dim = gqa.getHeadDim();
  Value q = linear("attention.q_proj", x, heads * dim, gqa.getQkvBias());
  Value k = linear("attention.k_proj", x, kvHeads * dim, gqa.getQkvBias());
  Value v = linear("attention.v_proj", x, kvHeads * dim, gqa.getQkvBias());
  if (gqa.getQkNorm() != QKNorm::none) {
    bool perHead = gqa.getQkNorm() == QKNorm::head;
    q = norm("attention.q_norm", q, perHead ? heads : 1);
    k = norm("attention.k_norm", k, perHead ? kvHeads : 1);
  }
  q = rope("attention.q_rope", q, heads, gqa.getRotary());
  k = rope("attention.k_rope", k, kvHeads, gqa.getRotary());
  Value out = core(q, k, v, heads, kvHeads, dim, dim, gqa.getSoftmaxScale(),
                   gqa.getWindow(), gqa.getSinks());
  return linear("attention.o_proj", out, facts.hidden, gqa.getOutBias());
}

Value LayerBuilder::attention(MlaAttr mla, Value x) {
  int64_t heads = mla.getHeads();
  int64_t qkDim = mla.getNopeDim() + mla.getRopeDim();
  // The attribute's rotary counts inside the rope_dim columns; those of a query
  // head stand behind its nope_dim columns.
  RotaryAttr shared = mla.getRotary();
  RotaryAttr perHead = RotaryAttr::get(
      ops.getContext(), shared.getBegin() + mla.getNopeDim(), shared.getDim(),
      shared.getInterleaved(), shared.getTheta(), shared.getYarnFactor(),
      shared.getYarnOriginalLength(), shared.getYarnBetaFast(),
      shared.getYarnBetaSlow(), shared.getYarnTruncate(),
      shared.getAttentionScale());

  Value q;
  if (mla.getQLoraRank()) {
    q = linear("attention.q_down", x, mla.getQLoraRank(), false);
    q = norm("attention.q_down_norm", q);
    q = linear("attention.q_up", q, heads * qkDim, false);
  } else {
    q = linear("attention.q_proj", x, heads * qkDim, false);
  }
  q = rope("attention.q_rope", q, heads, perHead);

  Value latent = linear("attention.kv_down", x, mla.getKvLoraRank(), false);
  Value rotated = linear("attention.k_rope", x, mla.getRopeDim(), false);
  latent = norm("attention.kv_down_norm", latent);
  Value nope =
      linear("attention.k_up", latent, heads * mla.getNopeDim(), false);
  Value v = linear("attention.v_up", latent, heads * mla.getVDim(), false);
  Value k = MlaKeyOp::create(ops, loc("attention.key"), matrix(heads * qkDim),
                             nope, rotated, heads,
                             facts.layout.getSequenceLength(), shared);
  Value out = core(q, k, v, heads, heads, qkDim, mla.getVDim(),
                   mla.getSoftmaxScale(), /*window=*/0, /*sinks=*/false);
  return linear("attention.o_proj", out, facts.hidden, false);
}

//===----------------------------------------------------------------------===//
// Feed-forward networks
//===----------------------------------------------------------------------===//

Value LayerBuilder::dense(StringRef name, Value x, int64_t intermediate,
                          SwigluAttr activation) {
  Value fc1 = linear((name + ".gate_up").str(), x, 2 * intermediate, false);
  Value act = swiglu((name + ".act").str(), fc1, activation);
  return linear((name + ".down").str(), act, facts.hidden, false);
}

RowsAttr LayerBuilder::rowsOf(ExpertsAttr experts) {
  int64_t topK = experts.getRouting().getTopK();
  int64_t ranks = facts.layout.getExpertRanks();
  int64_t local = experts.getCount() / ranks;
  int64_t balanced = facts.tokens * topK;
  int64_t most = facts.tokens * ranks * std::min(topK, local);
  int64_t capacity = most;
  // Compared as reals: the product with a huge factor is no int64_t.
  double wanted =
      std::ceil(static_cast<double>(balanced) * facts.capacityFactor);
  if (facts.capacityFactor > 0 && wanted < static_cast<double>(most))
    capacity = static_cast<int64_t>(wanted);
  return RowsAttr::get(ops.getContext(), std::min(balanced, capacity),
                       capacity);
}

Value LayerBuilder::experts(ExpertsAttr experts, Value x) {
  int64_t count = experts.getCount(), ranks = facts.layout.getExpertRanks();
  int64_t local = count / ranks, width = experts.getIntermediate();
  int64_t hidden = facts.hidden;
  RoutingAttr routing = experts.getRouting();
  int64_t topK = routing.getTopK();
  MLIRContext *context = ops.getContext();

  Value logits = linear("moe.router", x, count, experts.getRouterBias(),
                        /*sums=*/true);
  FlatSymbolRefAttr correction;
  if (experts.getCorrectionBias())
    correction = parameter("moe.correction", {count}, InitializerKind::zeros,
                           Replication::dense, /*trainable=*/false);
  auto probabilities = RankedTensorType::get({facts.tokens, topK}, facts.sums);
  auto choice = RankedTensorType::get({facts.tokens, topK}, ops.getI32Type());
  // The gradient needs scores only where the probabilities do not determine
  // them: all of a plain softmax, the chosen ones of a sigmoid.
  Type scores;
  if (routing.getScoring() == Scoring::sigmoid)
    scores = probabilities;
  else if (!routing.getNormalize())
    scores = RankedTensorType::get({facts.tokens, count}, facts.sums);
  auto route = RouteOp::create(ops, loc("moe.route"), probabilities, choice,
                               scores, logits, correction, routing);

  RowsAttr rows = rowsOf(experts);
  auto scalars =
      RankedTensorType::get({ShapedType::kDynamic}, facts.sums, rows);
  auto counts = RankedTensorType::get({local}, ops.getI32Type());
  auto handle = HandleType::get(context, facts.tokens, topK, count);
  auto dispatch = DispatchOp::create(
      ops, loc("moe.dispatch"), routed(rows, hidden), scalars, counts, handle,
      x, route.getProbabilities(), route.getExperts(), topK, count, ranks,
      rows.getCapacity(), routing.getGroups(), routing.getTopGroups());

  FlatSymbolRefAttr gateUp = weight(
      "moe.experts.gate_up", {local, 2 * width, hidden}, Replication::expert);
  FlatSymbolRefAttr down =
      weight("moe.experts.down", {local, hidden, width}, Replication::expert);
  FlatSymbolRefAttr gateUpBias, downBias;
  if (experts.getExpertBias()) {
    gateUpBias = bias("moe.experts.gate_up_bias", {local, 2 * width},
                      Replication::expert);
    downBias =
        bias("moe.experts.down_bias", {local, hidden}, Replication::expert);
  }
  Value fc1 = GroupedLinearOp::create(
      ops, loc("moe.experts.gate_up"), routed(rows, 2 * width),
      dispatch.getRows(), dispatch.getCounts(), /*bias_scale=*/Value(), gateUp,
      gateUpBias);
  Value act = SwigluOp::create(ops, loc("moe.experts.act"), routed(rows, width),
                               fc1, dispatch.getRowProbabilities(),
                               dispatch.getCounts(), experts.getActivation());
  // The probability multiplies the activation instead of the expert's output,
  // so the bias of the second projection has to be scaled by it too.
  Value fc2 = GroupedLinearOp::create(
      ops, loc("moe.experts.down"), routed(rows, hidden), act,
      dispatch.getCounts(),
      experts.getExpertBias() ? dispatch.getRowProbabilities() : Value(), down,
      downBias);
  Value result = CombineOp::create(ops, loc("moe.combine"), matrix(hidden), fc2,
                                   dispatch.getHandle(), topK, count, ranks,
                                   rows.getCapacity(), routing.getGroups(),
                                   routing.getTopGroups());
  if (int64_t shared = experts.getSharedIntermediate())
    result =
        add("moe.shared_sum", result,
            dense("moe.shared", x, shared, SwigluAttr::get(context, 0, 1, 0)));
  return result;
}

//===- ExpandLayers.cpp - layers to ops with per-rank shapes --------------===//

#include "passes/Layers/LayerBuilder.h"
#include "passes/Passes.h"
#include "support/TokenRole.h"

#include "llvm/ADT/TypeSwitch.h"

#include <cmath>

namespace moe {
#define GEN_PASS_DEF_EXPANDLAYERS
#include "passes/Passes.h.inc"
} // namespace moe

using namespace mlir;
using namespace moe;

namespace {

template <typename Layer>
LogicalResult checkLayer(Layer layer, const ExpansionFacts &facts) {
  auto experts = dyn_cast<ExpertsAttr>(layer.getFfn());
  int64_t ranks = facts.layout.getExpertRanks();
  if (experts && experts.getCount() % ranks != 0)
    return layer.emitOpError()
           << "with index " << layer.getIndex() << " has " << experts.getCount()
           << " experts, which expert parallelism over " << ranks
           << " ranks does not divide";
  return success();
}

LogicalResult checkLoss(LmLossOp loss, ArrayRef<Value> modules) {
  if (loss.getTied())
    return loss.emitOpError()
           << "ties the head to the embedding, which cannot be expanded";
  if (!llvm::equal(loss.getMtp(), modules))
    return loss.emitOpError() << "does not take the results of the "
                                 "moe.mtp_layer ops before it, in their order";
  if (int64_t(modules.size()) >= kMostTokenShift)
    return loss.emitOpError()
           << "predicts " << modules.size() + 1 << " tokens at once; at most "
           << kMostTokenShift << " are possible";
  return success();
}

/// The expansion joins blocks in program order: the ops of the model must be
/// such a chain, from tokens to labels. Multi-token prediction modules go on
/// from the decoder; the loss takes its result and theirs.
LogicalResult checkChain(ModelOp model, const ExpansionFacts &facts) {
  Block &body = model.getBody().front();
  Value previous, decoded;
  SmallVector<Value> modules;
  for (Operation &op : body.without_terminator()) {
    Value hidden, tokens = body.getArgument(0), expected = tokens;
    LogicalResult possible = llvm::TypeSwitch<Operation *, LogicalResult>(&op)
                                 .Case([&](InputEmbeddingOp embedding) {
                                   tokens = embedding.getTokens();
                                   return success();
                                 })
                                 .Case([&](DecoderLayerOp layer) {
                                   hidden = layer.getHidden();
                                   return checkLayer(layer, facts);
                                 })
                                 .Case([&](MtpLayerOp layer) {
                                   hidden = layer.getHidden();
                                   tokens = layer.getTokens();
                                   return checkLayer(layer, facts);
                                 })
                                 .Case([&](LmLossOp loss) {
                                   hidden = loss.getHidden();
                                   previous = decoded;
                                   tokens = loss.getLabels();
                                   expected = body.getArgument(1);
                                   return checkLoss(loss, modules);
                                 })
                                 .Default([](Operation *other) {
                                   return other->emitOpError()
                                          << "cannot be expanded";
                                 });
    if (failed(possible))
      return failure();
    if (hidden != previous)
      return op.emitOpError() << "does not take the result of the op before it";
    if (tokens != expected)
      return op.emitOpError() << "takes tokens for labels or labels for tokens";
    previous = op.getResult(0);
    if (isa<MtpLayerOp>(op))
      modules.push_back(previous);
    else if (modules.empty())
      decoded = previous;
    else if (isa<DecoderLayerOp>(op))
      return op.emitOpError() << "comes behind a moe.mtp_layer";
  }
  return success();
}

LogicalResult checkModel(ModelOp model, const ExpansionFacts &facts) {
  if (!(facts.initializerRange > 0))
    return model.emitOpError() << "has initializer_range "
                               << facts.initializerRange << "; must be above 0";
  auto tokens =
      cast<RankedTensorType>(model.getBody().getArgument(0).getType());
  if (!tokens.isDynamicDim(0) && tokens.getDimSize(0) != facts.tokens)
    return model.emitOpError()
           << "takes " << tokens.getDimSize(0)
           << " tokens, but a microbatch of the layout has " << facts.tokens;
  return checkChain(model, facts);
}

Value expandAttention(LayerBuilder &builder, Attribute attention, Value x) {
  if (auto gqa = dyn_cast<GqaAttr>(attention))
    return builder.attention(gqa, x);
  return builder.attention(cast<MlaAttr>(attention), x);
}

Value expandFfn(LayerBuilder &builder, Attribute ffn, Value x) {
  if (auto dense = dyn_cast<DenseAttr>(ffn))
    return builder.dense("mlp", x, dense.getIntermediate(),
                         SwigluAttr::get(ffn.getContext(), 0, 1, 0));
  return builder.experts(cast<ExpertsAttr>(ffn), x);
}

/// A decoder layer, in the model or in a multi-token prediction module.
Value expandLayer(LayerBuilder &builder, Attribute attention, Attribute ffn,
                  Value x) {
  Value attended =
      expandAttention(builder, attention, builder.norm("input_norm", x));
  Value middle = builder.add("attention_residual", x, attended);
  Value fed = expandFfn(builder, ffn, builder.norm("post_norm", middle));
  return builder.add("ffn_residual", middle, fed);
}

void expandDecoder(LayerBuilder &builder, DecoderLayerOp layer) {
  std::string name = "layers." + std::to_string(layer.getIndex());
  builder.beginBlock(name, name, BlockKind::decoder, {"hidden"}, {"hidden"});
  builder.endBlock(expandLayer(builder, layer.getAttention(), layer.getFfn(),
                               builder.input("hidden")));
}

void expandEmbedding(LayerBuilder &builder) {
  builder.beginBlock("embedding", "embedding", BlockKind::embedding, {"tokens"},
                     {"hidden"});
  FlatSymbolRefAttr table = builder.table();
  builder.endBlock(builder.embedding(builder.input("tokens"), table));
}

/// A multi-token prediction module (arXiv 2412.19437, section 2.2): what the
/// decoder layer makes of `hidden` and the embedding of the `depth`-th next
/// tokens. Adds the loss of predicting the tokens behind those to `total`.
Value expandMtp(LayerBuilder &builder, MtpLayerOp layer, int64_t depth,
                double weight, const ExpansionFacts &facts,
                FlatSymbolRefAttr table, Value hidden, Value &total) {
  builder.setPrefix("mtp." + std::to_string(depth - 1));
  Value next = builder.embedding(builder.input(tokenRole(depth)), table);
  next = builder.norm("embedding_norm", next);
  Value normed = builder.norm("hidden_norm", hidden);
  // The projection of both, one behind the other, as the sum of its halves.
  Value x = builder.add(
      "projection", builder.linear("embedding_proj", next, facts.hidden, false),
      builder.linear("hidden_proj", normed, facts.hidden, false));
  x = expandLayer(builder, layer.getAttention(), layer.getFfn(), x);
  Value logits =
      builder.linear("lm_head", builder.norm("final_norm", x), facts.vocabulary,
                     FlatSymbolRefAttr::get(layer.getContext(), "lm_head"));
  Value loss =
      builder.loss(logits, builder.input(tokenRole(depth + 1)), weight);
  total = builder.add("total_loss", total, loss);
  return x;
}

void expandHead(LayerBuilder &builder, LmLossOp head,
                const ExpansionFacts &facts) {
  int64_t modules = head.getMtp().size();
  SmallVector<std::string> names = {"hidden"};
  for (int64_t shift = 1; shift <= modules + 1; ++shift)
    names.push_back(tokenRole(shift));
  SmallVector<StringRef> roles(names.begin(), names.end());
  builder.beginBlock("head", "", BlockKind::head, roles, {"loss"});
  Value hidden = builder.input("hidden");
  Value logits = builder.linear("lm_head", builder.norm("final_norm", hidden),
                                facts.vocabulary, false);
  Value total = builder.loss(logits, builder.input("labels"));
  if (modules == 0)
    return builder.endBlock(total);

  // The first stage holds the table; where that is another, the last stage
  // needs a copy.
  auto table = FlatSymbolRefAttr::get(head.getContext(), "embedding.table");
  if (facts.layout.getPipelineRanks() > 1) {
    builder.setPrefix("mtp.embedding");
    table = builder.table(table);
  }
  for (auto [index, result] : llvm::enumerate(head.getMtp()))
    hidden = expandMtp(builder, result.getDefiningOp<MtpLayerOp>(), index + 1,
                       facts.mtpWeight / modules, facts, table, hidden, total);
  builder.endBlock(total);
}

struct ExpandLayers : public moe::impl::ExpandLayersBase<ExpandLayers> {
  using Base::Base;

  void runOnOperation() override {
    if (failed(expand(getOperation())))
      signalPassFailure();
  }

  LogicalResult expand(ModuleOp module) {
    auto models = llvm::to_vector(module.getOps<ModelOp>());
    if (models.size() != 1)
      return module.emitError() << "the module holds " << models.size()
                                << " moe.model ops; one is needed";
    pipe::LayoutAttr layout = pipe::LayoutAttr::get(module);
    if (!layout)
      return failure();
    if (capacityFactor != 0 && !(capacityFactor >= 1))
      return module.emitError() << "capacity-factor must be at least 1, or 0 "
                                   "for the most that routing can produce; is "
                                << static_cast<double>(capacityFactor);
    ModelOp model = models.front();
    if (!(mtpWeight > 0) || !std::isfinite(mtpWeight))
      return module.emitError() << "mtp-weight must be above 0; is "
                                << static_cast<double>(mtpWeight);
    ExpansionFacts facts = gatherFacts(model, layout);
    if (failed(checkModel(model, facts)))
      return failure();

    LayerBuilder builder(facts, model);
    for (Operation &op : model.getBody().front())
      llvm::TypeSwitch<Operation *>(&op)
          .Case([&](InputEmbeddingOp) { expandEmbedding(builder); })
          .Case([&](DecoderLayerOp layer) { expandDecoder(builder, layer); })
          .Case([&](LmLossOp loss) { expandHead(builder, loss, facts); });
    model.erase();
    return success();
  }

  ExpansionFacts gatherFacts(ModelOp model, pipe::LayoutAttr layout) {
    ExpansionFacts facts;
    Builder builder(model.getContext());
    facts.storage = builder.getBF16Type();
    for (auto embedding : model.getBody().getOps<InputEmbeddingOp>())
      facts.storage = cast<RankedTensorType>(embedding.getHidden().getType())
                          .getElementType();
    facts.sums = facts.storage.isF64() ? facts.storage : builder.getF32Type();
    facts.tokens = layout.getTokens();
    facts.hidden = model.getHidden();
    facts.vocabulary = model.getVocabulary();
    facts.epsilon = model.getNormEpsilon();
    facts.initializerRange = model.getInitializerRange();
    facts.capacityFactor = capacityFactor;
    facts.mtpWeight = mtpWeight;
    facts.gradientScale =
        1.0 /
        (static_cast<double>(layout.getTokens()) * layout.getMicrobatches() *
         layout.getExpertRanks() * layout.getDataRanks());
    facts.layout = layout;
    return facts;
  }
};

} // namespace

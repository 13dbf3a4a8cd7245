//===- ExpandLayers.cpp - layers to ops with per-rank shapes --------------===//

#include "passes/Layers/LayerBuilder.h"
#include "passes/Passes.h"

#include "llvm/ADT/TypeSwitch.h"

namespace moe {
#define GEN_PASS_DEF_EXPANDLAYERS
#include "passes/Passes.h.inc"
} // namespace moe

using namespace mlir;
using namespace moe;

namespace {

LogicalResult checkLayer(DecoderLayerOp layer, const ExpansionFacts &facts) {
  auto experts = dyn_cast<ExpertsAttr>(layer.getFfn());
  int64_t ranks = facts.layout.getExpertRanks();
  if (experts && experts.getCount() % ranks != 0)
    return layer.emitOpError()
           << "with index " << layer.getIndex() << " has " << experts.getCount()
           << " experts, which expert parallelism over " << ranks
           << " ranks does not divide";
  return success();
}

LogicalResult checkLoss(LmLossOp loss) {
  if (loss.getTied())
    return loss.emitOpError()
           << "ties the head to the embedding, which cannot be expanded";
  return success();
}

/// The expansion joins blocks in program order: the ops of the model must be
/// such a chain, from tokens to labels.
LogicalResult checkChain(ModelOp model, const ExpansionFacts &facts) {
  Block &body = model.getBody().front();
  Value previous;
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
                                 .Case([&](LmLossOp loss) {
                                   hidden = loss.getHidden();
                                   tokens = loss.getLabels();
                                   expected = body.getArgument(1);
                                   return checkLoss(loss);
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

void expandLayer(LayerBuilder &builder, DecoderLayerOp layer) {
  std::string name = "layers." + std::to_string(layer.getIndex());
  builder.beginBlock(name, name, BlockKind::decoder, {"hidden"}, {"hidden"});
  Value x = builder.input("hidden");
  Value attended = expandAttention(builder, layer.getAttention(),
                                   builder.norm("input_norm", x));
  Value middle = builder.add("attention_residual", x, attended);
  Value fed =
      expandFfn(builder, layer.getFfn(), builder.norm("post_norm", middle));
  builder.endBlock(builder.add("ffn_residual", middle, fed));
}

void expandEmbedding(LayerBuilder &builder) {
  builder.beginBlock("embedding", "embedding", BlockKind::embedding, {"tokens"},
                     {"hidden"});
  builder.endBlock(builder.embedding(builder.input("tokens")));
}

void expandHead(LayerBuilder &builder, const ExpansionFacts &facts) {
  builder.beginBlock("head", "", BlockKind::head, {"hidden", "labels"},
                     {"loss"});
  Value x = builder.norm("final_norm", builder.input("hidden"));
  Value logits = builder.linear("lm_head", x, facts.vocabulary, false);
  builder.endBlock(builder.loss(logits, builder.input("labels")));
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
    ExpansionFacts facts = gatherFacts(model, layout);
    if (failed(checkModel(model, facts)))
      return failure();

    LayerBuilder builder(facts, model);
    for (Operation &op : model.getBody().front())
      llvm::TypeSwitch<Operation *>(&op)
          .Case([&](InputEmbeddingOp) { expandEmbedding(builder); })
          .Case([&](DecoderLayerOp layer) { expandLayer(builder, layer); })
          .Case([&](LmLossOp) { expandHead(builder, facts); });
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
    facts.gradientScale =
        1.0 /
        (static_cast<double>(layout.getTokens()) * layout.getMicrobatches() *
         layout.getExpertRanks() * layout.getDataRanks());
    facts.layout = layout;
    return facts;
  }
};

} // namespace

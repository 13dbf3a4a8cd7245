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

LogicalResult checkDivisible(DecoderLayerOp layer,
                             const ExpansionFacts &facts) {
  auto experts = dyn_cast<ExpertsAttr>(layer.getFfn());
  int64_t ranks = facts.layout.getExpertRanks();
  if (experts && experts.getCount() % ranks != 0)
    return layer.emitOpError() << "has " << experts.getCount()
                               << " experts, which expert parallelism over "
                               << ranks << " ranks does not divide";
  return success();
}

/// The expansion joins blocks in program order and takes the number of tokens
/// from the layout: a model that says anything else would be changed silently.
LogicalResult checkModel(ModelOp model, const ExpansionFacts &facts) {
  if (!(facts.initializerRange > 0))
    return model.emitOpError() << "has initializer_range "
                               << facts.initializerRange << "; must be above 0";
  Block &body = model.getBody().front();
  Value tokens = body.getArgument(0), labels = body.getArgument(1);
  auto tokensType = cast<RankedTensorType>(tokens.getType());
  if (!tokensType.isDynamicDim(0) && tokensType.getDimSize(0) != facts.tokens)
    return model.emitOpError()
           << "takes " << tokensType.getDimSize(0)
           << " tokens, but a microbatch of the layout has " << facts.tokens;

  Value previous;
  for (Operation &op : body.without_terminator()) {
    Value hidden, ids = tokens;
    if (auto embedding = dyn_cast<InputEmbeddingOp>(op)) {
      ids = embedding.getTokens();
    } else {
      hidden = op.getOperand(0);
      if (auto loss = dyn_cast<LmLossOp>(op))
        ids = loss.getLabels();
    }
    if (hidden != previous)
      return op.emitOpError() << "does not take the result of the op before it";
    if (ids != (isa<LmLossOp>(op) ? labels : tokens))
      return op.emitOpError() << "takes tokens for labels or labels for tokens";
    previous = op.getResult(0);
  }
  return success();
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
      return module.emitError()
             << "holds " << models.size() << " moe.model ops; one is needed";
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
    for (auto layer : model.getBody().getOps<DecoderLayerOp>())
      if (failed(checkDivisible(layer, facts)))
        return failure();

    LayerBuilder builder(facts, model);
    for (Operation &op : model.getBody().front()) {
      LogicalResult expanded =
          llvm::TypeSwitch<Operation *, LogicalResult>(&op)
              .Case([&](InputEmbeddingOp) {
                return expandEmbedding(builder), success();
              })
              .Case([&](DecoderLayerOp layer) {
                return expandLayer(builder, layer), success();
              })
              .Case([&](LmLossOp loss) -> LogicalResult {
                if (loss.getTied())
                  return loss.emitOpError()
                         << "ties the head to the embedding, which cannot be "
                            "expanded";
                return expandHead(builder, facts), success();
              })
              .Case([&](YieldOp) { return success(); })
              .Default([](Operation *other) {
                return other->emitOpError() << "cannot be expanded";
              });
      if (failed(expanded))
        return failure();
    }
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

//===- ImportModel.cpp - a configuration as Level A IR --------------------===//

#include "compiler/Import/IR/ImportModel.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/Verifier.h"

using namespace mlir;
using namespace moe;

//===----------------------------------------------------------------------===//
// Attributes
//===----------------------------------------------------------------------===//

static RotaryAttr convert(MLIRContext *context, const model::Rotary &r) {
  return RotaryAttr::get(context, r.begin, r.dim, r.interleaved, r.theta,
                         r.yarnFactor, r.yarnOriginalLength, r.yarnBetaFast,
                         r.yarnBetaSlow, r.yarnTruncate, r.attentionScale);
}

static QKNorm convert(model::QkNorm norm) {
  switch (norm) {
  case model::QkNorm::none:
    return QKNorm::none;
  case model::QkNorm::head:
    return QKNorm::head;
  case model::QkNorm::full:
    return QKNorm::full;
  }
  llvm_unreachable("no other norm");
}

static Attribute convert(MLIRContext *context, const model::Gqa &a) {
  return GqaAttr::get(context, a.heads, a.kvHeads, a.headDim, a.qkvBias,
                      a.outBias, convert(a.qkNorm), a.sinks, a.window,
                      a.softmaxScale, convert(context, a.rotary));
}

static Attribute convert(MLIRContext *context, const model::Mla &a) {
  return MlaAttr::get(context, a.heads, a.qLoraRank, a.kvLoraRank, a.nopeDim,
                      a.ropeDim, a.vDim, a.softmaxScale,
                      convert(context, a.rotary));
}

static Attribute convert(MLIRContext *context, const model::Dense &f) {
  return DenseAttr::get(context, f.intermediate);
}

static Attribute convert(MLIRContext *context, const model::Experts &f) {
  const model::Routing &r = f.routing;
  auto routing = RoutingAttr::get(
      context, r.topK,
      r.scoring == model::Scoring::softmax ? Scoring::softmax
                                           : Scoring::sigmoid,
      r.normalize, r.groups, r.topGroups,
      r.groupScore == model::GroupScore::maximum ? GroupScore::maximum
                                                 : GroupScore::top2_sum,
      r.scale);
  auto activation = SwigluAttr::get(context, f.activation.limit,
                                    f.activation.alpha, f.activation.upOffset);
  return ExpertsAttr::get(context, f.count, f.intermediate,
                          f.sharedIntermediate, routing, f.correctionBias,
                          f.routerBias, f.expertBias, activation);
}

//===----------------------------------------------------------------------===//
// Ops
//===----------------------------------------------------------------------===//

/// A location that carries the name of a part of the model.
static Location named(OpBuilder &builder, const Twine &name) {
  return NameLoc::get(builder.getStringAttr(name));
}

template <typename Variant>
static Attribute convertAny(MLIRContext *context, const Variant &variant) {
  return std::visit([&](const auto &v) { return convert(context, v); },
                    variant);
}

static void buildBody(OpBuilder &builder, ModelOp model,
                      const model::ModelConfig &config, Type storage,
                      int64_t tokens) {
  MLIRContext *context = builder.getContext();
  auto tokensType = RankedTensorType::get({tokens}, builder.getI32Type());
  auto hiddenType = RankedTensorType::get({tokens, config.hidden}, storage);
  Type sums = storage.isF64() ? storage : builder.getF32Type();

  Block &body = model.getBody().emplaceBlock();
  Value ids = body.addArgument(tokensType, model.getLoc());
  Value labels = body.addArgument(tokensType, model.getLoc());
  builder.setInsertionPointToEnd(&body);
  Value hidden = InputEmbeddingOp::create(builder, named(builder, "embedding"),
                                          hiddenType, ids);
  int64_t index = 0;
  for (const model::Layer &layer : config.layers) {
    hidden = DecoderLayerOp::create(
        builder, named(builder, "layers." + Twine(index)), hiddenType, hidden,
        builder.getI64IntegerAttr(index), convertAny(context, layer.attention),
        convertAny(context, layer.ffn));
    ++index;
  }
  SmallVector<Value> further;
  Value previous = hidden;
  for (const model::Layer &layer : config.mtpLayers) {
    previous = MtpLayerOp::create(
        builder, named(builder, "layers." + Twine(index)), hiddenType, previous,
        ids, builder.getI64IntegerAttr(index),
        convertAny(context, layer.attention), convertAny(context, layer.ffn));
    further.push_back(previous);
    ++index;
  }
  Location head = named(builder, "head");
  Value loss = LmLossOp::create(builder, head, RankedTensorType::get({1}, sums),
                                hidden, labels, further);
  YieldOp::create(builder, head, loss, ValueRange());
}

OwningOpRef<ModuleOp> moe::importModel(MLIRContext &context,
                                       const model::ModelConfig &config,
                                       Type storage, int64_t tokens) {
  OpBuilder builder(&context);
  OwningOpRef<ModuleOp> module = ModuleOp::create(named(builder, config.name));
  builder.setInsertionPointToEnd(module->getBody());
  auto model = ModelOp::create(
      builder, module->getLoc(),
      builder.getStringAttr(config.name.empty() ? "model" : config.name),
      builder.getI64IntegerAttr(config.hidden),
      builder.getI64IntegerAttr(config.vocabulary),
      builder.getF64FloatAttr(config.normEpsilon),
      builder.getF64FloatAttr(config.initializerRange),
      builder.getStringAttr(config.architecture));
  buildBody(builder, model, config, storage, tokens);
  if (failed(verify(*module)))
    return nullptr;
  return module;
}

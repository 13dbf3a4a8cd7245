//===- CountParameters.cpp - numbers of parameters of Level A IR ----------===//

#include "compiler/Import/IR/ImportModel.h"

#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace moe;

namespace {

/// Sums over the ops of one model.
class Counter {
public:
  explicit Counter(int64_t hidden) : hidden(hidden) {}

  /// A matrix between rows of `inputs` and rows of `outputs` columns, with a
  /// bias where `bias`.
  void projection(int64_t inputs, int64_t outputs, bool bias = false) {
    used(inputs * outputs + (bias ? outputs : 0));
  }
  void norm(int64_t columns) { used(columns); }
  void layer(Attribute attention, Attribute ffn);

  int64_t total = 0;
  int64_t active = 0; ///< used by every single token

private:
  void used(int64_t parameters) {
    total += parameters;
    active += parameters;
  }
  void gated(int64_t intermediate) {
    projection(hidden, 2 * intermediate);
    projection(intermediate, hidden);
  }
  void attention(GqaAttr gqa);
  void attention(MlaAttr mla);
  void experts(ExpertsAttr experts);

  int64_t hidden;
};

} // namespace

void Counter::attention(GqaAttr gqa) {
  int64_t queries = gqa.getHeads() * gqa.getHeadDim();
  int64_t keys = gqa.getKvHeads() * gqa.getHeadDim();
  projection(hidden, queries, gqa.getQkvBias());
  projection(hidden, keys, gqa.getQkvBias());
  projection(hidden, keys, gqa.getQkvBias());
  projection(queries, hidden, gqa.getOutBias());
  switch (gqa.getQkNorm()) {
  case QKNorm::none:
    break;
  case QKNorm::head:
    norm(gqa.getHeadDim());
    norm(gqa.getHeadDim());
    break;
  case QKNorm::full:
    norm(queries);
    norm(keys);
    break;
  }
  if (gqa.getSinks())
    used(gqa.getHeads());
}

void Counter::attention(MlaAttr mla) {
  int64_t heads = mla.getHeads();
  int64_t queries = heads * (mla.getNopeDim() + mla.getRopeDim());
  if (int64_t rank = mla.getQLoraRank()) {
    projection(hidden, rank);
    norm(rank);
    projection(rank, queries);
  } else {
    projection(hidden, queries);
  }
  int64_t rank = mla.getKvLoraRank();
  projection(hidden, rank);
  projection(hidden, mla.getRopeDim());
  norm(rank);
  projection(rank, heads * mla.getNopeDim());
  projection(rank, heads * mla.getVDim());
  projection(heads * mla.getVDim(), hidden);
}

void Counter::experts(ExpertsAttr experts) {
  int64_t count = experts.getCount(), width = experts.getIntermediate();
  projection(hidden, count, experts.getRouterBias());
  if (experts.getCorrectionBias())
    used(count);
  if (int64_t shared = experts.getSharedIntermediate())
    gated(shared);
  Counter one(hidden);
  one.projection(hidden, 2 * width, experts.getExpertBias());
  one.projection(width, hidden, experts.getExpertBias());
  total += count * one.total;
  active += experts.getRouting().getTopK() * one.total;
}

void Counter::layer(Attribute attentionAttr, Attribute ffn) {
  norm(hidden);
  if (auto gqa = dyn_cast<GqaAttr>(attentionAttr))
    attention(gqa);
  else
    attention(cast<MlaAttr>(attentionAttr));
  norm(hidden);
  if (auto dense = dyn_cast<DenseAttr>(ffn))
    gated(dense.getIntermediate());
  else
    experts(cast<ExpertsAttr>(ffn));
}

model::ParameterCounts moe::countParameters(ModelOp model) {
  int64_t hidden = model.getHidden(), vocabulary = model.getVocabulary();
  Counter main(hidden), mtp(hidden);
  for (Operation &op : model.getBody().front())
    llvm::TypeSwitch<Operation *>(&op)
        .Case([&](InputEmbeddingOp) { main.projection(vocabulary, hidden); })
        .Case([&](DecoderLayerOp layer) {
          main.layer(layer.getAttention(), layer.getFfn());
        })
        .Case([&](MtpLayerOp layer) {
          // Norms of both inputs, their joint projection, and the norm before
          // the shared head.
          mtp.norm(hidden);
          mtp.norm(hidden);
          mtp.projection(2 * hidden, hidden);
          mtp.layer(layer.getAttention(), layer.getFfn());
          mtp.norm(hidden);
        })
        .Case([&](LmLossOp loss) {
          main.norm(hidden);
          if (!loss.getTied())
            main.projection(hidden, vocabulary);
        });
  return {main.total, main.active, mtp.total, mtp.active};
}

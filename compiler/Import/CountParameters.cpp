//===- CountParameters.cpp - numbers of parameters ------------------------===//

#include "compiler/Import/ModelConfig.h"

namespace moe::model {

namespace {

/// All parameters, and those that a single token uses.
struct Count {
  int64_t total = 0;
  int64_t active = 0;

  /// Parameters that every token uses.
  void add(int64_t parameters) {
    total += parameters;
    active += parameters;
  }
};

} // namespace

static int64_t countAttention(const Gqa &a, int64_t hidden) {
  int64_t q = a.heads * a.headDim;
  int64_t kv = a.kvHeads * a.headDim;
  int64_t count = (q + kv + kv) * hidden + hidden * q;
  if (a.qkvBias)
    count += q + kv + kv;
  if (a.outBias)
    count += hidden;
  if (a.qkNorm == QkNorm::head)
    count += 2 * a.headDim;
  if (a.qkNorm == QkNorm::full)
    count += q + kv;
  if (a.sinks)
    count += a.heads;
  return count;
}

static int64_t countAttention(const Mla &a, int64_t hidden) {
  int64_t q = a.heads * (a.nopeDim + a.ropeDim);
  int64_t count = a.qLoraRank == 0
                      ? q * hidden
                      : a.qLoraRank * hidden + a.qLoraRank + q * a.qLoraRank;
  count += (a.kvLoraRank + a.ropeDim) * hidden; // down projection, shared key
  count += a.kvLoraRank;                        // norm of the latent
  count += a.heads * (a.nopeDim + a.vDim) * a.kvLoraRank; // up projections
  count += hidden * a.heads * a.vDim;
  return count;
}

/// A gated network: gate, up and down projection.
static int64_t countGated(int64_t intermediate, int64_t hidden) {
  return 3 * intermediate * hidden;
}

static void addFfn(Count &count, const Experts &e, int64_t hidden) {
  count.add(e.count * hidden); // router
  if (e.routerBias)
    count.add(e.count);
  if (e.correctionBias)
    count.add(e.count);
  int64_t expert = countGated(e.intermediate, hidden);
  if (e.expertBias)
    expert += 2 * e.intermediate + hidden;
  count.total += e.count * expert;
  count.active += e.routing.topK * expert;
  count.add(countGated(e.sharedIntermediate, hidden));
}

static void addFfn(Count &count, const Dense &dense, int64_t hidden) {
  count.add(countGated(dense.intermediate, hidden));
}

static void addLayer(Count &count, const Layer &layer, int64_t hidden) {
  count.add(2 * hidden); // norms before attention and feed-forward network
  std::visit([&](const auto &a) { count.add(countAttention(a, hidden)); },
             layer.attention);
  std::visit([&](const auto &f) { addFfn(count, f, hidden); }, layer.ffn);
}

ParameterCounts countParameters(const ModelConfig &config) {
  const int64_t hidden = config.hidden;
  Count model;
  model.add(config.vocabulary * hidden); // embedding
  for (const Layer &layer : config.layers)
    addLayer(model, layer, hidden);
  model.add(hidden);                     // last norm
  model.add(config.vocabulary * hidden); // head

  Count mtp;
  for (const Layer &layer : config.mtpLayers) {
    mtp.add(2 * hidden);          // norms of the two inputs
    mtp.add(2 * hidden * hidden); // projection of their concatenation
    addLayer(mtp, layer, hidden);
    mtp.add(hidden); // norm before the shared head
  }
  return {model.total, model.active, mtp.total, mtp.active};
}

} // namespace moe::model

#include "TinyOps.h"

#include "kernels/Kernels.h"

namespace moe::test {
namespace {

using namespace plan;

constexpr int64_t kHidden = 8, kWidth = 6, kExperts = 4, kTopK = 2;

/// Writes the ops of one copy of the model into a builder.
class Writer {
public:
  Writer(PlanBuilder &builder, const TinyModel &model, std::string suffix)
      : builder(builder), model(model), suffix(std::move(suffix)),
        tokens(model.microbatchSize * model.sequenceLength), S(model.dtype),
        F(builder.wide()) {}

  TinyCopy write(int64_t bodyRank, int64_t headRank) {
    bool oneStage = model.pipeline == 1 && !model.selfSend;
    ends.body = builder.stage(bodyRank);
    ends.head = oneStage ? ends.body : builder.stage(headRank);
    forward();
    backward();
    return ends;
  }

private:
  std::string named(const char *parameter) const { return parameter + suffix; }

  int64_t saved(int64_t stage, const std::string &name, DType dtype,
                std::vector<int64_t> shape) {
    return builder.value(stage, name, dtype, std::move(shape));
  }

  void forward() {
    int64_t body = ends.body, head = ends.head;
    auto f = [&](int64_t stage, const char *kind, const char *name,
                 std::vector<int64_t> in, std::vector<int64_t> parameters,
                 std::vector<int64_t> out) -> Op & {
      return builder.op(stage, Phase::forward, kind, name, in, parameters, out);
    };
    int64_t T = tokens;
    bool split = head != body;
    table = builder.parameter(body, named("embed"), {model.vocabulary, kHidden},
                              {"normal", 0.5});
    norm = builder.parameter(body, named("norm"), {kHidden}, {"ones", 0});
    ends.tokens = saved(body, "tokens", DType::i32, {T});
    embedded = saved(body, "embedded", S, {T, kHidden});
    normed = saved(body, "normed", S, {T, kHidden});
    inverse = saved(body, "inverse", F, {T, 1});
    f(body, "embedding", "embedding", {ends.tokens}, {table}, {embedded});
    Op &op = f(body, "rms_norm", "norm", {embedded}, {norm}, {normed, inverse});
    op.attributes = {{"epsilon", 1e-6}, {"groups", int64_t{1}}};
    ends.hidden = model.experts ? expertsForward(body) : normed;
    // Doubled so that what is sent has a buffer of its own; without a split
    // too, so that the model is the same.
    int64_t sent =
        builder.value(body, "sent", S, {T, kHidden},
                      split ? MemoryClass::send : MemoryClass::transient);
    f(body, "add", "twice", {ends.hidden, ends.hidden}, {}, {sent});
    ends.hidden = sent;
    ends.dHidden =
        builder.value(body, "d_sent", S, {T, kHidden},
                      split ? MemoryClass::receive : MemoryClass::transient);
    if (split) {
      ends.received = builder.value(head, "received", S, {T, kHidden},
                                    MemoryClass::receive);
      ends.dReceived =
          builder.value(head, "d_received", S, {T, kHidden}, MemoryClass::send);
    }
    headWeight = builder.parameter(
        head, named("head"), {model.vocabulary, kHidden}, {"normal", 0.3});
    logits = builder.value(head, "logits", S, {T, model.vocabulary});
    ends.labels = builder.value(head, "labels", DType::i32, {T});
    ends.loss = builder.value(head, "loss", F, {1});
    logSumExp = builder.value(head, "log_sum_exp", F, {T});
    headInput = split ? ends.received : ends.hidden;
    f(head, "linear", "head", {headInput}, {headWeight, -1}, {logits});
    f(head, "cross_entropy", "loss", {logits, ends.labels}, {},
      {ends.loss, logSumExp});
  }

  std::map<std::string, Attribute> exchangeAttributes() const {
    return {{"top_k", kTopK},
            {"experts", kExperts},
            {"ranks", model.expert},
            {"capacity", capacity()}};
  }
  std::map<std::string, Attribute> routeAttributes() const {
    return {{"top_k", kTopK},
            {"scoring", std::string("softmax")},
            {"normalize", true},
            {"groups", int64_t{1}},
            {"top_groups", int64_t{1}},
            {"group_score", std::string("maximum")},
            {"scale", 1.0}};
  }
  std::map<std::string, Attribute> swigluAttributes() const {
    return {{"limit", 0.0}, {"alpha", 1.0}, {"up_offset", 0.0}};
  }
  int64_t capacity() const {
    return model.capacity ? model.capacity : tokens * kTopK * model.expert;
  }

  void staging(Op &op, bool scalars) const {
    op.stream = Stream::expert_communication;
    op.scratchClass = MemoryClass::expert_communication;
    op.attributes = exchangeAttributes();
    op.scratchBytes = alignUp(tokens * kTopK * kHidden * byteSize(S)) +
                      (scalars ? alignUp(tokens * kTopK * byteSize(F)) : 0);
  }

  int64_t expertsForward(int64_t s) {
    auto f = [&](const char *kind, const char *name, std::vector<int64_t> in,
                 std::vector<int64_t> parameters,
                 std::vector<int64_t> out) -> Op & {
      return builder.op(s, Phase::forward, kind, name, in, parameters, out);
    };
    int64_t T = tokens, C = capacity(), L = kExperts / model.expert;
    router = builder.parameter(s, named("router"), {kExperts, kHidden},
                               {"normal", 0.5});
    up = builder.parameter(s, named("experts.up"), {L, 2 * kWidth, kHidden},
                           {"normal", 0.3}, Replication::expert);
    down = builder.parameter(s, named("experts.down"), {L, kHidden, kWidth},
                             {"normal", 0.3}, Replication::expert);
    int64_t scores = builder.value(s, "router_logits", F, {T, kExperts});
    probabilities = saved(s, "probabilities", F, {T, kTopK});
    experts = saved(s, "experts", DType::i32, {T, kTopK});
    rows = saved(s, "rows", S, {C, kHidden});
    rowProbabilities = saved(s, "row_probabilities", F, {C});
    counts = saved(s, "counts", DType::i32, {L});
    kernels::Exchange exchange{.tokens = T, .topK = kTopK, .experts = kExperts};
    handle = builder.value(s, "handle", DType::i32,
                           {kernels::handleElements(exchange)},
                           MemoryClass::handles);
    fc1 = saved(s, "fc1", S, {C, 2 * kWidth});
    act = saved(s, "act", S, {C, kWidth});
    int64_t fc2 = builder.value(s, "fc2", S, {C, kHidden});
    int64_t moe = builder.value(s, "moe", S, {T, kHidden});
    int64_t hidden = saved(s, "hidden", S, {T, kHidden});
    f("linear", "router", {normed}, {router, -1}, {scores});
    f("route", "route", {scores}, {-1}, {probabilities, experts, -1})
        .attributes = routeAttributes();
    staging(f("dispatch", "layers.0.dispatch", {normed, probabilities, experts},
              {}, {rows, rowProbabilities, counts, handle}),
            true);
    f("grouped_linear", "up", {rows, counts, -1}, {up, -1}, {fc1});
    f("swiglu", "act", {fc1, rowProbabilities, counts}, {}, {act}).attributes =
        swigluAttributes();
    f("grouped_linear", "down", {act, counts, -1}, {down, -1}, {fc2});
    staging(f("combine", "layers.0.combine", {fc2, handle}, {}, {moe}), false);
    f("add", "residual", {normed, moe}, {}, {hidden});
    return hidden;
  }

  Op &b(int64_t stage, const char *kind, const char *name,
        std::vector<int64_t> in, std::vector<int64_t> parameters,
        std::vector<int64_t> out) {
    Phase phase = Phase::backward;
    if (model.splitBackward)
      phase = std::string_view(kind).ends_with("_weight_grad")
                  ? Phase::weight_grad
                  : Phase::backward_input;
    return builder.op(stage, phase, kind, name, std::move(in),
                      std::move(parameters), std::move(out));
  }

  void backward() {
    int64_t body = ends.body, head = ends.head;
    int64_t T = tokens;
    int64_t dLogits = builder.value(head, "d_logits", S, {T, model.vocabulary});
    b(head, "cross_entropy_input_grad", "loss_grad",
      {logits, ends.labels, logSumExp}, {}, {dLogits})
        .attributes = {
        {"scale", 1.0 / static_cast<double>(T * model.microbatches *
                                            model.expert * model.data)}};
    int64_t dInput = head == body ? ends.dHidden : ends.dReceived;
    b(head, "linear_input_grad", "head_grad", {dLogits}, {headWeight},
      {dInput});
    b(head, "linear_weight_grad", "head_weight_grad", {dLogits, headInput},
      {headWeight, -1}, {});
    int64_t dHidden = builder.value(body, "d_hidden", S, {T, kHidden});
    b(body, "add", "d_twice", {ends.dHidden, ends.dHidden}, {}, {dHidden});
    int64_t dNormed = model.experts ? expertsBackward(body, dHidden) : dHidden;
    int64_t dEmbedded = builder.value(body, "d_embedded", S, {T, kHidden});
    b(body, "rms_norm_weight_grad", "norm_weight_grad",
      {dNormed, embedded, inverse}, {norm}, {})
        .attributes = {{"groups", int64_t{1}}};
    b(body, "rms_norm_input_grad", "norm_grad", {dNormed, embedded, inverse},
      {norm}, {dEmbedded})
        .attributes = {{"groups", int64_t{1}}};
    b(body, "embedding_weight_grad", "embedding_grad", {dEmbedded, ends.tokens},
      {table}, {});
  }

  int64_t expertsBackward(int64_t s, int64_t dHidden) {
    int64_t T = tokens, C = capacity();
    int64_t dFc2 = builder.value(s, "d_fc2", S, {C, kHidden});
    int64_t dAct = builder.value(s, "d_act", S, {C, kWidth});
    int64_t dFc1 = builder.value(s, "d_fc1", S, {C, 2 * kWidth});
    int64_t dScale = builder.value(s, "d_scale", F, {C});
    int64_t dRows = builder.value(s, "d_rows", S, {C, kHidden});
    int64_t dDispatched = builder.value(s, "d_dispatched", S, {T, kHidden});
    int64_t dProbabilities = builder.value(s, "d_probabilities", F, {T, kTopK});
    int64_t dScores = builder.value(s, "d_router_logits", F, {T, kExperts});
    int64_t dRouted = builder.value(s, "d_routed", S, {T, kHidden});
    int64_t sum = builder.value(s, "d_sum", S, {T, kHidden});
    int64_t dNormed = builder.value(s, "d_normed", S, {T, kHidden});
    staging(b(s, "combine_input_grad", "layers.0.combine_grad",
              {dHidden, handle}, {}, {dFc2}),
            false);
    b(s, "grouped_linear_input_grad", "down_grad", {dFc2, counts}, {down},
      {dAct});
    b(s, "grouped_linear_weight_grad", "down_weight_grad",
      {dFc2, act, counts, -1}, {down, -1}, {});
    b(s, "swiglu_input_grad", "act_grad", {dAct, fc1, rowProbabilities, counts},
      {}, {dFc1, dScale})
        .attributes = swigluAttributes();
    b(s, "grouped_linear_input_grad", "up_grad", {dFc1, counts}, {up}, {dRows});
    b(s, "grouped_linear_weight_grad", "up_weight_grad",
      {dFc1, rows, counts, -1}, {up, -1}, {});
    staging(b(s, "dispatch_input_grad", "layers.0.dispatch_grad",
              {dRows, dScale, handle}, {}, {dDispatched, dProbabilities}),
            true);
    b(s, "route_input_grad", "route_grad",
      {dProbabilities, probabilities, experts, -1}, {}, {dScores})
        .attributes = routeAttributes();
    b(s, "linear_input_grad", "router_grad", {dScores}, {router}, {dRouted});
    b(s, "linear_weight_grad", "router_weight_grad", {dScores, normed},
      {router, -1}, {});
    b(s, "add", "d_sum", {dDispatched, dRouted}, {}, {sum});
    b(s, "add", "d_normed", {sum, dHidden}, {}, {dNormed});
    return dNormed;
  }

  PlanBuilder &builder;
  const TinyModel &model;
  std::string suffix;
  int64_t tokens;
  DType S, F;
  TinyCopy ends;
  // Parameters and values that both directions name.
  int64_t table = -1, norm = -1, headWeight = -1, router = -1, up = -1,
          down = -1;
  int64_t embedded = -1, normed = -1, inverse = -1, logits = -1, logSumExp = -1,
          headInput = -1, probabilities = -1, experts = -1, rows = -1,
          rowProbabilities = -1, counts = -1, handle = -1, fc1 = -1, act = -1;
};

} // namespace

TinyCopy writeCopy(PlanBuilder &builder, const TinyModel &model,
                   int64_t bodyRank, int64_t headRank,
                   const std::string &suffix) {
  return Writer(builder, model, suffix).write(bodyRank, headRank);
}

} // namespace moe::test

#include "TinyPlan.h"

#include "TinyOps.h"

#include <gtest/gtest.h>

namespace moe::test {
namespace {

using namespace plan;

constexpr std::string_view kCopySuffix = ".copy";

/// Writes the steps of a model.
class Scheduler {
public:
  explicit Scheduler(const TinyModel &model)
      : model(model), random(model.overlapSeed.value_or(0)),
        builder({.pipeline = model.pipeline,
                 .expert = model.expert,
                 .data = model.data,
                 .microbatches = model.microbatches,
                 .microbatchSize = model.microbatchSize,
                 .sequenceLength = model.sequenceLength},
                model.dtype) {}

  Plan write() {
    copies[0] = writeCopy(builder, model, 0, model.pipeline - 1, "");
    if (model.bidirectional) {
      copies[1] = writeCopy(builder, model, 1, 0, std::string(kCopySuffix));
      scheduleBothWays(0);
      scheduleBothWays(1);
    } else if (model.overlapSeed) {
      scheduleOverlapped();
    } else {
      scheduleInTurn();
    }
    for (int64_t rank = 0; rank < model.pipeline; ++rank)
      for (StepKind kind : {StepKind::reduce_gradients, StepKind::update})
        builder.step(rank, about(kind, -1, -1, -1));
    if (model.streamSeed) {
      random.seed(*model.streamSeed);
      builder.spreadOverStreams(random);
    }
    Plan plan = builder.finish();
    if (model.bidirectional)
      tieCopies(plan);
    return plan;
  }

private:
  /// A step of this kind; the slot is the microbatch.
  Step about(StepKind kind, int64_t stage, int64_t m, int64_t value,
             Phase phase = Phase::forward) const {
    Step step;
    step.kind = kind;
    step.stage = stage;
    step.microbatch = step.slot = m;
    step.phase = phase;
    step.value = value;
    return step;
  }
  void load(int64_t rank, int64_t stage, int64_t m, int64_t value,
            const char *role) {
    Step step = about(StepKind::load, stage, m, value);
    step.role = role;
    builder.step(rank, step);
  }
  void transfer(int64_t rank, StepKind kind, int64_t stage, int64_t m,
                int64_t value, int64_t peer, Phase phase) {
    Step step = about(kind, stage, m, value, phase);
    step.peer = peer;
    builder.step(rank, step);
  }
  void run(int64_t rank, int64_t stage, int64_t m, Phase phase) {
    builder.step(rank, about(StepKind::run, stage, m, -1, phase));
  }
  Phase backwardPhase() const {
    return model.splitBackward ? Phase::backward_input : Phase::backward;
  }
  void weightGradients(int64_t rank, int64_t stage) {
    if (model.splitBackward)
      for (int64_t m = 0; m < model.microbatches; ++m)
        run(rank, stage, m, Phase::weight_grad);
  }

  /// All forward programs, then all backward programs.
  void scheduleInTurn() {
    const TinyCopy &c = copies[0];
    bool split = c.head != c.body;
    int64_t headRank = model.pipeline - 1;
    for (int64_t m = 0; m < model.microbatches; ++m) {
      load(0, c.body, m, c.tokens, "tokens");
      if (split) {
        run(0, c.body, m, Phase::forward);
        transfer(0, StepKind::send, c.body, m, c.hidden, headRank,
                 Phase::forward);
        transfer(headRank, StepKind::receive, c.head, m, c.received, 0,
                 Phase::forward);
      }
      load(headRank, c.head, m, c.labels, "labels");
      run(headRank, c.head, m, Phase::forward);
      builder.step(headRank, about(StepKind::collect_loss, c.head, m, c.loss));
    }
    for (int64_t m = 0; m < model.microbatches; ++m) {
      run(headRank, c.head, m, backwardPhase());
      if (!split)
        continue;
      transfer(headRank, StepKind::send, c.head, m, c.dReceived, 0,
               Phase::backward);
      transfer(0, StepKind::wait_send, c.body, m, c.hidden, headRank,
               Phase::forward);
      transfer(0, StepKind::receive, c.body, m, c.dHidden, headRank,
               Phase::backward);
      run(0, c.body, m, backwardPhase());
    }
    if (split)
      for (int64_t m = 0; m < model.microbatches; ++m)
        transfer(headRank, StepKind::wait_send, c.head, m, c.dReceived, 0,
                 Phase::backward);
    weightGradients(headRank, c.head);
    if (split)
      weightGradients(0, c.body);
  }

  /// On one rank and stage: the forward of a microbatch together with the
  /// backward of the one before.
  void scheduleOverlapped() {
    const TinyCopy &c = copies[0];
    for (int64_t m = 0; m <= model.microbatches; ++m) {
      if (m < model.microbatches) {
        load(0, c.body, m, c.tokens, "tokens");
        load(0, c.head, m, c.labels, "labels");
      }
      if (m == 0)
        run(0, c.body, m, Phase::forward);
      else if (m < model.microbatches)
        together(0, c.body, m, c.body, m - 1);
      else
        run(0, c.body, m - 1, backwardPhase());
      if (m < model.microbatches)
        builder.step(0, about(StepKind::collect_loss, c.head, m, c.loss));
    }
    weightGradients(0, c.body);
  }

  /// The forward of a stage and the backward of another, overlapped or in turn.
  void together(int64_t rank, int64_t forward, int64_t m, int64_t backward,
                int64_t second) {
    if (!model.overlapSeed) {
      run(rank, forward, m, Phase::forward);
      run(rank, backward, second, backwardPhase());
      return;
    }
    Step step = about(StepKind::overlap, forward, m, -1);
    step.secondMicrobatch = step.secondSlot = second;
    step.overlap = builder.overlap(rank, {forward, Phase::forward},
                                   {backward, backwardPhase()}, random);
    builder.step(rank, step);
  }

  /// The rank has the body of copy `rank`, which the first or second half of
  /// the microbatches runs through, and the head of the other copy.
  void scheduleBothWays(int64_t rank) {
    const TinyCopy &down = copies[static_cast<size_t>(rank)];
    const TinyCopy &up = copies[static_cast<size_t>(1 - rank)];
    int64_t half = model.microbatches / 2, peer = 1 - rank;
    auto ofBody = [&](int64_t i) { return rank * half + i; };
    auto ofHead = [&](int64_t i) { return peer * half + i; };
    auto send = [&](int64_t i) {
      transfer(rank, StepKind::send, down.body, ofBody(i), down.hidden, peer,
               Phase::forward);
      transfer(rank, StepKind::receive, up.head, ofHead(i), up.received, peer,
               Phase::forward);
    };
    auto runHead = [&](int64_t i) {
      load(rank, up.head, ofHead(i), up.labels, "labels");
      run(rank, up.head, ofHead(i), Phase::forward);
      builder.step(rank,
                   about(StepKind::collect_loss, up.head, ofHead(i), up.loss));
    };
    load(rank, down.body, ofBody(0), down.tokens, "tokens");
    run(rank, down.body, ofBody(0), Phase::forward);
    send(0);
    runHead(0);
    for (int64_t i = 0; i < half; ++i) {
      bool isLast = i + 1 == half;
      if (isLast) {
        run(rank, up.head, ofHead(i), backwardPhase());
      } else {
        load(rank, down.body, ofBody(i + 1), down.tokens, "tokens");
        together(rank, down.body, ofBody(i + 1), up.head, ofHead(i));
        send(i + 1);
      }
      transfer(rank, StepKind::send, up.head, ofHead(i), up.dReceived, peer,
               Phase::backward);
      transfer(rank, StepKind::receive, down.body, ofBody(i), down.dHidden,
               peer, Phase::backward);
      transfer(rank, StepKind::wait_send, down.body, ofBody(i), down.hidden,
               peer, Phase::forward);
      run(rank, down.body, ofBody(i), backwardPhase());
      if (!isLast)
        runHead(i + 1);
    }
    for (int64_t i = 0; i < half; ++i)
      transfer(rank, StepKind::wait_send, up.head, ofHead(i), up.dReceived,
               peer, Phase::backward);
    if (model.splitBackward)
      for (int64_t i = 0; i < half; ++i) {
        run(rank, down.body, ofBody(i), Phase::weight_grad);
        run(rank, up.head, ofHead(i), Phase::weight_grad);
      }
  }

  static void tieCopies(Plan &plan) {
    for (Stage &stage : plan.stages)
      for (Parameter &parameter : stage.parameters)
        if (parameter.name.ends_with(kCopySuffix))
          parameter.tiedTo = parameter.name.substr(0, parameter.name.size() -
                                                          kCopySuffix.size());
    Status status = check(plan);
    EXPECT_TRUE(status.ok()) << status.error().message;
  }

  TinyModel model;
  std::mt19937 random;
  PlanBuilder builder;
  TinyCopy copies[2];
};

} // namespace

Plan makePlan(const TinyModel &model) { return Scheduler(model).write(); }

exec::Dataset makeData(const TinyModel &model, int64_t bytes) {
  std::vector<uint8_t> text;
  const std::string words[] = {"expert ", "token ", "rank ", "plan ",
                               "byte ",   "and ",   "the "};
  for (uint32_t i = 1; static_cast<int64_t>(text.size()) < bytes; ++i) {
    const std::string &word = words[(i * 2654435761u >> 16) % 7];
    text.insert(text.end(), word.begin(), word.end());
  }
  auto data = exec::Dataset::fromBytes(text, model.sequenceLength, "text");
  EXPECT_TRUE(data.ok());
  return *data;
}

Result<exec::RunReport> runPlan(const Plan &plan, const exec::Dataset &data,
                                exec::RunOptions options) {
  Result<exec::Binding> binding = exec::Binding::create(plan);
  if (!binding)
    return binding.error();
  return exec::run(*binding, data, options);
}

} // namespace moe::test

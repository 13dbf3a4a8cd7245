#include "test/unit/Simulate/PlanBuilder.h"

#include <algorithm>
#include <array>
#include <random>

namespace moe {

using plan::Phase;
using plan::StepKind;
using plan::Stream;

plan::Op makeOp(int64_t ns, Stream stream, std::vector<int64_t> waits) {
  plan::Op op;
  op.kind = "linear";
  op.timeNs = ns;
  op.stream = stream;
  op.waits = std::move(waits);
  return op;
}

PlanBuilder::PlanBuilder(size_t ranks) {
  plan.ranks.resize(ranks);
  for (size_t rank = 0; rank < ranks; ++rank)
    plan.ranks[rank].rank = static_cast<int64_t>(rank);
  plan.layout.pipeline = static_cast<int64_t>(ranks);
}

int64_t PlanBuilder::addStage(int64_t rank, int64_t bytes) {
  plan::Stage stage;
  stage.name = "s" + std::to_string(plan.stages.size());
  stage.rank = rank;
  for (const char *name : {"x", "y", "d_x", "d_y", "other"}) {
    plan::Value value;
    value.name = name;
    value.bytes = bytes;
    stage.values.push_back(value);
  }
  auto index = static_cast<int64_t>(plan.stages.size());
  plan.stages.push_back(std::move(stage));
  plan.ranks[static_cast<size_t>(rank)].stages.push_back(index);
  return index;
}

plan::Program &PlanBuilder::addProgram(int64_t stage, Phase phase,
                                       std::vector<plan::Op> ops) {
  plan::Program program;
  program.phase = phase;
  if (phase != Phase::weight_grad)
    program.inputs = {phase == Phase::forward ? kInput : kOutputGrad};
  for (size_t i = 0; i < ops.size(); ++i)
    ops[i].name = std::string(name(phase)) + "." + std::to_string(i);
  program.ops = std::move(ops);
  auto &programs = plan.stages[static_cast<size_t>(stage)].programs;
  programs.push_back(std::move(program));
  return programs.back();
}

plan::Step &PlanBuilder::add(StepKind kind, int64_t stage, int64_t microbatch,
                             Phase phase, int64_t value, int64_t peer) {
  plan::Step step;
  step.kind = kind;
  step.stage = stage;
  step.microbatch = microbatch;
  step.phase = phase;
  step.value = value;
  step.peer = peer;
  auto rank = static_cast<size_t>(plan.stages[static_cast<size_t>(stage)].rank);
  plan.ranks[rank].steps.push_back(step);
  return plan.ranks[rank].steps.back();
}

plan::Step &PlanBuilder::load(int64_t stage, int64_t microbatch) {
  return add(StepKind::load, stage, microbatch, Phase::forward, kOther, -1);
}

plan::Step &PlanBuilder::run(int64_t stage, int64_t microbatch, Phase phase) {
  return add(StepKind::run, stage, microbatch, phase, -1, -1);
}

plan::Step &PlanBuilder::send(int64_t stage, int64_t microbatch, Phase phase,
                              int64_t peer) {
  return add(StepKind::send, stage, microbatch, phase,
             phase == Phase::forward ? kOutput : kInputGrad, peer);
}

plan::Step &PlanBuilder::receive(int64_t stage, int64_t microbatch, Phase phase,
                                 int64_t peer) {
  return add(StepKind::receive, stage, microbatch, phase,
             phase == Phase::forward ? kInput : kOutputGrad, peer);
}

plan::Step &PlanBuilder::waitSend(int64_t stage, int64_t microbatch,
                                  Phase phase, int64_t peer) {
  return add(StepKind::wait_send, stage, microbatch, phase,
             phase == Phase::forward ? kOutput : kInputGrad, peer);
}

plan::Step &PlanBuilder::overlap(int64_t rank, int64_t overlap,
                                 int64_t microbatch, int64_t secondMicrobatch) {
  const plan::Overlap::Member &first =
      plan.ranks[static_cast<size_t>(rank)]
          .overlaps[static_cast<size_t>(overlap)]
          .members[0];
  plan::Step &step =
      add(StepKind::overlap, first.stage, microbatch, first.phase, -1, -1);
  step.overlap = overlap;
  step.secondMicrobatch = secondMicrobatch;
  return step;
}

void PlanBuilder::finish(int64_t rank) {
  for (StepKind kind : {StepKind::reduce_gradients, StepKind::update}) {
    plan::Step step;
    step.kind = kind;
    plan.ranks[static_cast<size_t>(rank)].steps.push_back(step);
  }
}

namespace {

/// Executes a random order of actions without regard to time, writing down the
/// steps; any order made like that can be executed.
class AnyPlan {
public:
  explicit AnyPlan(unsigned seed)
      : random(seed), builder(static_cast<size_t>(1 + number(4))) {}

  plan::Plan make() {
    makeStages();
    microbatches = 1 + number(4);
    while (true) {
      std::vector<Action> possible = possibleActions();
      if (possible.empty())
        break;
      Action first = possible[pick(possible.size())];
      std::vector<Action> partners;
      for (const Action &other : possible)
        if (other.stage != first.stage &&
            rankOf(other.stage) == rankOf(first.stage) &&
            (first.phase == Phase::forward) !=
                (other.phase == Phase::forward) &&
            other.phase != Phase::weight_grad &&
            first.phase != Phase::weight_grad)
          partners.push_back(other);
      if (!partners.empty() && number(2) == 0)
        runTogether(first, partners[pick(partners.size())]);
      else
        runAlone(first);
      postSomeReceives();
    }
    for (size_t rank = 0; rank < builder.plan.ranks.size(); ++rank)
      waitForTaken(static_cast<int64_t>(rank), true);
    for (plan::Rank &rank : builder.plan.ranks) {
      builder.finish(rank.rank);
      rank.reduceGradientsNs = number(500);
      rank.updateNs = number(500);
      for (plan::Step &step : rank.steps)
        step.live = someBytes();
    }
    plan::Machine &machine = builder.plan.machine;
    machine.linkLatencyNs = number(3) ? number(200) : 0;
    machine.linkBytesPerSecond = number(4) ? 1e9 * (1 + number(10)) : 0;
    machine.localBytesPerSecond = number(2) ? 2e10 : 0;
    // Both directions together: at full speed, at half of it and at three
    // quarters, without limit.
    machine.toHostBytesPerSecond = 4e10;
    machine.toDeviceBytesPerSecond = 2e10 * (1 + number(2));
    machine.hostCombinedBytesPerSecond = 2e10 * number(5);
    machine.flopsPerSecond = 1e12;
    builder.plan.prediction.modelFlops = 1e6;
    return std::move(builder.plan);
  }

private:
  struct Action {
    int64_t stage;
    int64_t microbatch;
    Phase phase;
    bool operator==(const Action &) const = default;
  };
  struct Sent {
    Action of; ///< what sends it
    int64_t from, to;
    bool isPosted = false; ///< the receive
    bool isWaited = false;
  };

  int64_t number(int64_t below) {
    return static_cast<int64_t>(random() % static_cast<uint64_t>(below));
  }
  size_t pick(size_t count) { return random() % count; }
  int64_t rankOf(int64_t stage) {
    return builder.plan.stages[static_cast<size_t>(stage)].rank;
  }

  plan::ByteCounts someBytes() {
    plan::ByteCounts bytes;
    bytes[plan::MemoryClass::saved] = number(100) * 256;
    bytes[plan::MemoryClass::transient] = number(100) * 256;
    return bytes;
  }

  std::vector<plan::Op> someOps() {
    std::vector<plan::Op> ops;
    auto count = 1 + number(8);
    for (int64_t i = 0; i < count; ++i) {
      std::vector<int64_t> waits;
      if (i > 0 && number(2))
        waits.push_back(number(i));
      ops.push_back(makeOp(number(5) ? number(300) : 0,
                           number(3) ? Stream::compute
                                     : static_cast<Stream>(1 + number(3)),
                           waits));
      ops.back().live = someBytes();
    }
    return ops;
  }

  void makeStages() {
    auto ranks = static_cast<int64_t>(builder.plan.ranks.size());
    int64_t stages = ranks * (1 + number(3));
    isSplit = number(2) == 0;
    for (int64_t i = 0; i < stages; ++i) {
      // Around in a loop, in a V, or anywhere.
      int64_t pass = i / ranks, place = i % ranks;
      int64_t rank = seedOfPlacement == 0 ? place
                     : seedOfPlacement == 1
                         ? (pass % 2 ? ranks - 1 - place : place)
                         : number(ranks);
      int64_t stage = builder.addStage(rank, 1000);
      builder.addProgram(stage, Phase::forward, someOps());
      if (isSplit) {
        builder.addProgram(stage, Phase::backward_input, someOps());
        builder.addProgram(stage, Phase::weight_grad, someOps());
      } else {
        builder.addProgram(stage, Phase::backward, someOps());
      }
    }
  }

  bool isDone(int64_t stage, int64_t microbatch, Phase phase) const {
    return std::find(done.begin(), done.end(),
                     Action{stage, microbatch, phase}) != done.end();
  }

  std::vector<Action> possibleActions() {
    auto stages = static_cast<int64_t>(builder.plan.stages.size());
    Phase backward = isSplit ? Phase::backward_input : Phase::backward;
    std::vector<Action> possible;
    for (int64_t m = 0; m < microbatches; ++m)
      for (int64_t s = 0; s < stages; ++s) {
        if (!isDone(s, m, Phase::forward)) {
          if (s == 0 || isDone(s - 1, m, Phase::forward))
            possible.push_back({s, m, Phase::forward});
        } else if (!isDone(s, m, backward)) {
          if (s == stages - 1 || isDone(s + 1, m, backward))
            possible.push_back({s, m, backward});
        } else if (isSplit && !isDone(s, m, Phase::weight_grad)) {
          possible.push_back({s, m, Phase::weight_grad});
        }
      }
    return possible;
  }

  /// The receive of a message; first those of all before it.
  void postReceive(size_t index) {
    for (size_t i = 0; i <= index; ++i) {
      Sent &sent = messages[i];
      if (sent.isPosted || sent.from != messages[index].from ||
          sent.to != messages[index].to)
        continue;
      bool isForward = sent.of.phase == Phase::forward;
      builder.receive(sent.of.stage + (isForward ? 1 : -1), sent.of.microbatch,
                      isForward ? Phase::forward : Phase::backward, sent.from);
      sent.isPosted = true;
    }
  }

  void postSomeReceives() {
    for (size_t i = 0; i < messages.size(); ++i)
      if (!messages[i].isPosted && number(4) == 0)
        postReceive(i);
  }

  void waitForTaken(int64_t rank, bool all) {
    for (Sent &sent : messages) {
      if (sent.isWaited || !sent.isPosted || sent.from != rank ||
          (!all && number(3)))
        continue;
      bool isForward = sent.of.phase == Phase::forward;
      builder.waitSend(sent.of.stage, sent.of.microbatch,
                       isForward ? Phase::forward : Phase::backward, sent.to);
      sent.isWaited = true;
    }
  }

  void before(const Action &action) {
    bool isForward = action.phase == Phase::forward;
    for (size_t i = 0; i < messages.size(); ++i) {
      const Action &of = messages[i].of;
      if (of.microbatch == action.microbatch &&
          (of.phase == Phase::forward) == isForward &&
          action.phase != Phase::weight_grad &&
          of.stage == action.stage + (isForward ? -1 : 1))
        postReceive(i);
    }
    waitForTaken(rankOf(action.stage), false);
    if (number(4) == 0)
      builder.load(action.stage, action.microbatch);
  }

  void after(const Action &action) {
    done.push_back(action);
    if (action.phase == Phase::weight_grad)
      return;
    bool isForward = action.phase == Phase::forward;
    int64_t next = action.stage + (isForward ? 1 : -1);
    if (next < 0 || next >= static_cast<int64_t>(builder.plan.stages.size()))
      return;
    int64_t from = rankOf(action.stage), to = rankOf(next);
    builder.send(action.stage, action.microbatch,
                 isForward ? Phase::forward : Phase::backward, to);
    messages.push_back({action, from, to});
  }

  void runAlone(const Action &action) {
    before(action);
    builder.run(action.stage, action.microbatch, action.phase);
    after(action);
  }

  void runTogether(Action first, Action second) {
    if (first.phase != Phase::forward)
      std::swap(first, second);
    int64_t rank = rankOf(first.stage);
    plan::Overlap overlap;
    overlap.members = {
        {{first.stage, first.phase}, {second.stage, second.phase}}};
    std::vector<std::pair<int64_t, Stream>> issued; // member, stream
    std::array<const plan::Program *, 2> programs{};
    for (size_t m = 0; m < 2; ++m)
      for (const plan::Program &program :
           builder.plan.stages[static_cast<size_t>(overlap.members[m].stage)]
               .programs)
        if (program.phase == overlap.members[m].phase)
          programs[m] = &program;
    std::array<size_t, 2> next{};
    while (next[0] < programs[0]->ops.size() ||
           next[1] < programs[1]->ops.size()) {
      size_t member = pick(2);
      if (next[member] == programs[member]->ops.size())
        member = 1 - member;
      Stream stream = programs[member]->ops[next[member]++].stream;
      auto position = static_cast<int64_t>(issued.size());
      for (int64_t on = 0; on < position; ++on) {
        auto [other, otherStream] = issued[static_cast<size_t>(on)];
        if (other != static_cast<int64_t>(member) && otherStream != stream &&
            number(6) == 0)
          overlap.waits.push_back({position, on});
      }
      issued.emplace_back(member, stream);
      overlap.order.push_back(static_cast<int64_t>(member));
      overlap.live.push_back(someBytes());
    }
    auto &overlaps = builder.plan.ranks[static_cast<size_t>(rank)].overlaps;
    overlaps.push_back(std::move(overlap));
    before(first);
    before(second);
    builder.overlap(rank, static_cast<int64_t>(overlaps.size()) - 1,
                    first.microbatch, second.microbatch);
    after(first);
    after(second);
  }

  std::mt19937 random;
  PlanBuilder builder;
  int64_t microbatches = 1;
  bool isSplit = false;
  int64_t seedOfPlacement = number(3);
  std::vector<Action> done;
  std::vector<Sent> messages; ///< in the order of the sends
};

} // namespace

plan::Plan makeAnyPlan(unsigned seed) { return AnyPlan(seed).make(); }

} // namespace moe

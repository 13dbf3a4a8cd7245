//===- RandomPlan.cpp - valid plans for property tests --------------------===//

#include "RandomPlan.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <set>
#include <tuple>

namespace moe::plan {
namespace {

int64_t alignedSize(const Value &value) {
  int64_t bytes = byteSize(value.dtype);
  for (int64_t dimension : value.shape)
    bytes *= dimension;
  return alignUp(bytes);
}

/// The values that a stage exchanges with its neighbours or the data set; -1
/// where there is none.
struct Ports {
  ValueIndex tokens = -1, labels = -1, loss = -1;
  ValueIndex in = -1, out = -1, gradientIn = -1, gradientOut = -1;
};

class Generator {
public:
  explicit Generator(unsigned seed) : random(seed) {}

  Plan run() {
    makeHeader();
    for (int64_t s = 0; s < stageCount; ++s)
      makeStage(s);
    placeRanks();
    account.assign(plan.ranks.size(), {});
    makeSteps();
    for (size_t r = 0; r < plan.ranks.size(); ++r)
      finishRank(static_cast<int64_t>(r));
    plan.prediction.fits = chance();
    int64_t largest = 0;
    for (const Rank &rank : plan.ranks)
      largest = std::max(largest, rank.arenaBytes);
    plan.machine.budgetBytes = plan.machine.reserveBytes + largest -
                               (plan.prediction.fits ? 0 : 1 + draw(1000));
    return std::move(plan);
  }

private:
  int64_t draw(int64_t bound) {
    return static_cast<int64_t>(random() % static_cast<uint64_t>(bound));
  }
  bool chance() { return draw(2) == 0; }
  double drawReal() {
    double sign = chance() ? 1 : -1;
    return sign * std::ldexp(static_cast<double>(random()), draw(60) - 50);
  }
  std::string drawText() {
    static const char *const kTexts[] = {
        "",         "plain", "with \"quotes\" and \\", "line\nbreak\ttab",
        "\xC3\xA9", "/",     "\x01\x1F control",       "\xF0\x9F\x8C\x8A"};
    return kTexts[draw(8)];
  }

  void makeHeader() {
    plan.generator = "random " + drawText();
    plan.model = {"m" + drawText(),
                  drawText(),
                  {"hidden=8"},
                  draw(10),
                  draw(100),
                  draw(100),
                  (int64_t(1) << 53) - draw(5),
                  draw(1000)};
    plan.machine = {drawText(), draw(1 << 30), 1000 + draw(1 << 20), 0};
    int64_t rankCount = 1 + draw(3);
    stageCount = rankCount * (1 + draw(2));
    plan.layout.pipeline = rankCount;
    plan.layout.microbatches = 1 + draw(4);
    plan.layout.expert = 1 + draw(8);
    plan.schedule = chance() ? "gpipe" : "1f1b";
    plan.dtype = chance() ? DType::bf16 : DType::f32;
    plan.capacityFactor = std::abs(drawReal());
    plan.imbalance = std::abs(drawReal());
    for (int64_t i = draw(3); i > 0; --i)
      plan.assumptions.push_back({"a" + drawText(), drawText(), drawText()});
    plan.prediction.stepNs = draw(int64_t(1) << 31);
    plan.prediction.bubble = static_cast<double>(random()) / 4294967296.0;
    hasWeightGrad = chance();
    plan.ranks.resize(rankCount);
    for (int64_t r = 0; r < rankCount; ++r)
      plan.ranks[r].rank = r;
    ports.resize(stageCount);
  }

  ValueIndex addValue(Stage &stage, const std::string &name,
                      MemoryClass memoryClass, bool inSlot,
                      bool isBoundary = false) {
    Value value;
    value.name = name;
    value.memoryClass = memoryClass;
    value.placement = inSlot ? Placement::slot : Placement::fixed;
    if (isBoundary) {
      value.dtype = DType::bf16;
      value.shape = {4, 64};
    } else {
      value.dtype = static_cast<DType>(draw(4));
      for (int64_t i = 1 + draw(3); i > 0; --i)
        value.shape.push_back(1 + draw(8));
    }
    value.bytes = alignedSize(value);
    stage.values.push_back(value);
    return static_cast<ValueIndex>(stage.values.size()) - 1;
  }

  ValueIndex addTokens(Stage &stage, const char *name, bool inSlot) {
    ValueIndex index = addValue(stage, name, MemoryClass::saved, inSlot);
    stage.values[index].dtype = DType::i32;
    stage.values[index].shape = {5};
    stage.values[index].bytes = kAlignment;
    return index;
  }

  Op makeOp(Stage &stage, Program &program) {
    static const char *const kKinds[] = {"linear", "add", "rms_norm"};
    Op op;
    op.kind = kKinds[draw(3)];
    op.name = "op" + std::to_string(program.ops.size()) + "." +
              std::string(name(program.phase));
    if (!stage.parameters.empty() && chance())
      op.parameters = {draw(stage.parameters.size()), -1};
    if (chance())
      op.attributes = {{"real", drawReal()},
                       {"whole", 3.0},
                       {"count", draw(9) - 4},
                       {"flag", chance()},
                       {"text", drawText()},
                       {"none", std::vector<int64_t>()},
                       {"list", std::vector<int64_t>{1, -2, draw(9)}}};
    op.stream = chance() ? Stream::compute : Stream::expert_communication;
    if (draw(3) == 0) {
      op.scratchBytes = kAlignment * (1 + draw(3));
      op.scratchClass =
          chance() ? MemoryClass::workspace : MemoryClass::expert_communication;
    }
    op.timeNs = draw(1000);
    return op;
  }

  void makeParameters(Stage &stage) {
    for (int64_t i = draw(4); i > 0; --i) {
      Parameter parameter;
      parameter.name = stage.name + ".p" + std::to_string(i);
      parameter.dtype = static_cast<DType>(draw(3));
      parameter.shape = {1 + draw(20), 1 + draw(20)};
      parameter.replication =
          chance() ? Replication::dense : Replication::expert;
      parameter.trainable = draw(4) != 0;
      parameter.decay = chance();
      static const char *const kKinds[] = {"normal", "zeros", "ones"};
      parameter.initializer = {kKinds[draw(3)], std::abs(drawReal())};
      stage.parameters.push_back(parameter);
    }
  }

  /// Moves `candidates` to the releases of the op that uses them last.
  static void releaseAfterLastUse(Program &program,
                                  const std::vector<ValueIndex> &candidates) {
    for (ValueIndex value : candidates)
      for (size_t i = program.ops.size(); i-- > 0;) {
        Op &op = program.ops[i];
        auto has = [&](const std::vector<ValueIndex> &list) {
          return std::find(list.begin(), list.end(), value) != list.end();
        };
        if (has(op.inputs) || has(op.outputs)) {
          op.releases.push_back(value);
          break;
        }
      }
  }

  void makeStage(int64_t s) {
    plan.stages.emplace_back();
    Stage &stage = plan.stages.back();
    Ports &port = ports[s];
    stage.name = "s" + std::to_string(s);
    stage.rank = s % static_cast<int64_t>(plan.ranks.size());
    plan.ranks[stage.rank].stages.push_back(s);
    stage.blocks = {"block"};
    makeParameters(stage);
    bool isFirst = s == 0;
    bool isLast = s == stageCount - 1;
    // Forward.
    Program forward;
    std::vector<ValueIndex> kept, transients;
    bool keepsInput = chance();
    ValueIndex input = isFirst
                           ? addTokens(stage, "tokens", keepsInput || chance())
                           : addValue(stage, "in", MemoryClass::receive,
                                      keepsInput || chance(), true);
    (isFirst ? port.tokens : port.in) = input;
    forward.inputs.push_back(input);
    (keepsInput ? kept : transients).push_back(input);
    if (isLast) {
      port.labels = addTokens(stage, "labels", true);
      forward.inputs.push_back(port.labels);
      kept.push_back(port.labels);
    }
    std::vector<ValueIndex> known = forward.inputs;
    for (int64_t i = draw(5); i >= 0; --i) {
      Op op = makeOp(stage, forward);
      op.inputs = {known.back(), known[draw(known.size())], input};
      if (chance())
        op.inputs.push_back(-1);
      bool isSaved = chance();
      ValueIndex made = addValue(
          stage, "v" + std::to_string(stage.values.size()),
          isSaved ? MemoryClass::saved : MemoryClass::transient, isSaved);
      (isSaved ? kept : transients).push_back(made);
      op.outputs = {made, -1};
      known.push_back(made);
      forward.ops.push_back(op);
    }
    Op last = makeOp(stage, forward);
    last.inputs = {known.back()};
    if (isLast) {
      port.loss = addValue(stage, "loss", MemoryClass::transient, false);
      stage.values[port.loss].dtype = DType::f32;
      stage.values[port.loss].shape = {1};
      stage.values[port.loss].bytes = kAlignment;
      last.outputs = {port.loss};
    } else {
      port.out = addValue(stage, "out", MemoryClass::send, chance(), true);
      last.outputs = {port.out};
    }
    forward.ops.push_back(last);
    releaseAfterLastUse(forward, transients);
    forward.outputs = last.outputs;
    for (ValueIndex value : kept)
      if (value >= static_cast<ValueIndex>(forward.inputs.size()))
        forward.outputs.push_back(value);

    // Backward uses all that was kept; some of it is released only by the
    // weight gradients.
    Program backward;
    backward.phase = Phase::backward;
    Program weightGrad;
    weightGrad.phase = Phase::weight_grad;
    backward.inputs = kept;
    std::vector<ValueIndex> done;
    if (!isLast) {
      port.gradientIn =
          addValue(stage, "d_out", MemoryClass::receive, chance(), true);
      backward.inputs.push_back(port.gradientIn);
      done.push_back(port.gradientIn);
    }
    ValueIndex gradient = port.gradientIn;
    for (size_t i = kept.size(); i-- > 0;) {
      Op op = makeOp(stage, backward);
      op.inputs = {gradient, kept[i]};
      gradient = addValue(stage, "d" + std::to_string(stage.values.size()),
                          MemoryClass::transient, false);
      op.outputs = {gradient};
      backward.ops.push_back(op);
      done.push_back(gradient);
      if (hasWeightGrad && chance())
        weightGrad.inputs.push_back(kept[i]);
      else
        done.push_back(kept[i]);
    }
    Op final = makeOp(stage, backward);
    final.inputs = {gradient};
    if (!isFirst) {
      port.gradientOut =
          addValue(stage, "d_in", MemoryClass::send, chance(), true);
      final.outputs = {port.gradientOut};
    }
    backward.ops.push_back(final);
    releaseAfterLastUse(backward, done);
    backward.outputs = final.outputs;
    for (ValueIndex value : weightGrad.inputs) {
      if (chance()) // an input that stays may be listed
        backward.outputs.push_back(value);
      Op op = makeOp(stage, weightGrad);
      op.inputs = {value};
      op.releases = {value};
      weightGrad.ops.push_back(op);
    }
    stage.programs = {forward, backward};
    if (hasWeightGrad)
      stage.programs.push_back(weightGrad);
  }

  /// Gives every buffer its bytes: persistent ones, slots and values of many
  /// programs side by side; transients of all programs of a rank share a
  /// region, first fit.
  void placeRanks() {
    for (Rank &rank : plan.ranks) {
      int64_t next = 0;
      auto take = [&](int64_t bytes) {
        next += kAlignment * draw(2);
        int64_t offset = next;
        next += alignUp(bytes);
        return offset;
      };
      for (int64_t s : rank.stages) {
        Stage &stage = plan.stages[s];
        for (Parameter &parameter : stage.parameters)
          placeParameter(rank, parameter, take);
        int64_t slotBytes = 0;
        for (Value &value : stage.values)
          if (value.placement == Placement::slot) {
            value.offset = slotBytes;
            slotBytes += value.bytes;
          } else if (value.memoryClass != MemoryClass::transient) {
            value.offset = take(value.bytes);
          }
        for (int64_t i = 0; i < plan.layout.microbatches; ++i)
          stage.slots.push_back(take(slotBytes));
        if (ports[s].loss != -1) // outlives its program
          stage.values[ports[s].loss].offset = take(kAlignment);
      }
      int64_t end = next;
      for (int64_t s : rank.stages)
        for (Program &program : plan.stages[s].programs)
          placeTransients(plan.stages[s], ports[s].loss, program, next, end);
      rank.arenaBytes = end + kAlignment * draw(3);
    }
  }

  template <typename Take>
  void placeParameter(Rank &rank, Parameter &parameter, Take &&take) {
    int64_t elements = parameter.shape[0] * parameter.shape[1];
    int64_t wide = parameter.dtype == DType::f64 ? 8 : 4;
    auto place = [&](int64_t &offset, int64_t bytes, MemoryClass memoryClass) {
      offset = take(bytes);
      rank.persistent[memoryClass] += alignUp(bytes);
    };
    place(parameter.weightOffset, elements * byteSize(parameter.dtype),
          MemoryClass::parameters);
    if (!parameter.trainable)
      return;
    place(parameter.gradientOffset, elements * wide, MemoryClass::gradients);
    if (parameter.dtype == DType::bf16)
      place(parameter.masterOffset, elements * 4, MemoryClass::optimizer);
    place(parameter.firstMomentOffset, elements * wide, MemoryClass::optimizer);
    place(parameter.secondMomentOffset, elements * wide,
          MemoryClass::optimizer);
  }

  void placeTransients(Stage &stage, ValueIndex loss, Program &program,
                       int64_t begin, int64_t &end) {
    std::map<int64_t, int64_t> taken; // begin to end
    auto firstFit = [&](int64_t bytes) {
      int64_t offset = begin;
      for (auto [from, to] : taken) {
        if (offset + bytes <= from)
          break;
        offset = to;
      }
      taken[offset] = offset + bytes;
      end = std::max(end, offset + bytes);
      return offset;
    };
    auto isShared = [&](ValueIndex value) {
      return value != -1 && value != loss &&
             stage.values[value].placement == Placement::fixed &&
             stage.values[value].memoryClass == MemoryClass::transient;
    };
    for (Op &op : program.ops) {
      for (ValueIndex value : op.outputs)
        if (isShared(value))
          stage.values[value].offset = firstFit(stage.values[value].bytes);
      if (op.scratchBytes > 0) {
        op.scratchOffset = firstFit(op.scratchBytes);
        taken.erase(op.scratchOffset);
      }
      for (ValueIndex value : op.releases)
        if (isShared(value))
          taken.erase(stage.values[value].offset);
    }
  }

  using Live = std::set<std::tuple<int64_t, ValueIndex, int64_t>>;

  ByteCounts countLive(int64_t rank) const {
    ByteCounts counts = plan.ranks[rank].persistent;
    for (auto [stage, value, microbatch] : account[rank])
      counts[plan.stages[stage].values[value].memoryClass] +=
          plan.stages[stage].values[value].bytes;
    return counts;
  }

  void notePeak(Rank &rank, const ByteCounts &live, const std::string &op) {
    if (rank.peakStep != -1 && live.total() <= rank.peak.total())
      return;
    rank.peak = live;
    rank.peakStep = static_cast<int64_t>(rank.steps.size()) - 1;
    rank.peakOp = op;
  }

  void addStep(StepKind kind, int64_t s, int64_t microbatch, Phase phase,
               ValueIndex value = -1, int64_t peer = -1,
               const char *role = "") {
    Stage &stage = plan.stages[s];
    Rank &rank = plan.ranks[stage.rank];
    Live &live = account[stage.rank];
    Step step;
    step.kind = kind;
    step.stage = s;
    step.microbatch = microbatch;
    step.slot = microbatch; // as many slots as microbatches
    step.phase = phase;
    step.value = value;
    step.peer = peer;
    step.role = role;
    step.live = countLive(stage.rank);
    rank.steps.push_back(step);
    if (kind == StepKind::load || kind == StepKind::receive)
      live.insert({s, value, microbatch});
    notePeak(rank, countLive(stage.rank), "");
    if (kind == StepKind::wait_send || kind == StepKind::collect_loss)
      live.erase({s, value, microbatch});
    if (kind != StepKind::run)
      return;
    for (Program &program : stage.programs) {
      if (program.phase != phase)
        continue;
      for (Op &op : program.ops) {
        for (ValueIndex output : op.outputs)
          if (output != -1)
            live.insert({s, output, microbatch});
        ByteCounts now = countLive(stage.rank);
        now[op.scratchClass] += op.scratchBytes;
        for (size_t c = 0; c < kMemoryClassCount; ++c)
          op.live.bytes[c] = now.bytes[c] - step.live.bytes[c];
        notePeak(rank, now, op.name);
        for (ValueIndex released : op.releases)
          live.erase({s, released, microbatch});
        rank.busyNs += op.timeNs;
      }
    }
  }

  /// Sends, and waits at once or after the next program on the rank.
  void addSend(int64_t s, int64_t microbatch, Phase phase, ValueIndex value,
               int64_t peer) {
    addStep(StepKind::send, s, microbatch, phase, value, peer);
    bool isLocal = plan.stages[s].rank == peer; // is received by a later step
    bool isInSlot = plan.stages[s].values[value].placement == Placement::slot;
    if (isLocal || (isInSlot && chance()))
      waits.push_back({s, microbatch, phase, value, peer});
    else
      addStep(StepKind::wait_send, s, microbatch, phase, value, peer);
  }

  struct Wait {
    int64_t stage, microbatch;
    Phase phase;
    ValueIndex value;
    int64_t peer;
  };

  void addWaits(int64_t rank) {
    std::vector<Wait> others;
    for (const Wait &wait : waits)
      if (plan.stages[wait.stage].rank == rank)
        addStep(StepKind::wait_send, wait.stage, wait.microbatch, wait.phase,
                wait.value, wait.peer);
      else
        others.push_back(wait);
    waits = others;
  }

  void makeSteps() {
    auto rankOf = [&](int64_t s) { return plan.stages[s].rank; };
    for (int64_t m = 0; m < plan.layout.microbatches; ++m)
      for (int64_t s = 0; s < stageCount; ++s) {
        const Ports &port = ports[s];
        Phase phase = Phase::forward;
        if (port.in != -1)
          addStep(StepKind::receive, s, m, phase, port.in, rankOf(s - 1));
        else
          addStep(StepKind::load, s, m, phase, port.tokens, -1, "tokens");
        if (port.labels != -1)
          addStep(StepKind::load, s, m, phase, port.labels, -1, "labels");
        addStep(StepKind::run, s, m, phase);
        addWaits(rankOf(s));
        if (port.out != -1)
          addSend(s, m, phase, port.out, rankOf(s + 1));
        else
          addStep(StepKind::collect_loss, s, m, phase, port.loss);
      }
    for (int64_t m = plan.layout.microbatches - 1; m >= 0; --m)
      for (int64_t s = stageCount - 1; s >= 0; --s) {
        const Ports &port = ports[s];
        Phase phase = Phase::backward;
        if (port.gradientIn != -1)
          addStep(StepKind::receive, s, m, phase, port.gradientIn,
                  rankOf(s + 1));
        addStep(StepKind::run, s, m, phase);
        addWaits(rankOf(s));
        if (port.gradientOut != -1)
          addSend(s, m, phase, port.gradientOut, rankOf(s - 1));
        if (hasWeightGrad)
          addStep(StepKind::run, s, m, Phase::weight_grad);
      }
    for (size_t r = 0; r < plan.ranks.size(); ++r)
      addWaits(static_cast<int64_t>(r));
  }

  void finishRank(int64_t index) {
    Rank &rank = plan.ranks[index];
    for (StepKind kind : {StepKind::reduce_gradients, StepKind::update}) {
      Step step;
      step.kind = kind;
      step.live = rank.persistent;
      rank.steps.push_back(step);
    }
  }

  std::mt19937 random;
  Plan plan;
  int64_t stageCount = 0;
  bool hasWeightGrad = false;
  std::vector<Ports> ports;
  std::vector<Live> account; ///< per rank
  std::vector<Wait> waits;   ///< sends that were not waited for
};

} // namespace

Plan makeRandomPlan(unsigned seed) { return Generator(seed).run(); }

} // namespace moe::plan

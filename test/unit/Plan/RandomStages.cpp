//===- RandomStages.cpp - the stages of a random plan ---------------------===//

#include "RandomStages.h"

#include <algorithm>
#include <cmath>

namespace moe::plan {

double Dice::drawReal() {
  double sign = chance() ? 1 : -1;
  double digits = static_cast<double>(random());
  return sign * std::ldexp(digits, static_cast<int>(draw(60)) - 50);
}

std::string Dice::drawText() {
  static const char *const kTexts[] = {
      "",         "plain", "with \"quotes\" and \\", "line\nbreak\ttab",
      "\xC3\xA9", "/",     "\x01\x1F control",       "\xF0\x9F\x8C\x8A"};
  return kTexts[draw(8)];
}

namespace {

int64_t alignedSize(const Value &value) {
  int64_t bytes = byteSize(value.dtype);
  for (int64_t dimension : value.shape)
    bytes *= dimension;
  return alignUp(bytes);
}

class StageMaker {
public:
  StageMaker(Plan &plan, const Outline &outline, Dice &dice)
      : plan(plan), outline(outline), dice(dice) {}

  Ports make(int64_t s) {
    plan.stages.emplace_back();
    stage = &plan.stages.back();
    port = Ports();
    stage->name = "s" + std::to_string(s);
    stage->rank = outline.rankOf[s];
    plan.ranks[stage->rank].stages.push_back(s);
    stage->blocks = {"block"};
    if (s < outline.depth)
      makeParameters(s);
    else
      copyParameters(plan.stages[s - outline.depth]);
    isFirst = outline.isFirst(s);
    isLast = outline.isLast(s);
    std::vector<ValueIndex> kept = makeForward();
    if (outline.isForwardOnly)
      return port;
    // A stage that many microbatches run through may treat them differently.
    bool hasMany = outline.microbatches / outline.replicas > 1;
    int64_t kind = dice.draw(hasMany ? 3 : 2);
    if (kind != 0)
      port.gradientOut = makeBackward(Phase::backward, kept);
    if (kind != 1)
      port.gradientOutOfHalf = makeBackward(Phase::backward_input, kept);
    return port;
  }

private:
  ValueIndex addValue(const std::string &name, MemoryClass memoryClass,
                      bool isInSlot, bool isBoundary = false) {
    Value value;
    value.name = name;
    value.memoryClass = memoryClass;
    value.placement = isInSlot ? Placement::slot : Placement::fixed;
    if (isBoundary) {
      value.dtype = DType::bf16;
      value.shape = {4, 64};
    } else {
      value.dtype = static_cast<DType>(dice.draw(4));
      for (int64_t i = 1 + dice.draw(3); i > 0; --i)
        value.shape.push_back(1 + dice.draw(8));
    }
    value.bytes = alignedSize(value);
    stage->values.push_back(value);
    return static_cast<ValueIndex>(stage->values.size()) - 1;
  }

  ValueIndex addShortLived(const char *prefix) {
    return addValue(prefix + std::to_string(stage->values.size()),
                    dice.chance() ? MemoryClass::transient
                                  : MemoryClass::expert_communication,
                    false);
  }

  /// A value with the shape of another one.
  ValueIndex addCopy(ValueIndex of, const char *suffix, MemoryClass memoryClass,
                     bool isInSlot) {
    Value copy = stage->values[of];
    copy.name += suffix + std::to_string(stage->values.size());
    copy.memoryClass = memoryClass;
    copy.placement = isInSlot ? Placement::slot : Placement::fixed;
    stage->values.push_back(copy);
    return static_cast<ValueIndex>(stage->values.size()) - 1;
  }

  Op makeCopy(const Program &program, ValueIndex from, ValueIndex to) {
    bool isOut = stage->values[to].isOnHost();
    Op op;
    op.kind = isOut ? "offload" : "reload";
    op.name =
        op.kind + std::to_string(to) + "." + std::string(name(program.phase));
    op.inputs = {from};
    op.outputs = {to};
    op.stream = isOut ? Stream::copy_out : Stream::copy_in;
    op.timeNs = dice.draw(1000);
    return op;
  }

  /// Copies what is kept to the host, here and there, anywhere behind the op
  /// that makes it.
  void offload(Program &forward, std::vector<ValueIndex> &kept,
               std::vector<ValueIndex> &released) {
    for (ValueIndex &value : kept) {
      if (value == port.labels || dice.draw(3) != 0)
        continue;
      ValueIndex host = addCopy(value, ".host", MemoryClass::host, true);
      size_t first = 0;
      for (size_t i = 0; i < forward.ops.size(); ++i)
        for (ValueIndex output : forward.ops[i].outputs)
          if (output == value)
            first = i + 1;
      auto at =
          forward.ops.begin() +
          static_cast<int64_t>(first + static_cast<size_t>(dice.draw(
                                           forward.ops.size() - first + 1)));
      forward.ops.insert(at, makeCopy(forward, value, host));
      released.push_back(value);
      value = host;
    }
  }

  /// A kept value as ops of `program` can read it: what lies on the host is
  /// copied back by an op anywhere before the next one.
  ValueIndex onDevice(Program &program, ValueIndex value,
                      std::vector<ValueIndex> &released) {
    if (!stage->values[value].isOnHost())
      return value;
    ValueIndex back =
        addCopy(value, ".back",
                dice.chance() ? MemoryClass::transient : MemoryClass::saved,
                dice.draw(4) == 0);
    auto at = program.ops.begin() + dice.draw(program.ops.size() + 1);
    program.ops.insert(at, makeCopy(program, value, back));
    released.push_back(back);
    return back;
  }

  /// A value in the bytes of another.
  ValueIndex addOverwriter(ValueIndex overwritten) {
    Value value = stage->values[overwritten];
    auto index = static_cast<ValueIndex>(stage->values.size());
    value.name = "over" + std::to_string(index);
    value.memoryClass =
        dice.chance() ? MemoryClass::transient : MemoryClass::saved;
    value.overwrites = overwritten;
    stage->values.push_back(value);
    return index;
  }

  ValueIndex addTokens(const char *name, bool isInSlot) {
    ValueIndex index = addValue(name, MemoryClass::saved, isInSlot);
    stage->values[index].dtype = DType::i32;
    stage->values[index].shape = {5};
    stage->values[index].bytes = kAlignment;
    return index;
  }

  Op makeOp(const Program &program) {
    static const char *const kKinds[] = {"linear", "add", "rms_norm",
                                         "linear_weight_grad"};
    Op op;
    op.kind = kKinds[dice.draw(program.phase == Phase::forward ? 3 : 4)];
    op.name = "op" + std::to_string(program.ops.size()) + "." +
              std::string(name(program.phase));
    if (!stage->parameters.empty() && dice.chance())
      op.parameters = {dice.draw(stage->parameters.size()), -1};
    if (dice.chance())
      op.attributes = {{"real", dice.drawReal()},
                       {"whole", 3.0},
                       {"count", dice.draw(9) - 4},
                       {"flag", dice.chance()},
                       {"text", dice.drawText()},
                       {"none", std::vector<int64_t>()},
                       {"list", std::vector<int64_t>{1, -2, dice.draw(9)}}};
    op.stream = dice.chance() ? Stream::compute : Stream::expert_communication;
    if (dice.draw(3) == 0) {
      op.scratchBytes = kAlignment * (1 + dice.draw(3));
      op.scratchClass = dice.chance() ? MemoryClass::workspace
                                      : MemoryClass::expert_communication;
    }
    op.timeNs = dice.draw(1000);
    return op;
  }

  /// Some of them copies of what a stage before has, on whatever rank.
  void makeParameters(int64_t s) {
    for (int64_t i = dice.draw(4); i > 0; --i) {
      Parameter parameter;
      parameter.name = stage->name + ".p" + std::to_string(i);
      parameter.dtype = static_cast<DType>(dice.draw(3));
      parameter.shape = {1 + dice.draw(20), 1 + dice.draw(20)};
      parameter.replication =
          dice.chance() ? Replication::dense : Replication::expert;
      parameter.trainable = dice.draw(4) != 0;
      parameter.decay = dice.chance();
      static const char *const kKinds[] = {"normal", "zeros", "ones"};
      parameter.initializer = {kKinds[dice.draw(3)], std::abs(dice.drawReal())};
      stage->parameters.push_back(parameter);
    }
    if (s > 0 && dice.draw(4) == 0)
      for (const Parameter &original : plan.stages[dice.draw(s)].parameters)
        copyParameter(original, ".of." + stage->name);
  }

  void copyParameters(const Stage &original) {
    for (const Parameter &parameter : original.parameters)
      copyParameter(parameter, ".copy");
  }

  void copyParameter(Parameter parameter, const std::string &suffix) {
    if (parameter.tiedTo.empty())
      parameter.tiedTo = parameter.name;
    parameter.name += suffix;
    stage->parameters.push_back(parameter);
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

  /// Returns what is kept for the gradients.
  std::vector<ValueIndex> makeForward() {
    Program forward;
    std::vector<ValueIndex> kept, released;
    auto keep = [&](ValueIndex value, bool isKept) {
      (isKept && !outline.isForwardOnly ? kept : released).push_back(value);
    };
    bool keepsInput = dice.chance();
    ValueIndex input = isFirst
                           ? addTokens("tokens", keepsInput || dice.chance())
                           : addValue("in", MemoryClass::receive,
                                      keepsInput || dice.chance(), true);
    (isFirst ? port.tokens : port.in) = input;
    forward.inputs.push_back(input);
    keep(input, keepsInput);
    if (isLast) {
      port.labels = addTokens("labels", true);
      forward.inputs.push_back(port.labels);
      keep(port.labels, true);
    }
    std::vector<ValueIndex> known = forward.inputs;
    for (int64_t i = dice.draw(5); i >= 0; --i) {
      Op op = makeOp(forward);
      op.inputs = {known.back(), known[dice.draw(known.size())], input};
      if (dice.chance())
        op.inputs.push_back(-1);
      bool isSaved = dice.chance();
      ValueIndex made =
          isSaved ? addValue("v" + std::to_string(stage->values.size()),
                             MemoryClass::saved, true)
                  : addShortLived("t");
      keep(made, isSaved);
      op.outputs = {made, -1};
      known.push_back(made);
      forward.ops.push_back(op);
    }
    Op last = makeOp(forward);
    last.inputs = {known.back(), port.labels};
    if (isLast) {
      port.loss = addValue("loss", MemoryClass::transient, false);
      stage->values[port.loss].dtype = DType::f32;
      stage->values[port.loss].shape = {1};
      stage->values[port.loss].bytes = kAlignment;
      last.outputs = {port.loss};
    } else {
      port.out = addValue("out", MemoryClass::send, dice.chance(), true);
      last.outputs = {port.out};
    }
    forward.ops.push_back(last);
    offload(forward, kept, released);
    releaseAfterLastUse(forward, released);
    forward.outputs = last.outputs;
    for (ValueIndex value : kept)
      if (value >= static_cast<ValueIndex>(forward.inputs.size()))
        forward.outputs.push_back(value);
    stage->programs.push_back(forward);
    return kept;
  }

  /// Adds the program, and the one for weights where this is a half. It uses
  /// all that was kept; a half leaves some of it, and something new, to the
  /// other. Returns the gradient that leaves the stage.
  ValueIndex makeBackward(Phase phase, const std::vector<ValueIndex> &kept) {
    Program backward, weightGrad;
    backward.phase = phase;
    weightGrad.phase = Phase::weight_grad;
    bool isHalf = phase == Phase::backward_input;
    std::string suffix = isHalf ? ".half" : "";
    backward.inputs = kept;
    std::vector<ValueIndex> released;
    if (!isLast) {
      if (port.gradientIn == -1)
        port.gradientIn =
            addValue("d_out", MemoryClass::receive, dice.chance(), true);
      backward.inputs.push_back(port.gradientIn);
      released.push_back(port.gradientIn);
    }
    ValueIndex gradient = port.gradientIn;
    for (size_t i = kept.size(); i-- > 0;) {
      Op op = makeOp(backward);
      op.inputs = {gradient, onDevice(backward, kept[i], released)};
      // Over the gradient, over what it reads, or into bytes of its own.
      ValueIndex overwritten = op.inputs[dice.draw(2)];
      bool isOver =
          dice.draw(3) == 0 && overwritten != -1 &&
          (overwritten == kept[i] || std::erase(released, overwritten) == 1);
      bool isLeft =
          isHalf && dice.draw(3) == 0 &&
          (!isOver || stage->values[overwritten].placement == Placement::slot);
      if (isOver)
        gradient = addOverwriter(overwritten);
      else
        gradient = isLeft ? addValue("g" + std::to_string(stage->values.size()),
                                     MemoryClass::saved, true)
                          : addShortLived("d");
      op.outputs = {gradient};
      backward.ops.push_back(op);
      (isLeft ? weightGrad.inputs : released).push_back(gradient);
      if (!isOver || overwritten != kept[i])
        (isHalf && dice.chance() ? weightGrad.inputs : released)
            .push_back(kept[i]);
    }
    Op last = makeOp(backward);
    last.inputs = {gradient};
    ValueIndex leaving = -1;
    if (!isFirst) {
      leaving =
          addValue("d_in" + suffix, MemoryClass::send, dice.chance(), true);
      last.outputs = {leaving};
    }
    backward.ops.push_back(last);
    releaseAfterLastUse(backward, released);
    backward.outputs = last.outputs;
    auto isKept = [&](ValueIndex value) {
      return std::find(kept.begin(), kept.end(), value) != kept.end();
    };
    for (ValueIndex value : weightGrad.inputs) {
      if (!isKept(value) || dice.chance()) // an input that stays may be listed
        backward.outputs.push_back(value);
      std::vector<ValueIndex> copies;
      ValueIndex read = onDevice(weightGrad, value, copies);
      Op op = makeOp(weightGrad);
      op.inputs = {read};
      op.releases = {read};
      if (read != value)
        for (Op &copy : weightGrad.ops)
          if (copy.outputs == op.inputs)
            copy.releases = {value};
      if (dice.chance()) {
        op.outputs = {addShortLived("w")};
        op.releases.push_back(op.outputs[0]);
      }
      weightGrad.ops.push_back(op);
    }
    stage->programs.push_back(backward);
    if (isHalf)
      stage->programs.push_back(weightGrad);
    return leaving;
  }

  Plan &plan;
  const Outline &outline;
  Dice &dice;
  Stage *stage = nullptr;
  Ports port;
  bool isFirst = false;
  bool isLast = false;
};

Program &programOf(Plan &plan, const Overlap::Member &member) {
  for (Program &program : plan.stages[member.stage].programs)
    if (program.phase == member.phase)
      return program;
  std::abort();
}

/// Pairs forward programs of a rank with others of it, each at most once, so
/// that the two can be given places together.
void makeOverlaps(Plan &plan, Rank &rank, Dice &dice) {
  std::vector<Overlap::Member> forwards, others;
  for (int64_t s : rank.stages)
    for (const Program &program : plan.stages[s].programs)
      (program.phase == Phase::forward ? forwards : others)
          .push_back({s, program.phase});
  while (!forwards.empty() && !others.empty() && dice.draw(4) != 0) {
    auto take = [&](std::vector<Overlap::Member> &list) {
      size_t i = static_cast<size_t>(dice.draw(list.size()));
      Overlap::Member member = list[i];
      list.erase(list.begin() + i);
      return member;
    };
    Overlap overlap;
    overlap.members = {take(forwards), take(others)};
    if (dice.draw(4) == 0)
      std::swap(overlap.members[0], overlap.members[1]);
    std::array<int64_t, 2> left;
    for (size_t m = 0; m < 2; ++m)
      left[m] = programOf(plan, overlap.members[m]).ops.size();
    while (left[0] + left[1] > 0) {
      int64_t m = dice.draw(left[0] + left[1]) < left[0] ? 0 : 1;
      --left[m];
      overlap.order.push_back(m);
    }
    rank.overlaps.push_back(overlap);
  }
}

} // namespace

std::vector<Ports> makeRandomStages(Plan &plan, const Outline &outline,
                                    Dice &dice) {
  std::vector<Ports> ports;
  StageMaker maker(plan, outline, dice);
  for (int64_t s = 0; s < outline.stages(); ++s)
    ports.push_back(maker.make(s));
  for (Rank &rank : plan.ranks)
    makeOverlaps(plan, rank, dice);
  return ports;
}

} // namespace moe::plan

//===- PlanWriter.cpp - a plan as JSON text -------------------------------===//
//
// What people read is spread over lines; assumptions, decisions, parameters,
// values, ops and steps take one line each, so that plans can be compared with
// `diff`.
//
//===----------------------------------------------------------------------===//

#include "runtime/Plan/Json.h"
#include "runtime/Plan/Plan.h"

#include <array>
#include <charconv>
#include <span>

namespace moe::plan {
namespace {

/// How the elements of an array or object are laid out.
enum class Spread { lines, oneLine };

/// Appends JSON to a string and keeps track of commas and indentation.
class Emitter {
public:
  explicit Emitter(std::string &out) : out(out) {}

  void beginObject(Spread spread) { begin('{', '}', spread); }
  void beginArray(Spread spread) { begin('[', ']', spread); }

  void end() {
    Container closed = stack.back();
    stack.pop_back();
    if (closed.spread == Spread::lines && closed.count > 0)
      newLine();
    out += closed.closing;
  }

  /// `name`: of the format, without anything that JSON has to escape.
  void key(std::string_view name) {
    separate();
    out += '"';
    out += name;
    out += "\": ";
    afterKey = true;
  }

  /// A key that is none of the format's.
  void foreignKey(std::string_view name) {
    separate();
    json::appendQuoted(out, name);
    out += ": ";
    afterKey = true;
  }

  void value(int64_t number) {
    separate();
    char digits[24];
    out.append(digits,
               static_cast<size_t>(
                   std::to_chars(digits, digits + 24, number).ptr - digits));
  }

  /// The shortest text that reads back as the same double, never one that
  /// reads as an integer.
  void value(double number) {
    separate();
    char digits[32];
    std::string_view text(
        digits, std::to_chars(digits, digits + 32, number).ptr - digits);
    out += text;
    if (text.find_first_of(".en") == std::string_view::npos)
      out += ".0";
  }

  void value(bool flag) {
    separate();
    out += flag ? "true" : "false";
  }

  void value(std::string_view text) {
    separate();
    json::appendQuoted(out, text);
  }

  /// On one line. There are many of these: each is put together first.
  void value(std::span<const int64_t> numbers) {
    separate();
    std::array<char, 512> text;
    char *end = text.data();
    *end++ = '[';
    for (size_t i = 0; i < numbers.size(); ++i) {
      if (text.data() + text.size() - end < 32) {
        out.append(text.data(), end);
        end = text.data();
      }
      if (i > 0) {
        *end++ = ',';
        *end++ = ' ';
      }
      end = std::to_chars(end, text.data() + text.size(), numbers[i]).ptr;
    }
    *end++ = ']';
    out.append(text.data(), end);
  }
  void value(const std::vector<int64_t> &list) {
    value(std::span<const int64_t>(list));
  }

  template <typename T> void value(const std::vector<T> &list) {
    beginArray(Spread::oneLine);
    for (const T &element : list)
      value(element);
    end();
  }
  void value(const std::string &text) { value(std::string_view(text)); }

  template <typename T> void member(std::string_view name, const T &content) {
    key(name);
    value(content);
  }

private:
  struct Container {
    char closing;
    Spread spread;
    size_t count = 0;
  };

  void begin(char opening, char closing, Spread spread) {
    separate();
    out += opening;
    stack.push_back({closing, spread});
  }

  /// Puts what has to stand between the last element and the next.
  void separate() {
    if (afterKey) {
      afterKey = false;
      return;
    }
    if (stack.empty())
      return;
    Container &container = stack.back();
    const bool first = container.count++ == 0;
    if (container.spread == Spread::oneLine) {
      if (!first)
        out += ", ";
      return;
    }
    if (!first)
      out += ',';
    newLine();
  }

  void newLine() {
    out += '\n';
    out.append(stack.size() * 2, ' ');
  }

  std::string &out;
  std::vector<Container> stack;
  bool afterKey = false;
};

/// Counts of all classes, in the order of the document's memory_classes.
void emitCounts(Emitter &emit, const ByteCounts &counts) {
  emit.value(std::span<const int64_t>(counts.bytes));
}

void emitCounts(Emitter &emit, std::string_view key, const ByteCounts &counts) {
  emit.key(key);
  emitCounts(emit, counts);
}

/// Counts by name, without the classes that have none.
void emitNamedCounts(Emitter &emit, std::string_view key,
                     const ByteCounts &counts) {
  emit.key(key);
  emit.beginObject(Spread::oneLine);
  for (size_t i = 0; i < kMemoryClassCount; ++i)
    if (counts.bytes[i] != 0)
      emit.member(name(static_cast<MemoryClass>(i)), counts.bytes[i]);
  emit.end();
}

/// An array with one element a line.
template <typename T, typename Function>
void emitLines(Emitter &emit, std::string_view key, const std::vector<T> &list,
               Function &&emitElement) {
  emit.key(key);
  emit.beginArray(Spread::lines);
  for (const T &element : list)
    emitElement(emit, element);
  emit.end();
}

void emitHeader(Emitter &emit, const Plan &plan) {
  emit.member("format", std::string_view("moe-plan"));
  emit.member("version", kFormatVersion);
  emit.member("generator", plan.generator);
  emit.key("memory_classes");
  emit.beginArray(Spread::oneLine);
  for (size_t i = 0; i < kMemoryClassCount; ++i)
    emit.value(name(static_cast<MemoryClass>(i)));
  emit.end();

  const Model &model = plan.model;
  emit.key("model");
  emit.beginObject(Spread::lines);
  emit.member("name", model.name);
  emit.member("architecture", model.architecture);
  emit.member("reductions", model.reductions);
  emit.member("layers", model.layers);
  emit.member("hidden", model.hidden);
  emit.member("vocabulary", model.vocabulary);
  emit.member("total_parameters", model.totalParameters);
  emit.member("active_parameters", model.activeParameters);
  emit.end();

  const Machine &machine = plan.machine;
  emit.key("machine");
  emit.beginObject(Spread::lines);
  emit.member("name", machine.name);
  emit.member("memory_bytes", machine.memoryBytes);
  emit.member("reserve_bytes", machine.reserveBytes);
  emit.member("budget_bytes", machine.budgetBytes);
  emit.member("flops_per_second", machine.flopsPerSecond);
  emit.member("link_latency_ns", machine.linkLatencyNs);
  emit.member("link_bytes_per_second", machine.linkBytesPerSecond);
  emit.member("local_bytes_per_second", machine.localBytesPerSecond);
  emit.member("host_memory_bytes", machine.hostMemoryBytes);
  emit.member("to_host_bytes_per_second", machine.toHostBytesPerSecond);
  emit.member("to_device_bytes_per_second", machine.toDeviceBytesPerSecond);
  emit.member("host_combined_bytes_per_second",
              machine.hostCombinedBytesPerSecond);
  emit.member("host_link_devices", machine.hostLinkDevices);
  emit.end();

  const Layout &layout = plan.layout;
  emit.key("layout");
  emit.beginObject(Spread::lines);
  emit.member("pipeline", layout.pipeline);
  emit.member("expert", layout.expert);
  emit.member("data", layout.data);
  emit.member("tensor", layout.tensor);
  emit.member("context", layout.context);
  emit.member("microbatches", layout.microbatches);
  emit.member("microbatch_size", layout.microbatchSize);
  emit.member("sequence_length", layout.sequenceLength);
  emit.end();

  emit.member("schedule", plan.schedule);
  emit.member("dtype", name(plan.dtype));
  emit.member("capacity_factor", plan.capacityFactor);
  emit.member("imbalance", plan.imbalance);
  emitLines(emit, "assumptions", plan.assumptions,
            [](Emitter &emit, const Assumption &assumption) {
              emit.beginObject(Spread::oneLine);
              emit.member("name", assumption.name);
              emit.member("value", assumption.value);
              emit.member("source", assumption.source);
              emit.end();
            });
  emitLines(emit, "decisions", plan.decisions,
            [](Emitter &emit, const Decision &decision) {
              emit.beginObject(Spread::oneLine);
              emit.member("stage", decision.stage);
              emit.member("value", decision.value);
              emit.member("action", name(decision.action));
              emit.member("bytes", decision.bytes);
              emit.member("time_ns", decision.timeNs);
              emit.member("reason", decision.reason);
              emit.end();
            });

  const Prediction &prediction = plan.prediction;
  emit.key("prediction");
  emit.beginObject(Spread::lines);
  emit.member("step_ns", prediction.stepNs);
  emit.member("bubble", prediction.bubble);
  emit.member("model_flops", prediction.modelFlops);
  emit.member("model_flops_utilization", prediction.modelFlopsUtilization);
  emit.member("fits", prediction.fits);
  emit.end();
}

void emitParameter(Emitter &emit, const Parameter &parameter) {
  emit.beginObject(Spread::oneLine);
  emit.member("name", parameter.name);
  emit.member("dtype", name(parameter.dtype));
  emit.member("shape", parameter.shape);
  emit.member("replication", name(parameter.replication));
  emit.member("trainable", parameter.trainable);
  emit.member("decay", parameter.decay);
  emit.key("initializer");
  emit.beginObject(Spread::oneLine);
  emit.member("kind", parameter.initializer.kind);
  emit.member("standard_deviation", parameter.initializer.standardDeviation);
  emit.end();
  if (!parameter.tiedTo.empty())
    emit.member("tied_to", parameter.tiedTo);
  emit.member("weight_offset", parameter.weightOffset);
  emit.member("gradient_offset", parameter.gradientOffset);
  emit.member("master_offset", parameter.masterOffset);
  emit.member("first_moment_offset", parameter.firstMomentOffset);
  emit.member("second_moment_offset", parameter.secondMomentOffset);
  emit.end();
}

void emitValue(Emitter &emit, const Value &value) {
  emit.beginObject(Spread::oneLine);
  emit.member("name", value.name);
  emit.member("dtype", name(value.dtype));
  emit.member("shape", value.shape);
  emit.member("bytes", value.bytes);
  emit.member("class", name(value.memoryClass));
  emit.member("placement", name(value.placement));
  emit.member("group", value.group);
  emit.member("offset", value.offset);
  if (value.overwrites != -1)
    emit.member("overwrites", value.overwrites);
  emit.end();
}

void emitOp(Emitter &emit, const Op &op) {
  emit.beginObject(Spread::oneLine);
  emit.member("kind", op.kind);
  emit.member("name", op.name);
  emit.member("inputs", op.inputs);
  emit.member("outputs", op.outputs);
  emit.member("parameters", op.parameters);
  emit.key("attributes");
  emit.beginObject(Spread::oneLine);
  for (const auto &[key, attribute] : op.attributes) {
    emit.foreignKey(key);
    std::visit([&](const auto &content) { emit.value(content); }, attribute);
  }
  emit.end();
  emit.member("stream", name(op.stream));
  emit.member("waits", op.waits);
  emit.member("scratch_bytes", op.scratchBytes);
  emit.member("scratch_class", name(op.scratchClass));
  emit.member("scratch_offset", op.scratchOffset);
  emit.member("releases", op.releases);
  emitCounts(emit, "live", op.live);
  emit.member("time_ns", op.timeNs);
  emit.end();
}

void emitStage(Emitter &emit, const Stage &stage) {
  emit.beginObject(Spread::lines);
  emit.member("name", stage.name);
  emit.member("rank", stage.rank);
  emit.member("blocks", stage.blocks);
  emitLines(emit, "parameters", stage.parameters, emitParameter);
  emitLines(emit, "values", stage.values, emitValue);
  emitLines(emit, "slots", stage.slots,
            [](Emitter &emit, const std::vector<int64_t> &bases) {
              emit.value(bases);
            });
  emitLines(emit, "programs", stage.programs,
            [](Emitter &emit, const Program &program) {
              emit.beginObject(Spread::lines);
              emit.member("phase", name(program.phase));
              emit.member("inputs", program.inputs);
              emit.member("outputs", program.outputs);
              emitLines(emit, "ops", program.ops, emitOp);
              emit.end();
            });
  emit.end();
}

void emitOverlap(Emitter &emit, const Overlap &overlap) {
  emit.beginObject(Spread::lines);
  emit.key("members");
  emit.beginArray(Spread::oneLine);
  for (const Overlap::Member &member : overlap.members) {
    emit.beginObject(Spread::oneLine);
    emit.member("stage", member.stage);
    emit.member("phase", name(member.phase));
    emit.end();
  }
  emit.end();
  emit.member("order", overlap.order);
  emit.key("waits");
  emit.beginArray(Spread::oneLine);
  for (const Overlap::Wait &wait : overlap.waits) {
    emit.beginObject(Spread::oneLine);
    emit.member("op", wait.op);
    emit.member("on", wait.on);
    emit.end();
  }
  emit.end();
  emitLines(
      emit, "live", overlap.live,
      [](Emitter &emit, const ByteCounts &live) { emitCounts(emit, live); });
  emit.end();
}

/// Writes the fields that mean something for this kind of step.
void emitStep(Emitter &emit, const Step &step) {
  emit.beginObject(Spread::oneLine);
  emit.member("kind", name(step.kind));
  if (isOfMicrobatch(step.kind)) {
    emit.member("stage", step.stage);
    emit.member("microbatch", step.microbatch);
    emit.member("slot", step.slot);
    emit.member("phase", name(step.phase));
  }
  if (step.kind == StepKind::overlap) {
    emit.member("overlap", step.overlap);
    emit.member("second_microbatch", step.secondMicrobatch);
    emit.member("second_slot", step.secondSlot);
  }
  if (hasValue(step.kind))
    emit.member("value", step.value);
  if (hasPeer(step.kind))
    emit.member("peer", step.peer);
  if (step.kind == StepKind::load)
    emit.member("role", step.role);
  emitCounts(emit, "live", step.live);
  emit.end();
}

void emitRank(Emitter &emit, const Rank &rank) {
  emit.beginObject(Spread::lines);
  emit.member("rank", rank.rank);
  emit.member("stages", rank.stages);
  emit.member("arena_bytes", rank.arenaBytes);
  emit.member("host_arena_bytes", rank.hostArenaBytes);
  emitNamedCounts(emit, "persistent", rank.persistent);
  emitNamedCounts(emit, "peak", rank.peak);
  emit.member("peak_step", rank.peakStep);
  emit.member("peak_op", rank.peakOp);
  emit.member("host_peak_bytes", rank.hostPeakBytes);
  emit.member("reduce_gradients_ns", rank.reduceGradientsNs);
  emit.member("update_ns", rank.updateNs);
  emit.member("busy_ns", rank.busyNs);
  emit.member("exposed_communication_ns", rank.exposedCommunicationNs);
  emit.member("exposed_copy_ns", rank.exposedCopyNs);
  emitLines(emit, "overlaps", rank.overlaps, emitOverlap);
  emitLines(emit, "steps", rank.steps, emitStep);
  emit.end();
}

/// About how long the text is: nearly all of it is lines of values, ops and
/// steps.
size_t roughBytes(const Plan &plan) {
  constexpr size_t kLineBytes = 256;
  size_t lines = 0;
  for (const Stage &stage : plan.stages) {
    lines += stage.values.size();
    for (const Program &program : stage.programs)
      lines += program.ops.size();
  }
  for (const Rank &rank : plan.ranks)
    lines += rank.steps.size();
  return lines * kLineBytes;
}

} // namespace

std::string print(const Plan &plan) {
  std::string out;
  // Megabytes that grow bit by bit are copied again and again.
  out.reserve(roughBytes(plan));
  Emitter emit(out);
  emit.beginObject(Spread::lines);
  emitHeader(emit, plan);
  emitLines(emit, "stages", plan.stages, emitStage);
  emitLines(emit, "ranks", plan.ranks, emitRank);
  emit.end();
  out += '\n';
  return out;
}

} // namespace moe::plan

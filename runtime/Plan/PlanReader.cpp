//===- PlanReader.cpp - a plan from JSON text -----------------------------===//
//
// Maps the JSON tree to the structures, strictly: every key must be there (but
// `tied_to`, where nothing is tied, and `overwrites`, where nothing is), no
// other key may be, and every value must have its type. What the values mean is
// for check().
//
//===----------------------------------------------------------------------===//

#include "runtime/Plan/Diagnosis.h"
#include "runtime/Plan/Plan.h"

#include <algorithm>
#include <bitset>

namespace moe::plan {
namespace {

class Reader {
public:
  explicit Reader(Diagnosis &diagnosis) : diagnosis(diagnosis) {}

  void read(const json::Node &node, const Path &path, int64_t &out) {
    readAs(node, path, "an integer", out);
  }
  void read(const json::Node &node, const Path &path, bool &out) {
    readAs(node, path, "true or false", out);
  }
  void read(const json::Node &node, const Path &path, std::string &out) {
    readAs(node, path, "text", out);
  }
  void read(const json::Node &node, const Path &path, double &out) {
    if (const int64_t *integer = std::get_if<int64_t>(&node.value))
      out = static_cast<double>(*integer);
    else
      readAs(node, path, "a number", out);
  }

  void read(const json::Node &node, const Path &path, DType &out) {
    readName(node, path, parseDType, R"("bf16", "f32", "f64" or "i32")", out);
  }
  void read(const json::Node &node, const Path &path, MemoryClass &out) {
    readName(node, path, parseMemoryClass, "a name in $.memory_classes", out);
  }
  void read(const json::Node &node, const Path &path, Placement &out) {
    readName(node, path, parsePlacement, R"("fixed" or "slot")", out);
  }
  void read(const json::Node &node, const Path &path, Replication &out) {
    readName(node, path, parseReplication, R"("dense" or "expert")", out);
  }
  void read(const json::Node &node, const Path &path, Stream &out) {
    readName(node, path, parseStream,
             R"("compute", "expert_communication", "copy_out" or "copy_in")",
             out);
  }
  void read(const json::Node &node, const Path &path, Phase &out) {
    readName(node, path, parsePhase,
             R"("forward", "backward", "backward_input" or "weight_grad")",
             out);
  }
  void read(const json::Node &node, const Path &path, Action &out) {
    readName(node, path, parseAction, R"("keep", "recompute" or "offload")",
             out);
  }
  void read(const json::Node &node, const Path &path, StepKind &out) {
    readName(node, path, parseStepKind,
             R"("load", "receive", "run", "overlap", "send", "wait_send", )"
             R"("collect_loss", "reduce_gradients" or "update")",
             out);
  }

  template <typename T>
  void read(const json::Node &node, const Path &path, std::vector<T> &out) {
    const json::Array *array = std::get_if<json::Array>(&node.value);
    if (!array)
      return diagnosis.expected(path, "an array", node);
    out.resize(array->size());
    for (size_t i = 0; i < out.size() && !failed(); ++i)
      read((*array)[i], Path{&path, {}, i}, out[i]);
  }

  /// Counts of all classes, in the order of memory_classes.
  void read(const json::Node &node, const Path &path, ByteCounts &out) {
    const json::Array *array = std::get_if<json::Array>(&node.value);
    if (!array || array->size() != kMemoryClassCount)
      return diagnosis.fail(path, "expected an array with one integer for each "
                                  "of the " +
                                      std::to_string(kMemoryClassCount) +
                                      " memory classes");
    for (size_t i = 0; i < kMemoryClassCount; ++i)
      read((*array)[i], Path{&path, {}, i}, out.bytes[i]);
  }

  void read(const json::Node &node, const Path &path, Attribute &out) {
    if (const bool *flag = std::get_if<bool>(&node.value))
      out = *flag;
    else if (const int64_t *integer = std::get_if<int64_t>(&node.value))
      out = *integer;
    else if (const double *real = std::get_if<double>(&node.value))
      out = *real;
    else if (const std::string *text = std::get_if<std::string>(&node.value))
      out = *text;
    else if (std::holds_alternative<json::Array>(node.value))
      read(node, path, out.emplace<std::vector<int64_t>>());
    else
      diagnosis.expected(
          path, "true, false, a number, text or an array of integers", node);
  }

  void read(const json::Node &node, const Path &path, Model &out);
  void read(const json::Node &node, const Path &path, Machine &out);
  void read(const json::Node &node, const Path &path, Layout &out);
  void read(const json::Node &node, const Path &path, Prediction &out);
  void read(const json::Node &node, const Path &path, Assumption &out);
  void read(const json::Node &node, const Path &path, Decision &out);
  void read(const json::Node &node, const Path &path, Initializer &out);
  void read(const json::Node &node, const Path &path, Parameter &out);
  void read(const json::Node &node, const Path &path, Value &out);
  void read(const json::Node &node, const Path &path, Op &out);
  void read(const json::Node &node, const Path &path, Program &out);
  void read(const json::Node &node, const Path &path, Stage &out);
  void read(const json::Node &node, const Path &path, Overlap::Member &out);
  void read(const json::Node &node, const Path &path, Overlap::Wait &out);
  void read(const json::Node &node, const Path &path, Overlap &out);
  void read(const json::Node &node, const Path &path, Step &out);
  void read(const json::Node &node, const Path &path, Rank &out);
  void read(const json::Node &node, const Path &path, Plan &out);

  bool failed() const { return diagnosis.error.has_value(); }

private:
  template <typename T>
  void readAs(const json::Node &node, const Path &path, const char *what,
              T &out) {
    if (const T *value = std::get_if<T>(&node.value))
      out = *value;
    else
      diagnosis.expected(path, what, node);
  }

  template <typename T, typename ParseName>
  void readName(const json::Node &node, const Path &path, ParseName &&parseName,
                const char *what, T &out) {
    const std::string *text = std::get_if<std::string>(&node.value);
    if (!text)
      return diagnosis.expected(path, what, node);
    if (std::optional<T> value = parseName(*text))
      out = *value;
    else
      diagnosis.fail(path, std::string("expected ") + what + ", is \"" + *text +
                               "\"");
  }

  Diagnosis &diagnosis;
};

/// Reads the members of one object and finds out which are missing or unknown.
class ObjectReader {
public:
  ObjectReader(Reader &reader, Diagnosis &diagnosis, const json::Node &node,
               const Path &path)
      : reader(reader), diagnosis(diagnosis), path(path),
        object(std::get_if<json::Object>(&node.value)) {
    if (!object)
      diagnosis.expected(path, "an object", node);
  }

  template <typename T> void member(std::string_view key, T &out) {
    if (const json::Node *node = take(key))
      reader.read(*node, Path{&path, key}, out);
  }

  /// Whether there is a member `key`: of the few that may be absent.
  bool has(std::string_view key) const {
    return object && std::any_of(object->begin(), object->end(),
                                 [&](const json::Member &member) {
                                   return member.key == key;
                                 });
  }

  /// The member `key`, or null after an error.
  const json::Node *take(std::string_view key) {
    if (!object || diagnosis.error)
      return nullptr;
    // Members mostly come in the order in which they are asked for.
    for (size_t n = 0; n < object->size(); ++n) {
      size_t i = (next + n) % object->size();
      if ((*object)[i].key == key) {
        taken.set(i);
        next = i + 1;
        return &(*object)[i].node;
      }
    }
    diagnosis.fail(path, "missing key \"" + std::string(key) + "\"");
    return nullptr;
  }

  /// To be called when all members that there may be were read.
  void finish() {
    if (!object || diagnosis.error)
      return;
    for (size_t i = 0; i < object->size(); ++i)
      if (!taken[i])
        return diagnosis.fail(Path{&path, (*object)[i].key}, "unknown key");
  }

private:
  Reader &reader;
  Diagnosis &diagnosis;
  const Path &path;
  const json::Object *object;
  size_t next = 0;
  std::bitset<json::kMostMembers> taken;
};

void Reader::read(const json::Node &node, const Path &path, Model &out) {
  ObjectReader object(*this, diagnosis, node, path);
  object.member("name", out.name);
  object.member("architecture", out.architecture);
  object.member("reductions", out.reductions);
  object.member("layers", out.layers);
  object.member("hidden", out.hidden);
  object.member("vocabulary", out.vocabulary);
  object.member("total_parameters", out.totalParameters);
  object.member("active_parameters", out.activeParameters);
  object.finish();
}

void Reader::read(const json::Node &node, const Path &path, Machine &out) {
  ObjectReader object(*this, diagnosis, node, path);
  object.member("name", out.name);
  object.member("memory_bytes", out.memoryBytes);
  object.member("reserve_bytes", out.reserveBytes);
  object.member("budget_bytes", out.budgetBytes);
  object.member("flops_per_second", out.flopsPerSecond);
  object.member("link_latency_ns", out.linkLatencyNs);
  object.member("link_bytes_per_second", out.linkBytesPerSecond);
  object.member("local_bytes_per_second", out.localBytesPerSecond);
  object.member("host_memory_bytes", out.hostMemoryBytes);
  object.member("to_host_bytes_per_second", out.toHostBytesPerSecond);
  object.member("to_device_bytes_per_second", out.toDeviceBytesPerSecond);
  object.member("host_combined_bytes_per_second",
                out.hostCombinedBytesPerSecond);
  object.member("host_link_devices", out.hostLinkDevices);
  object.finish();
}

void Reader::read(const json::Node &node, const Path &path, Layout &out) {
  ObjectReader object(*this, diagnosis, node, path);
  object.member("pipeline", out.pipeline);
  object.member("expert", out.expert);
  object.member("data", out.data);
  object.member("tensor", out.tensor);
  object.member("context", out.context);
  object.member("microbatches", out.microbatches);
  object.member("microbatch_size", out.microbatchSize);
  object.member("sequence_length", out.sequenceLength);
  object.finish();
}

void Reader::read(const json::Node &node, const Path &path, Prediction &out) {
  ObjectReader object(*this, diagnosis, node, path);
  object.member("step_ns", out.stepNs);
  object.member("bubble", out.bubble);
  object.member("model_flops", out.modelFlops);
  object.member("model_flops_utilization", out.modelFlopsUtilization);
  object.member("fits", out.fits);
  object.finish();
}

void Reader::read(const json::Node &node, const Path &path, Assumption &out) {
  ObjectReader object(*this, diagnosis, node, path);
  object.member("name", out.name);
  object.member("value", out.value);
  object.member("source", out.source);
  object.finish();
}

void Reader::read(const json::Node &node, const Path &path, Decision &out) {
  ObjectReader object(*this, diagnosis, node, path);
  object.member("stage", out.stage);
  object.member("value", out.value);
  object.member("action", out.action);
  object.member("bytes", out.bytes);
  object.member("time_ns", out.timeNs);
  object.member("reason", out.reason);
  object.finish();
}

void Reader::read(const json::Node &node, const Path &path, Initializer &out) {
  ObjectReader object(*this, diagnosis, node, path);
  object.member("kind", out.kind);
  object.member("standard_deviation", out.standardDeviation);
  object.finish();
}

void Reader::read(const json::Node &node, const Path &path, Parameter &out) {
  ObjectReader object(*this, diagnosis, node, path);
  object.member("name", out.name);
  object.member("dtype", out.dtype);
  object.member("shape", out.shape);
  object.member("replication", out.replication);
  object.member("trainable", out.trainable);
  object.member("decay", out.decay);
  object.member("initializer", out.initializer);
  if (object.has("tied_to")) {
    object.member("tied_to", out.tiedTo);
    if (out.tiedTo.empty())
      diagnosis.fail(Path{&path, "tied_to"},
                     "must name a parameter; a parameter that is not tied has "
                     "no such key");
  }
  object.member("weight_offset", out.weightOffset);
  object.member("gradient_offset", out.gradientOffset);
  object.member("master_offset", out.masterOffset);
  object.member("first_moment_offset", out.firstMomentOffset);
  object.member("second_moment_offset", out.secondMomentOffset);
  object.finish();
}

void Reader::read(const json::Node &node, const Path &path, Value &out) {
  ObjectReader object(*this, diagnosis, node, path);
  object.member("name", out.name);
  object.member("dtype", out.dtype);
  object.member("shape", out.shape);
  object.member("bytes", out.bytes);
  object.member("class", out.memoryClass);
  object.member("placement", out.placement);
  object.member("group", out.group);
  object.member("group", out.group);
  object.member("offset", out.offset);
  if (object.has("overwrites")) {
    object.member("overwrites", out.overwrites);
    if (out.overwrites < 0)
      diagnosis.fail(Path{&path, "overwrites"},
                     "must be the index of a value; one with bytes of its own "
                     "has no such key");
  }
  object.finish();
}

void Reader::read(const json::Node &node, const Path &path, Op &out) {
  ObjectReader object(*this, diagnosis, node, path);
  object.member("kind", out.kind);
  object.member("name", out.name);
  object.member("inputs", out.inputs);
  object.member("outputs", out.outputs);
  object.member("parameters", out.parameters);
  if (const json::Node *attributes = object.take("attributes")) {
    Path at{&path, "attributes"};
    if (const auto *list = std::get_if<json::Object>(&attributes->value))
      for (const json::Member &member : *list)
        read(member.node, Path{&at, member.key}, out.attributes[member.key]);
    else
      diagnosis.expected(at, "an object", *attributes);
  }
  object.member("stream", out.stream);
  object.member("waits", out.waits);
  object.member("scratch_bytes", out.scratchBytes);
  object.member("scratch_class", out.scratchClass);
  object.member("scratch_offset", out.scratchOffset);
  object.member("releases", out.releases);
  object.member("live", out.live);
  object.member("time_ns", out.timeNs);
  object.finish();
}

void Reader::read(const json::Node &node, const Path &path, Program &out) {
  ObjectReader object(*this, diagnosis, node, path);
  object.member("phase", out.phase);
  object.member("inputs", out.inputs);
  object.member("outputs", out.outputs);
  object.member("ops", out.ops);
  object.finish();
}

void Reader::read(const json::Node &node, const Path &path, Stage &out) {
  ObjectReader object(*this, diagnosis, node, path);
  object.member("name", out.name);
  object.member("rank", out.rank);
  object.member("blocks", out.blocks);
  object.member("parameters", out.parameters);
  object.member("values", out.values);
  object.member("slots", out.slots);
  object.member("programs", out.programs);
  object.finish();
}

void Reader::read(const json::Node &node, const Path &path,
                  Overlap::Member &out) {
  ObjectReader object(*this, diagnosis, node, path);
  object.member("stage", out.stage);
  object.member("phase", out.phase);
  object.finish();
}

void Reader::read(const json::Node &node, const Path &path,
                  Overlap::Wait &out) {
  ObjectReader object(*this, diagnosis, node, path);
  object.member("op", out.op);
  object.member("on", out.on);
  object.finish();
}

void Reader::read(const json::Node &node, const Path &path, Overlap &out) {
  ObjectReader object(*this, diagnosis, node, path);
  std::vector<Overlap::Member> members;
  object.member("members", members);
  if (!failed() && members.size() != out.members.size())
    diagnosis.fail(Path{&path, "members"},
                   "must be two, are " + std::to_string(members.size()));
  if (failed())
    return;
  std::copy(members.begin(), members.end(), out.members.begin());
  object.member("order", out.order);
  object.member("waits", out.waits);
  object.member("live", out.live);
  object.finish();
}

void Reader::read(const json::Node &node, const Path &path, Step &out) {
  ObjectReader object(*this, diagnosis, node, path);
  object.member("kind", out.kind);
  if (failed())
    return;
  if (isOfMicrobatch(out.kind)) {
    object.member("stage", out.stage);
    object.member("microbatch", out.microbatch);
    object.member("slot", out.slot);
    object.member("phase", out.phase);
  }
  if (out.kind == StepKind::overlap) {
    object.member("overlap", out.overlap);
    object.member("second_microbatch", out.secondMicrobatch);
    object.member("second_slot", out.secondSlot);
  }
  if (hasValue(out.kind))
    object.member("value", out.value);
  if (hasPeer(out.kind))
    object.member("peer", out.peer);
  if (out.kind == StepKind::load)
    object.member("role", out.role);
  object.member("live", out.live);
  object.finish();
}

void Reader::read(const json::Node &node, const Path &path, Rank &out) {
  // Counts that people read are objects without the classes that are empty.
  auto readNamedCounts = [&](const json::Node *counts, const Path &at,
                             ByteCounts &result) {
    if (!counts)
      return;
    const auto *list = std::get_if<json::Object>(&counts->value);
    if (!list)
      return diagnosis.expected(at, "an object", *counts);
    for (const json::Member &member : *list) {
      Path memberPath{&at, member.key};
      if (std::optional<MemoryClass> c = parseMemoryClass(member.key))
        read(member.node, memberPath, result[*c]);
      else
        diagnosis.fail(memberPath, "unknown key, expected names in "
                                   "$.memory_classes");
    }
  };
  ObjectReader object(*this, diagnosis, node, path);
  object.member("rank", out.rank);
  object.member("stages", out.stages);
  object.member("arena_bytes", out.arenaBytes);
  object.member("host_arena_bytes", out.hostArenaBytes);
  readNamedCounts(object.take("persistent"), Path{&path, "persistent"},
                  out.persistent);
  readNamedCounts(object.take("peak"), Path{&path, "peak"}, out.peak);
  object.member("peak_step", out.peakStep);
  object.member("peak_op", out.peakOp);
  object.member("host_peak_bytes", out.hostPeakBytes);
  object.member("reduce_gradients_ns", out.reduceGradientsNs);
  object.member("update_ns", out.updateNs);
  object.member("busy_ns", out.busyNs);
  object.member("exposed_communication_ns", out.exposedCommunicationNs);
  object.member("exposed_copy_ns", out.exposedCopyNs);
  object.member("overlaps", out.overlaps);
  object.member("steps", out.steps);
  object.finish();
}

void Reader::read(const json::Node &node, const Path &path, Plan &out) {
  ObjectReader object(*this, diagnosis, node, path);
  // Most of what is no plan is no plan of another version.
  if (!failed() && !object.has("format"))
    diagnosis.fail(path, "is no plan (no key \"format\")");
  std::string format;
  object.member("format", format);
  if (!failed() && format != "moe-plan")
    diagnosis.fail(Path{&path, "format"},
                   "expected \"moe-plan\", is \"" + format + "\"");
  int64_t version = 0;
  object.member("version", version);
  if (!failed() && version != kFormatVersion)
    diagnosis.fail(Path{&path, "version"},
                   "this program reads version " +
                       std::to_string(kFormatVersion) +
                       ", the plan is version " + std::to_string(version) +
                       "; plan again with this release");
  object.member("generator", out.generator);
  std::vector<MemoryClass> classes;
  object.member("memory_classes", classes);
  for (size_t i = 0; i < kMemoryClassCount && !failed(); ++i)
    if (classes.size() != kMemoryClassCount ||
        classes[i] != static_cast<MemoryClass>(i))
      diagnosis.fail(Path{&path, "memory_classes"},
                     "expected the " + std::to_string(kMemoryClassCount) +
                         " classes of version " +
                         std::to_string(kFormatVersion) +
                         " in their order, beginning with \"parameters\"");
  object.member("model", out.model);
  object.member("machine", out.machine);
  object.member("layout", out.layout);
  object.member("schedule", out.schedule);
  object.member("dtype", out.dtype);
  object.member("capacity_factor", out.capacityFactor);
  object.member("imbalance", out.imbalance);
  object.member("assumptions", out.assumptions);
  object.member("decisions", out.decisions);
  object.member("prediction", out.prediction);
  object.member("stages", out.stages);
  object.member("ranks", out.ranks);
  object.finish();
}

} // namespace

Result<Plan> parseUnchecked(std::string_view text) {
  Result<json::Node> tree = json::parse(text);
  if (!tree)
    return tree.error();
  Plan plan;
  Diagnosis diagnosis;
  Reader(diagnosis).read(*tree, Path{}, plan);
  if (diagnosis.error)
    return *diagnosis.error;
  return plan;
}

Result<Plan> parse(std::string_view text) {
  Result<Plan> plan = parseUnchecked(text);
  if (plan)
    MOE_RETURN_IF_ERROR(check(*plan));
  return plan;
}

} // namespace moe::plan

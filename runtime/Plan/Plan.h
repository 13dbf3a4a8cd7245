//===- Plan.h - the plan document -------------------------------*- C++ -*-===//
//
// The one contract between the compiler and whoever executes, simulates or
// exports a plan. docs/plan-format.md explains every field;
// runtime/Plan/plan.schema.json is the JSON Schema of the same structures.
//
// Sizes are bytes, times nanoseconds. References between objects are indices
// into the arrays of the document (`ValueIndex` into the values of the same
// stage, `ParameterIndex` into the parameters of the same stage).
//
//===----------------------------------------------------------------------===//
#pragma once

#include "support/DType.h"
#include "support/Result.h"

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace moe::plan {

/// Version of the document. A reader refuses any other.
inline constexpr int64_t kFormatVersion = 3;

/// Every buffer starts at a multiple of this and its size is counted rounded up
/// to it, so that counted bytes are arena bytes.
inline constexpr int64_t kAlignment = 256;

constexpr int64_t alignUp(int64_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

/// What a byte is spent on. Budgets and counters are kept per class. All
/// classes but `host` are of device memory.
enum class MemoryClass : uint8_t {
  parameters,
  gradients,
  optimizer,
  saved,     ///< activations kept from forward to backward
  transient, ///< values that live inside one program
  receive,   ///< stage inputs and gradients that arrive from a neighbour
  send,      ///< stage outputs and gradients until they have been sent
  expert_communication, ///< staging of dispatch and combine
  handles,              ///< dispatch handles
  workspace,            ///< scratch of kernels
  host, ///< pinned host memory: values that were copied out of the device
};
inline constexpr size_t kMemoryClassCount = 11;
std::string_view name(MemoryClass memoryClass);
std::optional<MemoryClass> parseMemoryClass(std::string_view text);

/// Bytes per memory class, indexed by MemoryClass.
struct ByteCounts {
  std::array<int64_t, kMemoryClassCount> bytes{};

  int64_t &operator[](MemoryClass c) { return bytes[static_cast<size_t>(c)]; }
  int64_t operator[](MemoryClass c) const {
    return bytes[static_cast<size_t>(c)];
  }
  ByteCounts &operator+=(const ByteCounts &other) {
    for (size_t i = 0; i < kMemoryClassCount; ++i)
      bytes[i] += other.bytes[i];
    return *this;
  }
  /// Bytes of the device: all classes but host.
  int64_t total() const {
    int64_t sum = 0;
    for (int64_t b : bytes)
      sum += b;
    return sum - (*this)[MemoryClass::host];
  }
  bool operator==(const ByteCounts &) const = default;
};

/// An attribute of an op, as the kernels read it.
using Attribute =
    std::variant<bool, int64_t, double, std::string, std::vector<int64_t>>;

using ValueIndex = int64_t;
using ParameterIndex = int64_t;

/// Where a value's bytes lie.
enum class Placement : uint8_t {
  fixed, ///< at `offset` in the rank's arena, whatever the microbatch
  slot,  ///< at `offset` behind the base of its group in the microbatch's slot
};
std::string_view name(Placement placement);
std::optional<Placement> parsePlacement(std::string_view text);

/// A buffer of a stage: one instance for each microbatch that is in flight when
/// `placement` is slot, a single one otherwise. Those of class host lie in the
/// rank's host arena, all others in its device arena.
struct Value {
  std::string name; ///< unique in its stage, e.g. "layers.3.self_attn.q_rope"
  DType dtype = DType::bf16;
  /// Rows that depend on routing are given at their capacity.
  std::vector<int64_t> shape;
  int64_t bytes = 0; ///< aligned size: alignUp(elements * byteSize(dtype))
  MemoryClass memoryClass = MemoryClass::transient;
  Placement placement = Placement::fixed;
  /// Of a slot value: behind which of the slot's bases it lies; -1: fixed.
  /// Values of a group live and die together, in one of the arenas.
  int64_t group = -1;
  int64_t offset = 0;
  /// The value whose bytes this one takes over, with the same place; -1: none.
  /// The op that writes this one has the other among its inputs, and ends it.
  ValueIndex overwrites = -1;
  bool isOnHost() const { return memoryClass == MemoryClass::host; }
  bool operator==(const Value &) const = default;
};

/// How the elements of a parameter are made at the start of training.
struct Initializer {
  std::string kind; ///< "normal", "zeros" or "ones"
  double standardDeviation = 0;
  bool operator==(const Initializer &) const = default;
};

/// Which ranks hold the same bytes, hence sum their gradients.
enum class Replication : uint8_t {
  dense,  ///< equal on all expert- and data-parallel ranks of the stage
  expert, ///< sharded over expert parallelism along dimension 0
};
std::string_view name(Replication replication);
std::optional<Replication> parseReplication(std::string_view text);

struct Parameter {
  std::string name; ///< unique in the plan, e.g. "layers.3.mlp.experts.gate_up"
  DType dtype = DType::bf16;
  std::vector<int64_t> shape; ///< local shard
  Replication replication = Replication::dense;
  bool trainable = true; ///< false: no gradient, no optimizer state
  bool decay = true;     ///< weight decay applies
  Initializer initializer;
  /// The parameter of another stage that this one is a copy of: both start
  /// equal and are updated by the sum of their gradients. Empty: none.
  std::string tiedTo;
  // Offsets into the rank's arena; -1 where there is no such buffer.
  int64_t weightOffset = -1;       ///< dtype
  int64_t gradientOffset = -1;     ///< f32 (f64 when dtype is f64)
  int64_t masterOffset = -1;       ///< f32 copy, only when dtype is bf16
  int64_t firstMomentOffset = -1;  ///< f32 (f64 when dtype is f64)
  int64_t secondMomentOffset = -1; ///< f32 (f64 when dtype is f64)
  bool operator==(const Parameter &) const = default;
};

/// The stream that an op is issued on. Ops that copy a value to the host are on
/// `copy_out` and those that copy one back on `copy_in`, and no others are.
enum class Stream : uint8_t {
  compute,
  expert_communication,
  copy_out,
  copy_in
};
inline constexpr size_t kStreamCount = 4;
std::string_view name(Stream stream);
std::optional<Stream> parseStream(std::string_view text);

/// One kernel or collective of a program.
struct Op {
  std::string kind; ///< mnemonic of the moe dialect op, e.g. "rms_norm"
  std::string name; ///< unique in its stage, e.g. "layers.3.input_norm"
  std::vector<ValueIndex> inputs;  ///< -1: an optional operand that is absent
  std::vector<ValueIndex> outputs; ///< -1: an optional result that is absent
  std::vector<ParameterIndex> parameters; ///< -1: absent
  std::map<std::string, Attribute> attributes;
  Stream stream = Stream::compute;
  /// Earlier ops of the program, on other streams, that must be done before
  /// this one begins. Ops of one stream run in order. At most one a stream.
  std::vector<int64_t> waits;
  int64_t scratchBytes = 0; ///< live only while the op runs
  MemoryClass scratchClass = MemoryClass::workspace;
  int64_t scratchOffset = 0; ///< fixed placement
  /// Freed as soon as the op is done. No op on another stream that uses them
  /// may be under way then.
  std::vector<ValueIndex> releases;
  /// Bytes live while the op runs (inputs, outputs, scratch), relative to the
  /// start of the program: what the step's `live` has to be added to.
  ByteCounts live;
  int64_t timeNs = 0; ///< estimate
  bool operator==(const Op &) const = default;
};

/// What a program computes. `backward` is the gradient of inputs and weights
/// together; `backward_input` and `weight_grad` are its halves, run one after
/// the other, any time apart.
enum class Phase : uint8_t { forward, backward, backward_input, weight_grad };
inline constexpr size_t kPhaseCount = 4;
std::string_view name(Phase phase);
std::optional<Phase> parsePhase(std::string_view text);

/// What a stage does for one microbatch in one phase. All ops are done when the
/// program ends, on every stream.
struct Program {
  Phase phase = Phase::forward;
  std::vector<ValueIndex> inputs;  ///< live when the program starts
  std::vector<ValueIndex> outputs; ///< still live when it ends
  std::vector<Op> ops;
  bool operator==(const Program &) const = default;
};

/// A model chunk on one pipeline rank.
struct Stage {
  std::string name; ///< "s0", "s1", ... in model order
  int64_t rank = 0;
  std::vector<std::string> blocks; ///< e.g. "embedding", "layers.0", "head"
  std::vector<Parameter> parameters;
  std::vector<Value> values;
  /// For each slot, the base of every group in the arena of its values. Each
  /// microbatch has a slot; those of which all bases are equal share one.
  std::vector<std::vector<int64_t>> slots;
  std::vector<Program> programs;
  bool operator==(const Stage &) const = default;
};

/// The value that the bytes of `value` were allocated for: the first of those
/// that took them over one after the other.
inline ValueIndex storageOf(const Stage &stage, ValueIndex value) {
  while (stage.values[static_cast<size_t>(value)].overwrites != -1)
    value = stage.values[static_cast<size_t>(value)].overwrites;
  return value;
}

/// Whether a microbatch keeps the value from the stage's forward for another
/// program.
inline bool isKept(const Stage &stage, ValueIndex value) {
  bool isMade = false, isTaken = false;
  for (const Program &program : stage.programs) {
    const bool isForward = program.phase == Phase::forward;
    for (ValueIndex each : isForward ? program.outputs : program.inputs)
      (isForward ? isMade : isTaken) |= each == value;
  }
  return isMade && isTaken;
}

/// Where a value begins in its arena; `slot` is that of the microbatch.
inline int64_t placeOf(const Stage &stage, const Value &value, int64_t slot) {
  return value.placement == Placement::fixed
             ? value.offset
             : stage.slots[static_cast<size_t>(slot)]
                          [static_cast<size_t>(value.group)] +
                   value.offset;
}

enum class StepKind : uint8_t {
  load,             ///< allocate `value` and fill it from the data set
  receive,          ///< allocate `value` and post its receive from `peer`
  run,              ///< execute the program of `phase`
  overlap,          ///< execute two programs interleaved
  send,             ///< post `value` to `peer`; it stays live
  wait_send,        ///< wait until `value` was taken by `peer`; free it
  collect_loss,     ///< add the scalar `value` to the step's loss; free it
  reduce_gradients, ///< sum gradients over the ranks that share a parameter
  update,           ///< optimizer step
};
std::string_view name(StepKind kind);
std::optional<StepKind> parseStepKind(std::string_view text);

/// Whether a step executes programs.
constexpr bool isExecution(StepKind kind) {
  return kind == StepKind::run || kind == StepKind::overlap;
}
/// Whether a step belongs to a stage and microbatch: all but the last two.
constexpr bool isOfMicrobatch(StepKind kind) {
  return kind < StepKind::reduce_gradients;
}
/// Whether a step names a value.
constexpr bool hasValue(StepKind kind) {
  return isOfMicrobatch(kind) && !isExecution(kind);
}
/// Whether a step names a peer.
constexpr bool hasPeer(StepKind kind) {
  return kind == StepKind::receive || kind == StepKind::send ||
         kind == StepKind::wait_send;
}

/// Two programs of one rank that are executed together, for example the forward
/// of one microbatch and the backward of another, so that each computes while
/// the other communicates. Ops of each program keep their order.
struct Overlap {
  struct Member {
    int64_t stage = -1; ///< index into Plan::stages
    Phase phase = Phase::forward;
    bool operator==(const Member &) const = default;
  };
  std::array<Member, 2> members; ///< different ones
  /// In issue order, whose op is next: 0 or 1, as often as the member's program
  /// has ops.
  std::vector<int64_t> order;
  /// Waits beyond those of the ops themselves: the op at position `op` of
  /// `order` begins when the one at position `on`, of the other member and on
  /// another stream, is done.
  struct Wait {
    int64_t op = 0;
    int64_t on = 0;
    bool operator==(const Wait &) const = default;
  };
  std::vector<Wait> waits; ///< rising by op, then on
  /// For each position of `order`: bytes live while that op runs, as it is
  /// issued, relative to the start of the step.
  std::vector<ByteCounts> live;
  bool operator==(const Overlap &) const = default;
};

/// One entry of a rank's schedule.
///
/// The bytes of a `receive` need only be there when a `run` or `overlap` that
/// has the value among its inputs begins: that step waits for them. `peer` may
/// be the rank itself, where consecutive stages lie on one rank.
///
/// An `overlap` step executes `Rank::overlaps[overlap]`: `stage`, `phase`,
/// `microbatch` and `slot` are those of its first member, `secondMicrobatch`
/// and `secondSlot` those of its second.
struct Step {
  StepKind kind = StepKind::run;
  int64_t stage = -1;      ///< index into Plan::stages; -1 for the last two
  int64_t microbatch = -1; ///< -1 for the last two kinds
  int64_t slot = -1;       ///< slot of this stage and microbatch
  int64_t overlap = -1;    ///< of an overlap: index into Rank::overlaps
  int64_t secondMicrobatch = -1;
  int64_t secondSlot = -1;
  Phase phase = Phase::forward;
  ValueIndex value = -1; ///< of kinds with hasValue()
  int64_t peer = -1;     ///< pipeline rank, of receive, send and wait_send
  /// load: "tokens", or "labels" (the tokens one position later), "labels_2"
  /// (two later), ...; see support/TokenRole.h.
  std::string role;
  /// Bytes live on the rank before the step, everything included.
  ByteCounts live;
  bool operator==(const Step &) const = default;
};

struct Rank {
  int64_t rank = 0; ///< pipeline rank = index in Plan::ranks
  std::vector<int64_t> stages;
  std::vector<Overlap> overlaps;
  std::vector<Step> steps;
  int64_t arenaBytes = 0;     ///< size of the arena in device memory
  int64_t hostArenaBytes = 0; ///< of the one in host memory; 0: there is none
  // Predicted peak of live bytes of the device, and where it occurs.
  ByteCounts peak;
  int64_t peakStep = -1; ///< index into steps
  std::string peakOp;    ///< name of the op, empty when it is the step itself
  int64_t hostPeakBytes = 0; ///< most bytes of class host that live at a time
  ByteCounts persistent;     ///< parameters, gradients and optimizer state
  int64_t reduceGradientsNs = 0; ///< estimate, of the step of that kind
  int64_t updateNs = 0;          ///< estimate, of the step of that kind
  // What the simulation of the plan says (compiler/Simulate).
  int64_t busyNs = 0; ///< in programs, gradient reduction and update
  /// Of those, waiting for communication while the compute stream was idle.
  int64_t exposedCommunicationNs = 0;
  /// The same for copies to and from the host: nothing else was running.
  int64_t exposedCopyNs = 0;
  bool operator==(const Rank &) const = default;
};

/// A number or a choice that the plan rests on, and where it comes from.
struct Assumption {
  std::string name;
  std::string value;
  std::string source;
  bool operator==(const Assumption &) const = default;
};

/// What becomes of a value between forward and backward.
enum class Action : uint8_t {
  keep,      ///< stays on the device, which by default it would not
  recompute, ///< is made again by ops of the backward program
  offload,   ///< moves to the host and back
};
std::string_view name(Action action);
std::optional<Action> parseAction(std::string_view text);

/// A decision about a value that backward programs need.
struct Decision {
  int64_t stage = -1; ///< index into Plan::stages
  ValueIndex value = -1;
  Action action = Action::keep;
  /// That a microbatch in flight holds less on the device; below 0: more.
  int64_t bytes = 0;
  /// Estimate of the ops that one microbatch runs for it. Where several values
  /// need an op, the first has its time.
  int64_t timeNs = 0;
  std::string reason; ///< e.g. the target that covers it
  bool operator==(const Decision &) const = default;
};

struct Model {
  std::string name;         ///< file name or the user's name for it
  std::string architecture; ///< model_type of the configuration
  std::vector<std::string>
      reductions; ///< "hidden=256", ...; empty: as published
  int64_t layers = 0;
  int64_t hidden = 0;
  int64_t vocabulary = 0;
  int64_t totalParameters = 0;  ///< of the whole model
  int64_t activeParameters = 0; ///< per token
  bool operator==(const Model &) const = default;
};

struct Machine {
  std::string name;
  int64_t memoryBytes = 0; ///< per device
  int64_t reserveBytes =
      0;                   ///< taken by context and libraries, outside the plan
  int64_t budgetBytes = 0; ///< what the plan may use, reserve included
  double flopsPerSecond = 0; ///< peak of one device, for the plan's dtype
  // Between neighbouring pipeline ranks, one direction, and within a device
  // (where a rank sends to itself). A rate of 0: bytes take no time.
  int64_t linkLatencyNs = 0;
  double linkBytesPerSecond = 0;
  double localBytesPerSecond = 0;
  int64_t hostMemoryBytes = 0; ///< of one device's share; 0: unknown
  // The link to the host, one direction alone and the sum while both run, which
  // as many devices share as `hostLinkDevices`. A rate of 0: no limit.
  double toHostBytesPerSecond = 0;
  double toDeviceBytesPerSecond = 0;
  double hostCombinedBytesPerSecond = 0;
  int64_t hostLinkDevices = 1;
  bool operator==(const Machine &) const = default;
};

/// Whether a rank's arenas fit: with the reserve into the budget of the device,
/// and into the host's memory where that is known.
inline bool fitsMachine(const Machine &machine, const Rank &rank) {
  return rank.arenaBytes + machine.reserveBytes <= machine.budgetBytes &&
         (machine.hostMemoryBytes == 0 ||
          rank.hostArenaBytes <= machine.hostMemoryBytes);
}

struct Layout {
  int64_t pipeline = 1, expert = 1, data = 1, tensor = 1, context = 1;
  int64_t microbatches = 1;   ///< per data/expert-parallel rank and step
  int64_t microbatchSize = 1; ///< sequences
  int64_t sequenceLength = 1; ///< tokens
  bool operator==(const Layout &) const = default;
};

struct Prediction {
  int64_t stepNs = 0;
  double bubble = 0; ///< 1 - busiest rank's busy time / step time
  /// Floating-point operations that the model needs for the step, forward and
  /// backward, on all devices; what is computed again does not count.
  double modelFlops = 0;
  /// modelFlops / (devices * flopsPerSecond * step time); 0 when unknown.
  double modelFlopsUtilization = 0;
  bool fits = false; ///< fitsMachine() of every rank
  bool operator==(const Prediction &) const = default;
};

struct Plan {
  std::string generator; ///< program and version that wrote the plan
  Model model;
  Machine machine;
  Layout layout;
  std::string schedule; ///< name of what ordered the steps, e.g. "1f1b"
  DType dtype = DType::bf16;
  double capacityFactor = 0; ///< rows planned / balanced rows, see docs
  double imbalance = 0;      ///< rows assumed for time / balanced rows
  std::vector<Assumption> assumptions;
  std::vector<Decision> decisions;
  std::vector<Stage> stages;
  std::vector<Rank> ranks;
  Prediction prediction;
  bool operator==(const Plan &) const = default;
};

/// Parses and checks a document: syntax, types, ranges, references, and that
/// values do not leave the arena. The error names the JSON path, e.g.
/// "$.stages[2].values[17].bytes: must be a multiple of 256, is 100".
Result<Plan> parse(std::string_view json);

/// The part of parse() before its checks: syntax, keys and types only.
Result<Plan> parseUnchecked(std::string_view json);

/// Reads and parses a file.
Result<Plan> read(const std::string &path);

/// The document as text; parse(print(plan)) == plan, and equal plans print
/// equal bytes.
std::string print(const Plan &plan);

/// Writes the document as writeFile() does (support/Files.h): a failure leaves
/// no half-written plan.
Status write(const Plan &plan, const std::string &path);

/// The semantic checks that parse() ends with; also for plans made in memory.
Status check(const Plan &plan);

} // namespace moe::plan

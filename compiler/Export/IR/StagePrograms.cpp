//===- StagePrograms.cpp - regions of a stage as programs -----------------===//

#include "compiler/Export/IR/StagePrograms.h"

#include "compiler/Cost/Cost.h"
#include "compiler/Optimize/StreamWaits.h"
#include "dialects/MoE/IR/MoE.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace moe;

static DType toDType(Type type) {
  type = pipe::getContent(type);
  if (isa<HandleType>(type))
    return DType::i32;
  Type element = cast<RankedTensorType>(type).getElementType();
  if (element.isBF16())
    return DType::bf16;
  if (element.isF64())
    return DType::f64;
  return element.isF32() ? DType::f32 : DType::i32;
}

static plan::Stream toStream(StreamKind kind) {
  switch (kind) {
  case StreamKind::compute:
    return plan::Stream::compute;
  case StreamKind::expert_communication:
    return plan::Stream::expert_communication;
  case StreamKind::copy_out:
    return plan::Stream::copy_out;
  case StreamKind::copy_in:
    return plan::Stream::copy_in;
  }
  llvm_unreachable("every kind has its stream");
}

static std::vector<int64_t> toShape(Type type) {
  type = pipe::getContent(type);
  if (auto handle = dyn_cast<HandleType>(type))
    return {handle.getElements()};
  SmallVector<int64_t> shape = getCapacityShape(cast<RankedTensorType>(type));
  return {shape.begin(), shape.end()};
}

static plan::Attribute toAttribute(Attribute attribute) {
  return llvm::TypeSwitch<Attribute, plan::Attribute>(attribute)
      .Case([](BoolAttr flag) { return flag.getValue(); })
      .Case([](IntegerAttr number) { return number.getInt(); })
      .Case([](FloatAttr real) { return real.getValueAsDouble(); })
      .Case([](StringAttr text) { return text.str(); });
}

namespace {

class StageBuilder {
public:
  /// `known`: there are no parameters; may be null.
  StageBuilder(pipe::StageOp op, const TimingInputs &timing, StageDetail detail,
               const KnownOfOps *known = nullptr)
      : op(op), timing(timing), isWhole(detail == StageDetail::whole),
        known(known) {}

  FailureOr<plan::Stage> run() {
    stage.name = op.getSymName();
    stage.rank = op.getRank();
    for (StringRef block : op.getBlocks().getAsValueRange<StringAttr>())
      stage.blocks.push_back(block.str());
    size_t count = 0;
    for (pipe::Phase phase : op.getPhases()) {
      count += op.getRegion(phase).getNumArguments();
      for (Operation &each : op.getRegion(phase).front())
        count += each.getNumResults();
    }
    stage.values.reserve(count);
    index.reserve(count);
    numberValues();
    for (pipe::Phase phase : op.getPhases())
      if (failed(addProgram(phase)))
        return failure();
    return std::move(stage);
  }

private:
  static pipe::YieldOp yieldOf(Region &region) {
    return cast<pipe::YieldOp>(region.front().getTerminator());
  }

  /// Gives every value an index. Arguments of the later regions share that of
  /// the kept value they stand for; the two ways backward share the gradient
  /// that enters, and have results of their own.
  void numberValues() {
    Region &forward = op.getForward();
    pipe::YieldOp forwardYield = yieldOf(forward);
    for (auto [role, argument] :
         llvm::zip(op.getInputs().getAsValueRange<StringAttr>(),
                   forward.getArguments()))
      add(argument, role == "hidden" ? "input" : role.str(),
          plan::MemoryClass::receive,
          llvm::is_contained(forwardYield.getKept(), argument));
    addResults(forward, "");
    for (auto [role, value] :
         llvm::zip(op.getOutputs().getAsValueRange<StringAttr>(),
                   forwardYield.getResults()))
      if (role == "hidden")
        at(value).memoryClass = plan::MemoryClass::send;
    numberBackward(op.getBackward(), "");
    // Ops keep their names where there is one way backward only.
    StringRef suffix = op.getBackward().empty() ? "" : ".split";
    numberBackward(op.getBackwardInput(), suffix);
    if (op.getWeightGrad().empty())
      return;
    for (auto [argument, value] :
         llvm::zip(op.getWeightGrad().getArguments(),
                   yieldOf(op.getBackwardInput()).getKept()))
      index[argument] = index.lookup(value);
    addResults(op.getWeightGrad(), suffix);
  }

  void numberBackward(Region &region, StringRef suffix) {
    if (region.empty())
      return;
    pipe::YieldOp yield = yieldOf(region);
    unsigned entering = op.getNumHiddenOutputs();
    for (BlockArgument argument : region.getArguments().take_front(entering)) {
      bool isKept = llvm::is_contained(yield.getKept(), argument);
      auto [known, isNew] =
          gradients.insert({argument.getArgNumber(), stage.values.size()});
      if (isNew)
        add(argument, "output_grad", plan::MemoryClass::receive, isKept);
      index[argument] = known->second;
      if (isKept)
        at(argument).placement = plan::Placement::slot;
    }
    for (auto [argument, value] :
         llvm::zip(region.getArguments().drop_front(entering),
                   yieldOf(op.getForward()).getKept()))
      index[argument] = index.lookup(value);
    addResults(region, suffix);
    for (Value value : yield.getResults())
      at(value).memoryClass = plan::MemoryClass::send;
  }

  /// Numbers the results of all ops of a region; names of ops get `suffix`.
  void addResults(Region &region, StringRef suffix) {
    pipe::YieldOp yield = yieldOf(region);
    llvm::SmallDenseSet<Value> kept(yield.getKept().begin(),
                                    yield.getKept().end());
    for (Operation &each : region.front()) {
      for (OpResult result : each.getResults()) {
        plan::MemoryClass memoryClass =
            isa<pipe::HostType>(result.getType()) ? plan::MemoryClass::host
            : isa<HandleType>(result.getType())   ? plan::MemoryClass::handles
            : kept.contains(result)               ? plan::MemoryClass::saved
                                    : plan::MemoryClass::transient;
        add(result, isWhole ? getResultName(result, suffix) : "", memoryClass,
            kept.contains(result));
        if (std::optional<unsigned> operand =
                getAliasedOperand(&each, result.getResultNumber()))
          takeOver(result, each.getOperand(*operand));
      }
    }
    if (!suffix.empty())
      suffixes[&region] = suffix;
  }

  void add(Value value, std::string name, plan::MemoryClass memoryClass,
           bool kept) {
    plan::Value entry;
    entry.name = std::move(name);
    if (isWhole) {
      entry.dtype = toDType(value.getType());
      entry.shape = toShape(value.getType());
    }
    entry.bytes = bytesOf(value.getType());
    entry.memoryClass = memoryClass;
    entry.placement = kept ? plan::Placement::slot : plan::Placement::fixed;
    index[value] = stage.values.size();
    stage.values.push_back(std::move(entry));
  }

  int64_t bytesOf(Type type) const {
    auto measure = [](Type type) {
      return plan::alignUp(getByteSize(pipe::getContent(type)));
    };
    if (!known || !known->bytesOfTypes)
      return measure(type);
    auto [entry, isNew] = known->bytesOfTypes->try_emplace(type, 0);
    if (isNew)
      entry->second = measure(type);
    return entry->second;
  }

  /// The bytes of `overwritten` become those of `result`: both lie in a slot
  /// where either has to.
  void takeOver(Value result, Value overwritten) {
    at(result).overwrites = index.lookup(overwritten);
    bool isFixed = at(result).placement == plan::Placement::fixed &&
                   at(overwritten).placement == plan::Placement::fixed;
    at(result).placement =
        isFixed ? plan::Placement::fixed : plan::Placement::slot;
    for (plan::ValueIndex value = index.lookup(result); value != -1;
         value = stage.values[value].overwrites)
      stage.values[value].placement = at(result).placement;
  }

  plan::Value &at(Value value) { return stage.values[index.lookup(value)]; }

  LogicalResult addProgram(pipe::Phase phase) {
    Block &block = op.getRegion(phase).front();
    pipe::YieldOp yield = cast<pipe::YieldOp>(block.getTerminator());
    plan::Program program;
    program.phase = static_cast<plan::Phase>(phase);
    for (BlockArgument argument : block.getArguments())
      program.inputs.push_back(index.lookup(argument));
    for (Value value : yield.getOperands())
      program.outputs.push_back(index.lookup(value));

    program.ops.reserve(std::distance(block.begin(), block.end()));
    plan::ByteCounts live;
    auto release = [&](Value value) {
      plan::ValueIndex released = index.lookup(value);
      program.ops.back().releases.push_back(released);
      live[stage.values[released].memoryClass] -= stage.values[released].bytes;
    };
    auto releaseBehind = [&](Operation *last) {
      if (!known)
        return;
      if (auto values = known->releases.find(last);
          values != known->releases.end())
        llvm::for_each(values->second, release);
    };
    for (Operation &each : block.without_terminator()) {
      if (auto releasing = dyn_cast<pipe::ReleaseOp>(each)) {
        if (program.ops.empty())
          return releasing.emitOpError()
                 << "stands before the first kernel; a plan frees behind one";
        release(releasing.getValue());
        continue;
      }
      auto kernel = dyn_cast<KernelOpInterface>(each);
      if (!kernel)
        return each.emitOpError() << "is no kernel that a plan could hold";
      program.ops.push_back(toOp(kernel));
      plan::Op &made = program.ops.back();
      made.name += suffixes.lookup(block.getParent());
      for (plan::ValueIndex value : made.outputs)
        if (value >= 0) {
          const plan::Value &written = stage.values[value];
          live[written.memoryClass] += written.bytes;
          if (written.overwrites != -1)
            live[stage.values[written.overwrites].memoryClass] -= written.bytes;
        }
      made.live = live;
      made.live[made.scratchClass] += made.scratchBytes;
      releaseBehind(&each);
    }
    if (!program.ops.empty())
      releaseBehind(yield);
    optimize::setDataWaits(stage, program);
    stage.programs.push_back(std::move(program));
    return success();
  }

  plan::Op toOp(KernelOpInterface kernel) {
    Operation *each = kernel;
    plan::Op made;
    if (isWhole) {
      made.kind = each->getName().stripDialect();
      made.name = getOpName(each);
    }
    made.inputs.reserve(each->getNumOperands());
    made.outputs.reserve(each->getNumResults());
    for (Value input : kernel.getKernelInputs())
      made.inputs.push_back(input ? index.lookup(input) : -1);
    for (Value output : kernel.getKernelOutputs())
      made.outputs.push_back(output ? index.lookup(output) : -1);
    if (!known)
      for (const ParameterUse &use : kernel.getParameters())
        made.parameters.push_back(use.symbol ? parameter(use.symbol) : -1);
    if (isWhole)
      for (NamedAttribute attribute : getKernelAttributes(each))
        made.attributes[attribute.getName().str()] =
            toAttribute(attribute.getValue());
    const OpFigures *before = known ? known->figures.lookup(each) : nullptr;
    const OpFigures figures = before ? *before : figuresOfOp(each, timing);
    made.stream = figures.stream;
    made.scratchBytes = figures.scratchBytes;
    made.scratchClass = figures.scratchClass;
    made.timeNs = figures.timeNs;
    return made;
  }

  plan::ParameterIndex parameter(FlatSymbolRefAttr symbol) {
    auto [entry, inserted] =
        parameters.insert({symbol.getAttr(), stage.parameters.size()});
    if (!inserted)
      return entry->second;
    if (!symbols)
      symbols.emplace(op->getParentOp());
    auto declared = symbols->lookup<ParameterOp>(symbol.getValue());
    plan::Parameter made;
    made.name = symbol.getValue();
    made.dtype = toDType(declared.getType());
    made.shape = toShape(declared.getType());
    made.replication = declared.getReplication() == Replication::expert
                           ? plan::Replication::expert
                           : plan::Replication::dense;
    made.trainable = declared.getTrainable();
    made.decay = declared.getDecay();
    if (FlatSymbolRefAttr original = declared.getTiedToAttr())
      made.tiedTo = original.getValue();
    InitializerAttr initializer = declared.getInitializer();
    made.initializer.kind =
        stringifyInitializerKind(initializer.getKind()).str();
    made.initializer.standardDeviation = initializer.getStandardDeviation();
    stage.parameters.push_back(std::move(made));
    return entry->second;
  }

  pipe::StageOp op;
  const TimingInputs &timing;
  bool isWhole;
  const KnownOfOps *known;
  std::optional<SymbolTable> symbols;
  plan::Stage stage;
  DenseMap<Value, plan::ValueIndex> index;
  DenseMap<StringAttr, plan::ParameterIndex> parameters;
  /// By number of the argument: the gradients that enter the backward.
  DenseMap<unsigned, plan::ValueIndex> gradients;
  DenseMap<Region *, StringRef> suffixes; ///< of the names of a region's ops
};

} // namespace

int64_t moe::estimateNs(Operation *each, const TimingInputs &timing) {
  auto costs = dyn_cast<CostOpInterface>(each);
  if (!costs)
    return 0;
  OpCost cost = costs.getCost();
  if (std::optional<cost::HostCopy> copy =
          cost::parseHostCopy({cost.opClass.data(), cost.opClass.size()}))
    return cost::transferNs(cost::hostLink(timing.machine, *copy, false),
                            cost.bytes);
  cost::OpWork work;
  work.opClass = *cost::parseOpClass(cost.opClass);
  auto routed = [](Type type) {
    auto tensor = dyn_cast<RankedTensorType>(type);
    return tensor && getRows(tensor);
  };
  bool skewed = llvm::any_of(each->getOperandTypes(), routed) ||
                llvm::any_of(each->getResultTypes(), routed);
  double factor = skewed ? timing.imbalance : 1;
  work.flops = cost.flops * factor;
  work.bytes = static_cast<int64_t>(cost.bytes * factor);
  work.linkBytes = static_cast<int64_t>(cost.linkBytes * factor);
  work.parts = cost.parts;
  work.fanout = {cost.exchange.tokens,
                 cost.exchange.rowBytes,
                 {cost.exchange.topK, cost.exchange.experts,
                  cost.exchange.groups, cost.exchange.topGroups}};
  work.imbalance = factor;
  for (Type type : llvm::concat<const Type>(each->getOperandTypes(),
                                            each->getResultTypes()))
    if (auto tensor = dyn_cast<RankedTensorType>(type)) {
      work.dtype = toDType(tensor);
      break;
    }
  return cost::estimateNs(timing.machine, work, timing.expertRanks);
}

OpFigures moe::figuresOfOp(Operation *each, const TimingInputs &timing) {
  OpFigures figures;
  figures.timeNs = estimateNs(each, timing);
  if (auto stream = dyn_cast<StreamOpInterface>(each))
    figures.stream = toStream(stream.getStreamKind());
  if (auto scratch = dyn_cast<ScratchOpInterface>(each)) {
    Scratch needed = scratch.getScratch();
    figures.scratchBytes = plan::alignUp(needed.bytes);
    if (figures.scratchBytes)
      figures.scratchClass = *plan::parseMemoryClass(needed.memoryClass);
  }
  return figures;
}

FailureOr<plan::Stage> moe::buildStageFigures(pipe::StageOp stage,
                                              const TimingInputs &timing,
                                              const KnownOfOps &known) {
  return StageBuilder(stage, timing, StageDetail::figures, &known).run();
}

FailureOr<plan::Stage> moe::buildStagePrograms(pipe::StageOp stage,
                                               const TimingInputs &timing,
                                               StageDetail detail) {
  return StageBuilder(stage, timing, detail).run();
}

/// Names and times of the ops that a microbatch runs in `stage`, in the first
/// way backward that there is.
static llvm::StringMap<int64_t> timesOf(const plan::Stage &stage) {
  bool isFused = llvm::any_of(stage.programs, [](const plan::Program &program) {
    return program.phase == plan::Phase::backward;
  });
  llvm::StringMap<int64_t> times;
  for (const plan::Program &program : stage.programs) {
    bool isHalf = program.phase == plan::Phase::backward_input ||
                  program.phase == plan::Phase::weight_grad;
    if (isFused && isHalf)
      continue;
    for (const plan::Op &each : program.ops)
      times[each.name] = each.timeNs;
  }
  return times;
}

FailureOr<std::vector<plan::Decision>>
moe::listDecisions(pipe::StageOp op, const plan::Stage &stage, int64_t index) {
  std::vector<plan::Decision> decisions;
  auto list = op->getAttrOfType<ArrayAttr>(pipe::DecisionAttr::kListName);
  if (!list)
    return decisions;
  llvm::StringMap<int64_t> times = timesOf(stage);
  llvm::StringMap<plan::ValueIndex> values;
  for (auto [number, value] : llvm::enumerate(stage.values))
    values[value.name] = static_cast<plan::ValueIndex>(number);
  for (Attribute each : list) {
    auto decision = dyn_cast<pipe::DecisionAttr>(each);
    auto value = values.end();
    if (decision)
      value = values.find(decision.getValue());
    if (value == values.end())
      return op.emitOpError()
             << "has the entry " << each << " in '"
             << pipe::DecisionAttr::kListName
             << "', which is no #pipe.decision about a value of the stage";
    plan::Decision &made = decisions.emplace_back();
    made.stage = index;
    made.value = value->second;
    made.action = static_cast<plan::Action>(decision.getAction());
    made.bytes = decision.getBytes();
    for (StringAttr name : decision.getOps())
      made.timeNs += times.lookup(name.getValue());
    made.reason = decision.getReason();
  }
  return decisions;
}

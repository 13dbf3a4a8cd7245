//===- Pipe.cpp - the pipe dialect ----------------------------------------===//

#include "dialects/Pipe/IR/Pipe.h"

#include "dialects/MoE/IR/MoE.h"
#include "support/TokenRole.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace moe::pipe;

#include "dialects/Pipe/IR/PipeDialect.cpp.inc"
#include "dialects/Pipe/IR/PipeEnums.cpp.inc"

#define GET_ATTRDEF_CLASSES
#include "dialects/Pipe/IR/PipeAttrs.cpp.inc"

#define GET_TYPEDEF_CLASSES
#include "dialects/Pipe/IR/PipeTypes.cpp.inc"

/// The bare word: "forward". (The attribute's own format would print a second
/// space in front.)
static ParseResult parsePhase(OpAsmParser &parser, PhaseAttr &phase) {
  FailureOr<Phase> value = FieldParser<Phase>::parse(parser);
  if (failed(value))
    return failure();
  phase = PhaseAttr::get(parser.getContext(), *value);
  return success();
}

static void printPhase(OpAsmPrinter &printer, Operation *, PhaseAttr phase) {
  printer << stringifyPhase(phase.getValue());
}

#define GET_OP_CLASSES
#include "dialects/Pipe/IR/PipeOps.cpp.inc"

void PipeDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "dialects/Pipe/IR/PipeAttrs.cpp.inc"
      >();
  addTypes<
#define GET_TYPEDEF_LIST
#include "dialects/Pipe/IR/PipeTypes.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "dialects/Pipe/IR/PipeOps.cpp.inc"
      >();
}

LogicalResult LayoutAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                                 int64_t pipelineRanks, int64_t expertRanks,
                                 int64_t dataRanks, int64_t tensorRanks,
                                 int64_t contextRanks, int64_t microbatches,
                                 int64_t microbatchSize,
                                 int64_t sequenceLength) {
  std::pair<StringRef, int64_t> sizes[] = {
      {"pipeline_ranks", pipelineRanks},   {"expert_ranks", expertRanks},
      {"data_ranks", dataRanks},           {"tensor_ranks", tensorRanks},
      {"context_ranks", contextRanks},     {"microbatches", microbatches},
      {"microbatch_size", microbatchSize}, {"sequence_length", sequenceLength}};
  for (auto [name, size] : sizes)
    if (size < 1)
      return emitError() << name << " must be at least 1, is " << size;
  for (auto [name, size] : ArrayRef(sizes).slice(3, 2))
    if (size != 1)
      return emitError() << name << " must be 1, is " << size
                         << ": this parallelism is not supported";
  return success();
}

LayoutAttr LayoutAttr::get(ModuleOp module) {
  auto layout = module->getAttrOfType<LayoutAttr>(kName);
  if (!layout)
    module.emitError() << "the module needs the attribute '" << kName
                       << "' (#pipe.layout<...>)";
  return layout;
}

//===----------------------------------------------------------------------===//
// StageOp
//===----------------------------------------------------------------------===//

Region &StageOp::getRegion(Phase phase) {
  switch (phase) {
  case Phase::Forward:
    return getForward();
  case Phase::Backward:
    return getBackward();
  case Phase::BackwardInput:
    return getBackwardInput();
  case Phase::WeightGrad:
    return getWeightGrad();
  }
  llvm_unreachable("all phases are named");
}

SmallVector<Phase> StageOp::getPhases() {
  SmallVector<Phase> phases;
  for (Phase phase : {Phase::Forward, Phase::Backward, Phase::BackwardInput,
                      Phase::WeightGrad})
    if (!getRegion(phase).empty())
      phases.push_back(phase);
  return phases;
}

Region &StageOp::getFirstBackward() {
  return getBackward().empty() ? getBackwardInput() : getBackward();
}

bool StageOp::yieldsGradients() {
  Region &backward = getFirstBackward();
  return !backward.empty() &&
         !cast<YieldOp>(backward.front().getTerminator()).getResults().empty();
}

static unsigned countHidden(ArrayAttr roles) {
  return llvm::count_if(roles.getAsValueRange<StringAttr>(),
                        [](StringRef role) { return role == "hidden"; });
}

unsigned StageOp::getNumHiddenInputs() { return countHidden(getInputs()); }
unsigned StageOp::getNumHiddenOutputs() { return countHidden(getOutputs()); }

LogicalResult StageOp::verify() {
  for (StringRef role : getInputs().getAsValueRange<StringAttr>())
    if (role != "hidden" && !moe::parseTokenRole(role))
      return emitOpError() << "input role \"" << role
                           << "\" is none of hidden, tokens, labels";
  for (StringRef role : getOutputs().getAsValueRange<StringAttr>())
    if (role != "hidden" && role != "loss")
      return emitOpError() << "output role \"" << role
                           << "\" is none of hidden, loss";
  if (getForward().empty())
    return emitOpError() << "needs a forward region";
  if (getBackwardInput().empty() != getWeightGrad().empty())
    return emitOpError() << "has a "
                         << (getWeightGrad().empty() ? "backward_input"
                                                     : "weight_grad")
                         << " region but no "
                         << (getWeightGrad().empty() ? "weight_grad"
                                                     : "backward_input")
                         << " region; they go together";
  return success();
}

/// Compares types of two lists that stand for the same values.
static LogicalResult verifySameTypes(StageOp stage, StringRef what,
                                     TypeRange given, TypeRange taken) {
  if (given.size() != taken.size())
    return stage.emitOpError() << what << ": " << given.size() << " given, "
                               << taken.size() << " taken";
  for (auto [index, pair] : llvm::enumerate(llvm::zip(given, taken)))
    if (std::get<0>(pair) != std::get<1>(pair))
      return stage.emitOpError()
             << what << ": number " << index << " is given as "
             << std::get<0>(pair) << " and taken as " << std::get<1>(pair);
  return success();
}

LogicalResult StageOp::verifyRegions() {
  auto yieldOf = [&](Region &region) -> YieldOp {
    return region.front().empty() ? YieldOp()
                                  : dyn_cast<YieldOp>(region.front().back());
  };
  for (Phase phase : getPhases())
    if (!yieldOf(getRegion(phase)))
      return emitOpError() << stringifyPhase(phase)
                           << " region must end with pipe.yield";
  YieldOp forward = yieldOf(getForward());
  if (getForward().getNumArguments() != getInputs().size())
    return emitOpError() << "forward region has "
                         << getForward().getNumArguments() << " arguments for "
                         << getInputs().size() << " input roles";
  if (forward.getResults().size() != getOutputs().size())
    return emitOpError() << "forward region yields "
                         << forward.getResults().size() << " results for "
                         << getOutputs().size() << " output roles";
  if (getFirstBackward().empty()) {
    if (!forward.getKept().empty())
      return emitOpError() << "keeps values but has no backward region";
    return success();
  }

  SmallVector<Type> entering;
  for (auto [role, value] : llvm::zip(
           getOutputs().getAsValueRange<StringAttr>(), forward.getResults()))
    if (role == "hidden")
      entering.push_back(value.getType());
  llvm::append_range(entering, TypeRange(forward.getKept()));
  SmallVector<Type> leaving;
  for (auto [role, argument] :
       llvm::zip(getInputs().getAsValueRange<StringAttr>(),
                 getForward().getArguments()))
    if (role == "hidden")
      leaving.push_back(argument.getType());
  for (Phase phase : {Phase::Backward, Phase::BackwardInput}) {
    Region &region = getRegion(phase);
    if (region.empty())
      continue;
    std::string name = stringifyPhase(phase).str();
    if (failed(verifySameTypes(*this, "values entering the " + name + " region",
                               entering, region.getArgumentTypes())) ||
        (!yieldOf(region).getResults().empty() &&
         failed(verifySameTypes(
             *this, name + " region, gradients of the hidden inputs",
             TypeRange(yieldOf(region).getResults()), leaving))))
      return failure();
  }
  if (!getBackward().empty() && !yieldOf(getBackward()).getKept().empty())
    return emitOpError() << "backward region must keep nothing";
  if (getWeightGrad().empty())
    return success();
  if (failed(verifySameTypes(*this, "values entering the weight_grad region",
                             TypeRange(yieldOf(getBackwardInput()).getKept()),
                             getWeightGrad().getArgumentTypes())))
    return failure();
  YieldOp weightGrad = yieldOf(getWeightGrad());
  if (!weightGrad.getResults().empty() || !weightGrad.getKept().empty())
    return emitOpError() << "weight_grad region must yield nothing";
  return success();
}

//===----------------------------------------------------------------------===//
// Copies between device and host
//===----------------------------------------------------------------------===//

LogicalResult HostType::verify(function_ref<InFlightDiagnostic()> emitError,
                               Type content) {
  if (isa<RankedTensorType, moe::HandleType>(content))
    return success();
  return emitError() << "holds a tensor or a dispatch handle, not " << content;
}

LogicalResult OffloadOp::inferReturnTypes(MLIRContext *context,
                                          std::optional<Location> location,
                                          Adaptor adaptor,
                                          SmallVectorImpl<Type> &types) {
  auto type = HostType::getChecked(
      [&] {
        return mlir::emitError(location.value_or(UnknownLoc::get(context)));
      },
      context, adaptor.getValue().getType());
  if (!type)
    return failure();
  types.push_back(type);
  return success();
}

LogicalResult ReloadOp::inferReturnTypes(MLIRContext *, std::optional<Location>,
                                         Adaptor adaptor,
                                         SmallVectorImpl<Type> &types) {
  types.push_back(getContent(adaptor.getValue().getType()));
  return success();
}

/// Copies move whole buffers, whatever the rows that they hold.
static moe::OpCost copyCost(Type content, StringRef opClass) {
  moe::OpCost cost;
  cost.bytes = moe::getByteSize(content);
  cost.opClass = opClass;
  return cost;
}

moe::OpCost OffloadOp::getCost() {
  return copyCost(getValue().getType(), "to_host");
}
moe::OpCost ReloadOp::getCost() {
  return copyCost(getResult().getType(), "to_device");
}

moe::StreamKind OffloadOp::getStreamKind() { return StreamKind::copy_out; }
moe::StreamKind ReloadOp::getStreamKind() { return StreamKind::copy_in; }

//===----------------------------------------------------------------------===//
// InterleavingOp
//===----------------------------------------------------------------------===//

LogicalResult InterleavingOp::verify() {
  if (getFirstPhase() != Phase::Forward)
    return emitOpError() << "runs " << stringifyPhase(getFirstPhase())
                         << " first; it must be forward";
  if (getSecondPhase() != Phase::Backward &&
      getSecondPhase() != Phase::BackwardInput)
    return emitOpError() << "runs " << stringifyPhase(getSecondPhase())
                         << " second; it must be backward or backward_input";
  return success();
}

LogicalResult
InterleavingOp::verifySymbolUses(SymbolTableCollection &symbolTable) {
  FlatSymbolRefAttr symbols[2] = {getFirstAttr(), getSecondAttr()};
  Phase phases[2] = {getFirstPhase(), getSecondPhase()};
  StageOp stages[2];
  for (auto [stage, symbol] : llvm::zip(stages, symbols)) {
    stage = symbolTable.lookupNearestSymbolFrom<StageOp>(*this, symbol);
    if (!stage)
      return emitOpError() << "names " << symbol
                           << ", which is no pipe.stage of the module";
  }
  if (stages[0].getRank() != stages[1].getRank()) {
    InFlightDiagnostic error = emitOpError() << "names stages of two ranks";
    for (StageOp stage : stages)
      error.attachNote(stage.getLoc())
          << "this stage lies on rank " << stage.getRank();
    return error;
  }
  std::optional<ArrayRef<int64_t>> order = getOrder();
  if (!order)
    return success();
  int64_t counts[2] = {0, 0};
  for (int64_t member : *order) {
    if (member != 0 && member != 1)
      return emitOpError() << "order holds " << member
                           << "; its entries are 0 and 1";
    ++counts[member];
  }
  for (auto [stage, symbol, phase, count] :
       llvm::zip(stages, symbols, phases, counts)) {
    Region &region = stage.getRegion(phase);
    int64_t ops = 0;
    if (!region.empty())
      ops = llvm::count_if(region.front().without_terminator(),
                           [](Operation &op) { return !isa<ReleaseOp>(op); });
    if (ops != count)
      return (emitOpError() << "order has " << count << " entries for the "
                            << ops << " ops of the " << stringifyPhase(phase)
                            << " region of " << symbol)
                 .attachNote(stage.getLoc())
             << "the stage is defined here";
  }
  return success();
}

//===----------------------------------------------------------------------===//
// RankOp
//===----------------------------------------------------------------------===//

LogicalResult RankOp::verifyRegions() {
  for (Operation &op : getBody().front())
    if (!isa<LoadOp, ReceiveOp, SendOp, WaitSendOp, RunOp, OverlapOp,
             CollectLossOp, ReduceGradientsOp, UpdateOp>(op))
      return op.emitOpError() << "is not a step; pipe.rank holds steps only";
  return success();
}

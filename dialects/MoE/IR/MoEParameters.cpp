//===- MoEParameters.cpp - ops as a plan sees them ------------------------===//
//
// Operands, results, parameters and attributes by their place in the plan
// document.
//
//===----------------------------------------------------------------------===//

#include "dialects/MoE/IR/MoE.h"

using namespace mlir;
using namespace moe;

StringRef moe::stringifyStreamKind(StreamKind kind) {
  switch (kind) {
  case StreamKind::compute:
    return "compute";
  case StreamKind::expert_communication:
    return "expert_communication";
  case StreamKind::copy_out:
    return "copy_out";
  case StreamKind::copy_in:
    return "copy_in";
  }
  llvm_unreachable("all kinds are named");
}

StringRef moe::getOpName(Operation *op) {
  auto name = dyn_cast<NameLoc>(op->getLoc());
  return name ? name.getName().getValue() : StringRef();
}

/// Names of the results of kinds that have several, as plans spell them.
static ArrayRef<StringRef> resultNames(StringRef kind) {
  static const std::pair<StringRef, SmallVector<StringRef, 4>> names[] = {
      {"rms_norm", {"", "inverse"}},
      {"attention", {"", "log_sum_exp"}},
      {"route", {"probabilities", "experts", "scores"}},
      {"dispatch", {"rows", "row_probabilities", "counts", "handle"}},
      {"cross_entropy", {"", "log_sum_exp"}},
      {"mla_key_input_grad", {"nope", "pe"}},
      {"attention_input_grad", {"q", "k", "v"}},
      {"dispatch_input_grad", {"x", "probabilities"}},
      {"swiglu_input_grad", {"", "row_scale"}}};
  for (auto &[name, results] : names)
    if (name == kind)
      return results;
  return {};
}

std::string moe::getResultName(OpResult result, StringRef suffix) {
  Operation *op = result.getOwner();
  std::string name = (getOpName(op) + suffix).str();
  ArrayRef<StringRef> names = resultNames(op->getName().stripDialect());
  unsigned number = result.getResultNumber();
  if (number < names.size() && !names[number].empty())
    name += ":" + names[number].str();
  return name;
}

std::optional<unsigned> moe::getAliasedOperand(Operation *op, unsigned result) {
  // Asked of every use of every value: what nobody marked aliases nothing.
  if (op->getRawDictionaryAttrs().empty())
    return std::nullopt;
  auto alias = dyn_cast<AliasOpInterface>(op);
  return alias ? alias.getAliasedOperand(result) : std::nullopt;
}

bool moe::isReplay(Operation *op) {
  return getOpName(op).ends_with(kReplaySuffix);
}

bool moe::isExchange(Operation *op) {
  // Asked of every use of every value: by kind, which is quicker than by
  // StreamOpInterface.
  return isa<DispatchOp, DispatchInputGradOp, CombineOp, CombineInputGradOp>(
      op);
}

Location moe::nameLoc(MLIRContext *context, const Twine &name) {
  return NameLoc::get(StringAttr::get(context, name));
}

//===----------------------------------------------------------------------===//
// Attributes
//===----------------------------------------------------------------------===//

namespace {

/// Collects attributes under their names in the plan.
struct AttributeList {
  MLIRContext *context;
  SmallVector<NamedAttribute> attributes;

  void add(StringRef name, Attribute value) {
    attributes.emplace_back(StringAttr::get(context, name), value);
  }
  void add(StringRef name, int64_t value) {
    add(name, IntegerAttr::get(IntegerType::get(context, 64), value));
  }
  void add(StringRef name, bool value) {
    add(name, BoolAttr::get(context, value));
  }
  void add(StringRef name, double value) {
    add(name, FloatAttr::get(Float64Type::get(context), value));
  }
  void add(StringRef name, StringRef value) {
    add(name, StringAttr::get(context, value));
  }

  void addRotary(RotaryAttr rotary) {
    add("rotary_begin", rotary.getBegin());
    add("rotary_dim", rotary.getDim());
    add("rotary_interleaved", rotary.getInterleaved());
    add("rotary_theta", rotary.getTheta());
    add("yarn_factor", rotary.getYarnFactor());
    add("yarn_original_length", rotary.getYarnOriginalLength());
    add("yarn_beta_fast", rotary.getYarnBetaFast());
    add("yarn_beta_slow", rotary.getYarnBetaSlow());
    add("yarn_truncate", rotary.getYarnTruncate());
    add("rotary_scale", rotary.getAttentionScale());
  }
  void addRouting(RoutingAttr routing) {
    add("top_k", routing.getTopK());
    add("scoring", stringifyScoring(routing.getScoring()));
    add("normalize", routing.getNormalize());
    add("groups", routing.getGroups());
    add("top_groups", routing.getTopGroups());
    add("group_score", stringifyGroupScore(routing.getGroupScore()));
    add("scale", routing.getScale());
  }
  void addSwiglu(SwigluAttr swiglu) {
    add("limit", swiglu.getLimit());
    add("alpha", swiglu.getAlpha());
    add("up_offset", swiglu.getUpOffset());
  }
};

} // namespace

SmallVector<NamedAttribute> moe::getKernelAttributes(Operation *op) {
  AttributeList list{op->getContext(), {}};
  for (StringAttr name : op->getName().getAttributeNames()) {
    Attribute value = op->getAttr(name);
    if (!value || isa<FlatSymbolRefAttr, DenseI32ArrayAttr>(value))
      continue;
    // Says how the op is differentiated, not how it is run.
    if (isa<CrossEntropyOp>(op) && name == "grad_scale")
      continue;
    // Say what an exchange costs, not what it does.
    if (isa<DispatchOp, DispatchInputGradOp, CombineOp, CombineInputGradOp>(
            op) &&
        (name == "groups" || name == "top_groups"))
      continue;
    if (auto rotary = dyn_cast<RotaryAttr>(value))
      list.addRotary(rotary);
    else if (auto routing = dyn_cast<RoutingAttr>(value))
      list.addRouting(routing);
    else if (auto swiglu = dyn_cast<SwigluAttr>(value))
      list.addSwiglu(swiglu);
    else
      list.add(name, value);
  }
  return list.attributes;
}

//===----------------------------------------------------------------------===//
// Operands and results of ops that have optional ones
//===----------------------------------------------------------------------===//

SmallVector<Value> GroupedLinearOp::getKernelInputs() {
  return {getX(), getCounts(), getBiasScale()};
}
SmallVector<Value> SwigluOp::getKernelInputs() {
  return {getX(), getRowScale(), getCounts()};
}
SmallVector<Value> RouteInputGradOp::getKernelInputs() {
  return {getDProbabilities(), getProbabilities(), getExperts(), getScores()};
}
SmallVector<Value> SwigluInputGradOp::getKernelInputs() {
  return {getDOut(), getX(), getRowScale(), getCounts()};
}
SmallVector<Value> GroupedLinearWeightGradOp::getKernelInputs() {
  return {getDOut(), getX(), getCounts(), getBiasScale()};
}
SmallVector<Value> RouteOp::getKernelOutputs() {
  return {getProbabilities(), getExperts(), getScores()};
}
SmallVector<Value> SwigluInputGradOp::getKernelOutputs() {
  return {getDX(), getDRowScale()};
}

//===----------------------------------------------------------------------===//
// Parameters
//===----------------------------------------------------------------------===//

constexpr int64_t kAny = ShapedType::kDynamic;

static int64_t dim(Value value, unsigned i) {
  return cast<RankedTensorType>(value.getType()).getDimSize(i);
}
static Type element(Value value) {
  return cast<RankedTensorType>(value.getType()).getElementType();
}

SmallVector<ParameterUse> EmbeddingOp::getParameters() {
  return {
      {"table", getTableAttr(), {kAny, dim(getOut(), 1)}, element(getOut())}};
}
SmallVector<ParameterUse> EmbeddingWeightGradOp::getParameters() {
  return {
      {"table", getTableAttr(), {kAny, dim(getDOut(), 1)}, element(getDOut())}};
}

SmallVector<ParameterUse> RmsNormOp::getParameters() {
  return {{"weight",
           getWeightAttr(),
           {dim(getX(), 1) / getGroups()},
           element(getX())}};
}
SmallVector<ParameterUse> RmsNormInputGradOp::getParameters() {
  return {{"weight",
           getWeightAttr(),
           {dim(getX(), 1) / getGroups()},
           element(getX())}};
}
SmallVector<ParameterUse> RmsNormWeightGradOp::getParameters() {
  return {{"weight",
           getWeightAttr(),
           {dim(getX(), 1) / getGroups()},
           element(getX())}};
}

SmallVector<ParameterUse> LinearOp::getParameters() {
  int64_t columns = dim(getOut(), 1);
  return {
      {"weight", getWeightAttr(), {columns, dim(getX(), 1)}, element(getX())},
      {"bias", getBiasAttr(), {columns}, element(getX())}};
}
SmallVector<ParameterUse> LinearInputGradOp::getParameters() {
  return {{"weight",
           getWeightAttr(),
           {dim(getDOut(), 1), dim(getDX(), 1)},
           element(getDX())}};
}
SmallVector<ParameterUse> LinearWeightGradOp::getParameters() {
  int64_t columns = dim(getDOut(), 1);
  return {
      {"weight", getWeightAttr(), {columns, dim(getX(), 1)}, element(getX())},
      {"bias", getBiasAttr(), {columns}, element(getX())}};
}

SmallVector<ParameterUse> AttentionOp::getParameters() {
  return {{"sinks", getSinksAttr(), {getHeads()}, element(getQ())}};
}
SmallVector<ParameterUse> AttentionSinkGradOp::getParameters() {
  return {{"sinks", getSinksAttr(), {getHeads()}, element(getOut())}};
}

SmallVector<ParameterUse> RouteOp::getParameters() {
  return {{"correction", getCorrectionAttr(), {dim(getLogits(), 1)}, Type()}};
}

SmallVector<ParameterUse> GroupedLinearOp::getParameters() {
  int64_t experts = dim(getCounts(), 0), columns = dim(getOut(), 1);
  return {{"weight",
           getWeightAttr(),
           {experts, columns, dim(getX(), 1)},
           element(getX())},
          {"bias", getBiasAttr(), {experts, columns}, element(getX())}};
}
SmallVector<ParameterUse> GroupedLinearInputGradOp::getParameters() {
  return {{"weight",
           getWeightAttr(),
           {dim(getCounts(), 0), dim(getDOut(), 1), dim(getDX(), 1)},
           element(getDX())}};
}
SmallVector<ParameterUse> GroupedLinearBiasScaleGradOp::getParameters() {
  return {{"bias",
           getBiasAttr(),
           {dim(getCounts(), 0), dim(getDOut(), 1)},
           element(getDOut())}};
}
SmallVector<ParameterUse> GroupedLinearWeightGradOp::getParameters() {
  int64_t experts = dim(getCounts(), 0), columns = dim(getDOut(), 1);
  return {{"weight",
           getWeightAttr(),
           {experts, columns, dim(getX(), 1)},
           element(getX())},
          {"bias", getBiasAttr(), {experts, columns}, element(getX())}};
}

static void printShape(InFlightDiagnostic &diagnostic, ArrayRef<int64_t> shape,
                       Type element) {
  diagnostic << '[';
  llvm::interleaveComma(shape, diagnostic, [&](int64_t size) {
    if (ShapedType::isDynamic(size))
      diagnostic << '?';
    else
      diagnostic << size;
  });
  diagnostic << ']';
  if (element)
    diagnostic << " of " << element;
}

LogicalResult
moe::detail::verifyParameters(Operation *op,
                              SymbolTableCollection &symbolTable) {
  for (ParameterUse use : cast<KernelOpInterface>(op).getParameters()) {
    if (!use.symbol)
      continue;
    auto parameter =
        symbolTable.lookupNearestSymbolFrom<ParameterOp>(op, use.symbol);
    if (!parameter)
      return op->emitOpError() << "`" << use.role << "` " << use.symbol
                               << " is not a moe.parameter";
    auto type = cast<RankedTensorType>(parameter.getType());
    bool fits = type.getRank() == static_cast<int64_t>(use.shape.size()) &&
                (!use.elementType || use.elementType == type.getElementType());
    if (fits)
      for (auto [size, needed] : llvm::zip_equal(type.getShape(), use.shape))
        fits &= ShapedType::isDynamic(needed) || size == needed;
    if (fits)
      continue;
    InFlightDiagnostic diagnostic = op->emitOpError()
                                    << "`" << use.role << "` " << use.symbol
                                    << " must have shape ";
    printShape(diagnostic, use.shape, use.elementType);
    diagnostic << ", has type " << type;
    diagnostic.attachNote(parameter.getLoc()) << "declared here";
    return diagnostic;
  }
  return success();
}

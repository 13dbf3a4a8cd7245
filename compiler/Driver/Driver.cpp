//===- Driver.cpp - from a configuration file to a plan -------------------===//

#include "compiler/Driver/Driver.h"

#include "compiler/Cost/Machine.h"
#include "compiler/Export/IR/EmitPlan.h"
#include "compiler/Import/IR/ImportModel.h"
#include "compiler/Import/ModelConfig.h"
#include "passes/Passes.h"

#include "mlir/IR/Builders.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Support/FileUtilities.h"
#include "llvm/Support/ToolOutputFile.h"

using namespace mlir;
using namespace moe;

namespace {

/// Collects diagnostics as text while it lives.
class DiagnosticText : public ScopedDiagnosticHandler {
public:
  explicit DiagnosticText(MLIRContext *context)
      : ScopedDiagnosticHandler(context) {
    setHandler([this](Diagnostic &diagnostic) {
      if (!text.empty())
        text += "; ";
      text += diagnostic.str();
      for (Diagnostic &note : diagnostic.getNotes())
        text += " (" + note.str() + ")";
    });
  }
  Error error() const { return {text.empty() ? "the compiler failed" : text}; }

private:
  std::string text;
};

Type storageType(Builder builder, DType dtype) {
  switch (dtype) {
  case DType::f32:
    return builder.getF32Type();
  case DType::f64:
    return builder.getF64Type();
  default:
    return builder.getBF16Type();
  }
}

plan::Model describe(const model::ModelConfig &config,
                     const model::ParameterCounts &counts) {
  plan::Model described;
  described.name = config.name;
  described.architecture = config.architecture;
  described.reductions = config.reductions;
  described.layers = config.layers.size();
  described.hidden = config.hidden;
  described.vocabulary = config.vocabulary;
  described.totalParameters = counts.total + counts.mtpTotal;
  described.activeParameters = counts.active + counts.mtpActive;
  return described;
}

std::vector<plan::Assumption>
mtpAssumptions(const driver::PlanRequest &request) {
  if (!request.mtp)
    return {};
  char weight[32];
  snprintf(weight, sizeof weight, "%g", request.mtpWeight);
  return {
      {"mtp.loss_weight", weight,
       "option --mtp-weight: of the mean loss of the multi-token prediction "
       "modules, beside the main loss (DeepSeek-V3: 0.3, later 0.1, arXiv "
       "2412.19437 section 4.2)"}};
}

Status writeText(ModuleOp module, const std::string &path) {
  std::string message;
  std::unique_ptr<llvm::ToolOutputFile> file = openOutputFile(path, &message);
  if (!file)
    return Error{message};
  // With locations: they carry the names of ops.
  module.print(file->os(), OpPrintingFlags().enableDebugInfo());
  file->keep();
  return {};
}

/// The most tokens of a microbatch: positions in it are 32-bit integers, with
/// room for the experts that a token is sent to.
constexpr int64_t kMostTokens = int64_t(1) << 26;

Status checkLayout(const plan::Layout &layout) {
  if (layout.microbatchSize > kMostTokens / layout.sequenceLength)
    return Error{"a microbatch of " + std::to_string(layout.microbatchSize) +
                 " x " + std::to_string(layout.sequenceLength) +
                 " tokens is too large; at most " +
                 std::to_string(kMostTokens) +
                 " are possible (options --microbatch-size and --seq)"};
  for (auto [name, size] :
       {std::pair("tp", layout.tensor), std::pair("cp", layout.context)})
    if (size != 1)
      return Error{std::string("--layout ") + name + "=" +
                   std::to_string(size) +
                   ": must be 1; this parallelism is "
                   "not supported"};
  return {};
}

} // namespace

Result<driver::PlanAnswer> driver::makePlan(const PlanRequest &request) {
  MOE_RETURN_IF_ERROR(checkLayout(request.layout));
  Result<cost::Machine> machine =
      cost::loadMachine(request.machine, cost::machineDirectories());
  if (!machine)
    return machine.error();
  Result<model::ModelConfig> config = model::readHfConfig(request.modelPath);
  if (!config)
    return config.error();
  if (!request.reductions.empty()) {
    config = model::reduce(*config, request.reductions);
    if (!config)
      return config.error();
  }

  MLIRContext context(MLIRContext::Threading::DISABLED);
  context.printOpOnDiagnostic(false);
  context.loadDialect<MoEDialect, pipe::PipeDialect>();
  DiagnosticText diagnostics(&context);
  Builder builder(&context);
  PlanAnswer answer;
  answer.notes = config->notes;
  if (request.mtp && config->mtpLayers.empty())
    return Error{"--mtp on: the configuration has no multi-token prediction "
                 "modules (num_nextn_predict_layers)"};
  if (!request.mtp && !config->mtpLayers.empty()) {
    answer.notes.push_back(
        "the configuration has " + std::to_string(config->mtpLayers.size()) +
        " multi-token prediction module(s), which the plan leaves out; --mtp "
        "on plans them");
    config->mtpLayers.clear();
  }

  OwningOpRef<ModuleOp> module =
      importModel(context, *config, storageType(builder, request.dtype));
  if (!module)
    return diagnostics.error();
  model::ParameterCounts counts =
      countParameters(*module->getOps<ModelOp>().begin());
  const plan::Layout &layout = request.layout;
  auto layoutAttr = pipe::LayoutAttr::getChecked(
      [&] { return mlir::emitError(module->getLoc()); }, &context,
      layout.pipeline, layout.expert, layout.data, layout.tensor,
      layout.context, layout.microbatches, layout.microbatchSize,
      layout.sequenceLength);
  if (!layoutAttr)
    return diagnostics.error();
  (*module)->setAttr(pipe::LayoutAttr::kName, layoutAttr);

  PassManager manager(&context);
  PlanPipelineOptions options;
  options.capacityFactor = request.capacityFactor;
  options.schedule = request.schedule;
  options.mtpWeight = request.mtpWeight;
  buildPlanPipeline(manager, options);
  if (failed(manager.run(*module)))
    return diagnostics.error();
  if (!request.irPath.empty())
    MOE_RETURN_IF_ERROR(writeText(*module, request.irPath));

  EmissionInputs inputs{*machine,
                        request.budgetBytes ? request.budgetBytes
                                            : machine->memoryBytes,
                        request.capacityFactor,
                        request.imbalance,
                        request.generator,
                        request.schedule,
                        describe(*config, counts),
                        mtpAssumptions(request)};
  FailureOr<plan::Plan> emitted = emitPlan(*module, inputs);
  if (failed(emitted))
    return diagnostics.error();
  answer.plan = std::move(*emitted);
  return answer;
}

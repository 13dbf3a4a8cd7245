//===- moe-translate.cpp - model configurations to MoE IR -----------------===//

#include "compiler/Import/IR/ImportModel.h"

#include "mlir/Tools/mlir-translate/MlirTranslateMain.h"
#include "mlir/Tools/mlir-translate/Translation.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/SourceMgr.h"
#include "llvm/Support/WithColor.h"

using namespace mlir;

static llvm::cl::OptionCategory category("Hugging Face import options");

static llvm::cl::opt<std::string>
    reductions("reduce", llvm::cl::cat(category),
               llvm::cl::desc("Make the model smaller, keeping its "
                              "architecture, e.g. layers=4,hidden=256"),
               llvm::cl::value_desc("key=n,..."));

static llvm::cl::opt<int64_t>
    sequence("seq", llvm::cl::cat(category), llvm::cl::init(0),
             llvm::cl::desc("Tokens of the model's inputs (default: any)"),
             llvm::cl::value_desc("n"));

static llvm::cl::opt<bool>
    printsConfig("print-config", llvm::cl::cat(category),
                 llvm::cl::desc("Print the configuration as canonical JSON "
                                "instead of IR"));

static LogicalResult fail(const Twine &message) {
  llvm::WithColor::error(llvm::errs(), "moe-translate") << message << '\n';
  return failure();
}

/// The comment above the module: what the model is, in numbers.
static void describe(const moe::model::ModelConfig &config, ModuleOp module,
                     llvm::raw_ostream &output) {
  moe::ModelOp model = *module.getOps<moe::ModelOp>().begin();
  moe::model::ParameterCounts counts = moe::countParameters(model);
  output << "// " << config.name << ": " << counts.total << " parameters, "
         << counts.active << " active per token\n";
  if (counts.mtpTotal)
    output << "// multi-token prediction: " << counts.mtpTotal
           << " parameters, " << counts.mtpActive << " active per token\n";
  for (const std::string &reduction : config.reductions)
    output << "// reduced: " << reduction << "\n";
}

static LogicalResult
importHfConfig(const std::shared_ptr<llvm::SourceMgr> &sources,
               llvm::raw_ostream &output, MLIRContext *context) {
  const llvm::MemoryBuffer *buffer =
      sources->getMemoryBuffer(sources->getMainFileID());
  std::string path = buffer->getBufferIdentifier().str();
  if (sequence.getNumOccurrences() && sequence < 1)
    return fail("--seq: is " + Twine(sequence) + "; expected at least 1");
  moe::Result<moe::model::ModelConfig> config = moe::model::importHfConfig(
      buffer->getBuffer(), moe::model::modelName(path));
  if (!config)
    return fail(path + ": " + config.error().message);
  config = moe::model::reduce(*config, reductions.getValue());
  if (!config)
    return fail(config.error().message);
  for (const std::string &note : config->notes)
    llvm::WithColor::note(llvm::errs(), "moe-translate")
        << path << ": " << note << '\n';
  if (printsConfig) {
    output << moe::model::printConfig(*config);
    return success();
  }
  context->loadDialect<moe::MoEDialect>();
  OwningOpRef<ModuleOp> module = moe::importModel(
      *context, *config, BFloat16Type::get(context),
      sequence.getNumOccurrences() ? int64_t(sequence) : ShapedType::kDynamic);
  if (!module)
    return failure();
  describe(*config, *module, output);
  module->print(output);
  return success();
}

int main(int argc, char **argv) {
  TranslateRegistration registration(
      "import-hf-config",
      "import the config.json of a Hugging Face model as a moe.model",
      importHfConfig);
  return failed(mlirTranslateMain(argc, argv,
                                  "translates model "
                                  "configurations to MoE IR\n"));
}

//===- Driver.cpp - from a configuration file to a plan -------------------===//

#include "driver/Driver.h"

#include "compiler/Cost/Cost.h"
#include "compiler/Cost/Machine.h"
#include "compiler/Cost/Profile.h"
#include "compiler/Export/IR/EmitPlan.h"
#include "compiler/Import/IR/ImportModel.h"
#include "compiler/Import/ModelConfig.h"
#include "compiler/Optimize/PolicyText.h"
#include "compiler/Schedule/Generators.h"
#include "compiler/Schedule/IR/StepLists.h"
#include "compiler/Schedule/TorchCsv.h"
#include "driver/Arguments.h"
#include "driver/Choose.h"
#include "driver/PlanSearch.h"
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
      if (diagnostic.getSeverity() == DiagnosticSeverity::Remark) {
        remarks.push_back(diagnostic.str());
        return;
      }
      if (!text.empty())
        text += "; ";
      text += diagnostic.str();
      for (Diagnostic &note : diagnostic.getNotes())
        text += " (" + note.str() + ")";
    });
  }
  Error error() const { return {text.empty() ? "the compiler failed" : text}; }

  std::vector<std::string> remarks;

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

/// What the request says about training.
std::vector<plan::Assumption>
trainingAssumptions(const driver::PlanRequest &request) {
  std::vector<plan::Assumption> assumptions;
  if (request.mtp) {
    char weight[32];
    snprintf(weight, sizeof weight, "%g", request.mtpWeight);
    assumptions.push_back(
        {"mtp.loss_weight", weight,
         "option --mtp-weight: of the mean loss of the multi-token prediction "
         "modules, beside the main loss (DeepSeek-V3: 0.3, later 0.1, arXiv "
         "2412.19437 section 4.2)"});
  }
  if (request.frozen == "*")
    assumptions.push_back({"training", "none",
                           "option --forward-only: losses are computed, "
                           "nothing is kept and nothing updated"});
  else if (!request.frozen.empty())
    assumptions.push_back({"training.frozen", request.frozen,
                           "option --freeze: no gradient and no optimizer "
                           "state"});
  return assumptions;
}

/// Calls `print` with the stream of the file `path`.
Status writeFile(const std::string &path,
                 llvm::function_ref<void(llvm::raw_ostream &)> print) {
  std::string message;
  std::unique_ptr<llvm::ToolOutputFile> file = openOutputFile(path, &message);
  if (!file)
    return Error{message};
  llvm::raw_fd_ostream &stream = file->os();
  print(stream);
  stream.flush();
  if (stream.has_error()) {
    Error error{path + ": cannot write: " + stream.error().message()};
    // Else the stream's destructor ends the process.
    stream.clear_error();
    return error;
  }
  file->keep();
  return {};
}

Status writeIr(ModuleOp module, const std::string &path) {
  return writeFile(path, [&](llvm::raw_ostream &stream) {
    // With locations: they carry the names of ops.
    module.print(stream, OpPrintingFlags().enableDebugInfo());
  });
}

/// What the ranks of `module` run, in order.
Status writeSchedule(ModuleOp module, const driver::PlanRequest &request) {
  FailureOr<StepLists> lists = readSteps(module);
  if (failed(lists))
    return Error{"the compiler failed"};
  schedule::Schedule order{request.schedule, lists->steps.problem, {}};
  for (const std::vector<schedule::Step> &steps : lists->steps.ranks) {
    std::vector<schedule::Action> &actions = order.ranks.emplace_back();
    for (const schedule::Step &step : steps) {
      bool overlaps = step.kind == plan::StepKind::overlap;
      if (plan::isExecution(step.kind))
        actions.push_back({step.phase, step.stage, step.microbatch, overlaps});
      if (overlaps)
        actions.push_back(step.second);
    }
  }
  Result<std::string> text = schedule::writeTorchCsv(
      order, *schedule::parseTorchCsvFormat(request.scheduleFormat));
  if (!text)
    return text.error();
  return writeFile(request.schedulePath,
                   [&](llvm::raw_ostream &stream) { stream << *text; });
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

bool isCsv(const std::string &schedule) { return schedule.ends_with(".csv"); }

Status checkSchedule(const driver::PlanRequest &request) {
  const std::string &name = request.schedule;
  std::string names;
  bool known = name == "auto" || isCsv(name);
  for (const schedule::GeneratorInfo &generator : schedule::generators()) {
    known |= generator.name == name;
    names += std::string(generator.name) + ", ";
  }
  if (!known)
    return Error{"unknown schedule '" + name +
                 "' (option --schedule); known: " + names +
                 "auto, or a file that ends in .csv"};
  if (!request.schedulePath.empty() &&
      !schedule::parseTorchCsvFormat(request.scheduleFormat))
    return Error{"unknown format of a schedule '" + request.scheduleFormat +
                 "'; known: compute_only, compute_comms"};
  if (request.groupSize && name.find("interleaved") == std::string::npos)
    return Error{"--group-size is for interleaved schedules, not for " + name};
  return {};
}

/// What leaves a choice to the planner.
constexpr std::string_view kAuto = "auto";
Status checkOffload(const driver::PlanRequest &request) {
  if (request.offload.empty() || request.offload == kAuto)
    return {};
  Result<std::vector<policy::Choice>> choices =
      policy::parseChoices(request.offload);
  if (!choices)
    return Error{"--offload: " + choices.error().message};
  return {};
}

Status checkRecompute(const driver::PlanRequest &request) {
  if (request.recompute == kAuto) {
    if (request.keepHandles)
      return Error{"--recompute-keep-handles needs --recompute with a list; "
                   "auto sends replayed rows anew"};
    return {};
  }
  if (request.recompute.empty()) {
    if (request.keepHandles)
      return Error{"--recompute-keep-handles is about replayed dispatches; it "
                   "needs --recompute"};
    return {};
  }
  Result<std::vector<policy::Choice>> choices =
      policy::parseChoices(request.recompute);
  if (!choices)
    return Error{"--recompute: " + choices.error().message};
  return {};
}

/// The request in the compiler's own terms.
struct Inputs {
  const driver::PlanRequest &request;
  cost::Machine machine;
  model::ModelConfig config;
  int64_t budgetBytes = 0;
  std::vector<int64_t> layers; ///< of each stage, as requested; empty: even
  std::vector<driver::Pin> pins;
  /// The request's, or where a file says what it needs, that.
  int64_t stagesPerRank = 0;
  std::string placement;
};

/// Stages and placement of the schedule in a file, unless the request says.
Status readStructure(Inputs &inputs) {
  const driver::PlanRequest &request = inputs.request;
  schedule::ScheduleProblem base;
  base.ranks = request.layout.pipeline;
  base.microbatches = request.layout.microbatches;
  Result<schedule::Schedule> order =
      schedule::readTorchCsvFile(request.schedule, base);
  if (!order)
    return order.error();
  if (!inputs.stagesPerRank)
    inputs.stagesPerRank = order->problem.stagesPerRank;
  if (inputs.placement.empty())
    inputs.placement = schedule::name(order->problem.placement);
  return {};
}

Status readPartition(Inputs &inputs) {
  const driver::PlanRequest &request = inputs.request;
  if (!request.partition.empty() && request.partition != kAuto &&
      request.partition != "uniform") {
    Result<std::vector<int64_t>> layers =
        driver::parseLayers(request.partition);
    if (!layers)
      return Error{"--partition: " + layers.error().message};
    inputs.layers = std::move(*layers);
  }
  if (request.pins.empty())
    return {};
  if (request.partition != kAuto)
    return Error{"--pin says where layers have to lie when the planner "
                 "partitions the model; it needs --partition auto"};
  Result<std::vector<driver::Pin>> pins = driver::parsePins(request.pins);
  if (!pins)
    return Error{"--pin: " + pins.error().message};
  inputs.pins = std::move(*pins);
  return {};
}

Result<Inputs> gather(const driver::PlanRequest &request) {
  MOE_RETURN_IF_ERROR(checkLayout(request.layout));
  MOE_RETURN_IF_ERROR(checkSchedule(request));
  MOE_RETURN_IF_ERROR(checkRecompute(request));
  MOE_RETURN_IF_ERROR(checkOffload(request));
  Result<cost::Machine> machine =
      cost::loadMachine(request.machine, cost::machineDirectories());
  if (!machine)
    return machine.error();
  if (!request.profile.empty()) {
    Result<cost::Profile> profile = cost::readProfile(request.profile);
    if (!profile)
      return profile.error();
    machine = cost::calibrate(*machine, *profile);
    if (!machine)
      return machine.error();
  }
  Result<model::ModelConfig> config = model::readHfConfig(request.modelPath);
  if (!config)
    return config.error();
  if (!request.reductions.empty()) {
    config = model::reduce(*config, request.reductions);
    if (!config)
      return config.error();
  }
  int64_t budget =
      request.budgetBytes ? request.budgetBytes : machine->memoryBytes;
  Inputs inputs{request, std::move(*machine),   std::move(*config), budget, {},
                {},      request.stagesPerRank, request.placement};
  MOE_RETURN_IF_ERROR(readPartition(inputs));
  if (isCsv(request.schedule))
    MOE_RETURN_IF_ERROR(readStructure(inputs));
  return inputs;
}

using driver::Trial;

/// What the passes are told to do about memory.
struct Decided {
  std::vector<int64_t> layers;
  std::string recompute, offload;
};

bool leavesChoices(const driver::PlanRequest &request) {
  return request.recompute == kAuto || request.offload == kAuto ||
         request.partition == kAuto;
}

Decided decidedBy(const Inputs &inputs) {
  const driver::PlanRequest &request = inputs.request;
  return {inputs.layers, request.recompute == kAuto ? "" : request.recompute,
          request.offload == kAuto ? "" : request.offload};
}

void setOptions(PlanPipelineOptions &options, const Inputs &inputs,
                const Trial &trial, const Decided &decided) {
  const driver::PlanRequest &request = inputs.request;
  options.capacityFactor = request.capacityFactor;
  options.mtpWeight = request.mtpWeight;
  options.frozen = request.frozen;
  (isCsv(trial.schedule) ? options.csv : options.schedule) = trial.schedule;
  options.worthNs = trial.worthNs;
  options.groupSize = request.groupSize;
  options.stagesPerRank = inputs.stagesPerRank;
  options.placement = inputs.placement;
  options.machine = request.machine;
  options.profile = request.profile;
  options.imbalance = request.imbalance;
  options.budget = trial.searchedBytes;
  options.recompute = decided.recompute;
  for (int64_t layers : decided.layers)
    options.layers.push_back(layers);
  options.keepHandles = request.keepHandles;
  options.offload = decided.offload;
  options.offloadLead = request.offloadLead;
}

/// The remarks of passes, under the name of the technique that they begin with.
std::vector<plan::Assumption>
remarkAssumptions(const std::vector<std::string> &remarks, const Trial &trial) {
  std::vector<plan::Assumption> assumptions;
  for (const std::string &remark : remarks)
    if (remark.starts_with("recompute: "))
      assumptions.push_back({"recompute.remark", "", remark});
    else if (remark.starts_with("offload: "))
      assumptions.push_back({"offload.remark", "", remark});
    else
      assumptions.push_back({"schedule", trial.schedule, remark});
  return assumptions;
}

/// A context in which models are compiled, and what is said there.
struct Session {
  Session() : context(MLIRContext::Threading::DISABLED), diagnostics(&context) {
    context.printOpOnDiagnostic(false);
    context.loadDialect<MoEDialect, pipe::PipeDialect>();
  }

  /// The model as layers, with the layout.
  Result<OwningOpRef<ModuleOp>> import(const Inputs &inputs) {
    const driver::PlanRequest &request = inputs.request;
    OwningOpRef<ModuleOp> module = importModel(
        context, inputs.config, storageType(Builder(&context), request.dtype));
    if (!module)
      return diagnostics.error();
    const plan::Layout &layout = request.layout;
    auto layoutAttr = pipe::LayoutAttr::getChecked(
        [&] { return mlir::emitError(module->getLoc()); }, &context,
        layout.pipeline, layout.expert, layout.data, layout.tensor,
        layout.context, layout.microbatches, layout.microbatchSize,
        layout.sequenceLength);
    if (!layoutAttr)
      return diagnostics.error();
    (*module)->setAttr(pipe::LayoutAttr::kName, layoutAttr);
    return module;
  }

  MLIRContext context;
  DiagnosticText diagnostics;
};

/// Makes the plan; `writes` the files that were asked for besides it.
Result<driver::PlanAnswer> compile(const Inputs &inputs, const Trial &trial,
                                   const Decided &decided, bool writes) {
  const driver::PlanRequest &request = inputs.request;
  Session session;
  Result<OwningOpRef<ModuleOp>> imported = session.import(inputs);
  if (!imported)
    return imported.error();
  OwningOpRef<ModuleOp> &module = *imported;
  DiagnosticText &diagnostics = session.diagnostics;
  model::ParameterCounts counts =
      countParameters(*module->getOps<ModelOp>().begin());

  PassManager manager(&session.context);
  PlanPipelineOptions options;
  setOptions(options, inputs, trial, decided);
  buildPlanPipeline(manager, options);
  if (failed(manager.run(*module)))
    return diagnostics.error();
  if (writes && !request.irPath.empty())
    MOE_RETURN_IF_ERROR(writeIr(*module, request.irPath));
  if (writes && !request.schedulePath.empty())
    MOE_RETURN_IF_ERROR(writeSchedule(*module, request));

  std::vector<plan::Assumption> assumptions = trainingAssumptions(request);
  llvm::append_range(assumptions,
                     remarkAssumptions(diagnostics.remarks, trial));
  EmissionInputs emission{
      inputs.machine,
      inputs.budgetBytes,
      request.capacityFactor,
      request.imbalance,
      request.generator,
      (*module)->getAttrOfType<StringAttr>(kScheduleAttr).str(),
      describe(inputs.config, counts),
      decided.recompute,
      decided.offload,
      std::move(assumptions)};
  FailureOr<plan::Plan> emitted = emitPlan(*module, emission);
  if (failed(emitted))
    return diagnostics.error();
  return driver::PlanAnswer{std::move(*emitted), diagnostics.remarks};
}

/// The stages of a trial, and where they lie.
schedule::ScheduleProblem problemOf(const Inputs &inputs, const Trial &trial) {
  schedule::ScheduleProblem problem;
  problem.ranks = inputs.request.layout.pipeline;
  problem.microbatches = inputs.request.layout.microbatches;
  for (const schedule::GeneratorInfo &generator : schedule::generators())
    if (generator.name == trial.schedule) {
      problem.stagesPerRank = generator.stagesPerRank;
      problem.placement = generator.placement;
    }
  if (inputs.stagesPerRank)
    problem.stagesPerRank = inputs.stagesPerRank;
  if (!inputs.placement.empty())
    problem.placement = *schedule::parsePlacement(inputs.placement);
  return problem;
}

Result<driver::Chooser> makeChooser(const Inputs &inputs, const Trial &trial) {
  const driver::PlanRequest &request = inputs.request;
  Session session;
  Result<OwningOpRef<ModuleOp>> module = session.import(inputs);
  if (!module)
    return module.error();
  PassManager manager(&session.context);
  PlanPipelineOptions options;
  setOptions(options, inputs, trial, {});
  buildDifferentiation(manager, options);
  if (failed(manager.run(**module)))
    return session.diagnostics.error();
  driver::Freedom freedom;
  freedom.techniques.recompute = request.recompute == kAuto;
  freedom.techniques.offload = request.offload == kAuto;
  freedom.partition = request.partition == kAuto;
  freedom.layers = inputs.layers;
  TimingInputs timing{inputs.machine, request.imbalance, request.layout.expert};
  FailureOr<ModelOptions> model =
      findModelOptions(**module, timing, freedom.techniques);
  if (failed(model))
    return session.diagnostics.error();
  Result<std::vector<int64_t>> pins = driver::pinBlocks(inputs.pins, *model);
  if (!pins)
    return pins.error();
  freedom.pins = std::move(*pins);
  cost::Link link =
      cost::pipelineLink(inputs.machine, request.layout.pipeline,
                         request.layout.expert * request.layout.data);
  int64_t transferNs = request.layout.pipeline > 1
                           ? cost::transferNs(link, model->boundaryBytes)
                           : 0;
  schedule::ScheduleProblem problem = problemOf(inputs, trial);
  MOE_RETURN_IF_ERROR(problem.check());
  Result<schedule::Schedule> order =
      isCsv(trial.schedule)
          ? schedule::readTorchCsvFile(trial.schedule, problem)
          : driver::orderOfEvenCut(trial.schedule, problem, request.groupSize,
                                   *model, transferNs);
  if (!order)
    return order.error();
  return driver::Chooser::make(std::move(*model), *order, transferNs,
                               std::move(freedom));
}

/// The plan of a trial, with what the request leaves to the planner. The search
/// over orders of steps goes by what stages keep, so it is made without.
Result<driver::PlanAnswer> planTrial(const Inputs &inputs, const Trial &trial,
                                     bool writes) {
  if (!leavesChoices(inputs.request) || trial.schedule == kAuto)
    return compile(inputs, trial, decidedBy(inputs), writes);
  Result<driver::Chooser> chooser = makeChooser(inputs, trial);
  if (!chooser)
    return chooser.error();
  return driver::choosePlan(*chooser, inputs.budgetBytes,
                            inputs.machine.reserveBytes,
                            [&](const driver::Chosen &chosen) {
                              Decided decided = decidedBy(inputs);
                              decided.layers = chosen.layers;
                              if (inputs.request.recompute == kAuto)
                                decided.recompute = chosen.recompute;
                              if (inputs.request.offload == kAuto)
                                decided.offload = chosen.offload;
                              return compile(inputs, trial, decided, writes);
                            });
}

} // namespace

Result<driver::PlanAnswer> driver::makePlan(const PlanRequest &request) {
  Result<Inputs> inputs = gather(request);
  if (!inputs)
    return inputs.error();
  model::ModelConfig &config = inputs->config;
  std::vector<std::string> notes = config.notes;
  if (request.mtp && config.mtpLayers.empty())
    return Error{"--mtp on: the configuration has no multi-token prediction "
                 "modules (num_nextn_predict_layers)"};
  if (!request.mtp && !config.mtpLayers.empty()) {
    notes.push_back(
        "the configuration has " + std::to_string(config.mtpLayers.size()) +
        " multi-token prediction module(s), which the plan leaves out; --mtp "
        "on plans them");
    config.mtpLayers.clear();
  }

  auto make = [&](const Trial &trial, bool writes) {
    return planTrial(*inputs, trial, writes);
  };
  bool writes = !request.irPath.empty() || !request.schedulePath.empty();
  Result<PlanAnswer> answer =
      request.schedule == "auto"
          ? searchPlans(inputs->budgetBytes, writes, make)
          : make({request.schedule}, true);
  if (!answer)
    return answer.error();
  answer->notes.insert(answer->notes.begin(), notes.begin(), notes.end());
  return answer;
}

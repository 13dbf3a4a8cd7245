//===- Compile.cpp - plans from what has been decided ---------------------===//

#include "driver/Compile.h"

#include "compiler/Cost/StageCosts.h"
#include "compiler/Export/IR/EmitPlan.h"
#include "compiler/Import/IR/ImportModel.h"
#include "compiler/Schedule/Generators.h"
#include "compiler/Schedule/IR/StepLists.h"
#include "compiler/Schedule/Interleave.h"
#include "compiler/Schedule/TorchCsv.h"
#include "passes/Passes.h"
#include "runtime/Plan/Checks.h"
#include "support/Files.h"
#include "support/Parallel.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Pass/PassManager.h"
#include "llvm/Support/raw_ostream.h"

#include <map>
#include <mutex>
#include <optional>
#include <tuple>

using namespace mlir;

namespace moe::driver {

namespace {

/// Collects diagnostics as text while it lives, since the last clear().
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
  void clear() {
    text.clear();
    remarks.clear();
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
std::vector<plan::Assumption> trainingAssumptions(const PlanRequest &request) {
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

Status writeIr(ModuleOp module, const std::string &path) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  // With locations: they carry the names of ops.
  module.print(stream, OpPrintingFlags().enableDebugInfo());
  return writeFile(path, text);
}

/// What the ranks of `module` run, in order.
Status writeSchedule(ModuleOp module, const PlanRequest &request) {
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
  return writeFile(request.schedulePath, *text);
}

void setOptions(PlanPipelineOptions &options, const Inputs &inputs,
                const Trial &trial, const Decided &decided) {
  const PlanRequest &request = inputs.request;
  options.capacityFactor = request.capacityFactor;
  options.mtpWeight = request.mtpWeight;
  options.frozen = request.frozen;
  (isCsv(trial.schedule) ? options.csv : options.schedule) = trial.schedule;
  options.worthNs = trial.worthNs;
  options.groupSize = request.groupSize;
  options.mostPending = mostPendingOf(request, trial);
  options.order = trial.order;
  options.stagesPerRank = inputs.stagesPerRank;
  options.placement = inputs.placement;
  options.machine = request.machine;
  options.profile = request.profile;
  options.imbalance = request.imbalance;
  for (int64_t bytes : trial.searchedBytes)
    options.budget.push_back(bytes);
  options.recompute = decided.recompute;
  for (int64_t layers : decided.layers)
    options.layers.push_back(layers);
  options.keepHandles = request.keepHandles;
  options.offload = decided.offload;
  options.offloadLead = request.offloadLead;
  options.overwrite = request.overwrite;
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

/// Runs the passes that `build` adds. Ops are verified where that is said, not
/// behind every pass.
LogicalResult runPasses(ModuleOp module, const PlanPipelineOptions &options,
                        void (*build)(OpPassManager &,
                                      const PlanPipelineOptions &)) {
  PassManager manager(module.getContext());
  manager.enableVerifier(false);
  build(manager, options);
  return manager.run(module);
}

/// A model with its stages and the steps of its ranks, which drafts that differ
/// in what ranks do about memory have in common.
struct Staged {
  /// What stages and steps follow from: schedule, its search, its worth and the
  /// order that is given; layers; and what is recomputed and offloaded, where
  /// steps go by what that costs.
  using Key = std::tuple<std::string, std::vector<int64_t>, int64_t,
                         std::shared_ptr<const schedule::Schedule>,
                         std::vector<int64_t>, std::string, std::string>;
  Key key;
  OwningOpRef<ModuleOp> module;
  std::vector<std::string> remarks; ///< of the passes up to there

  static Key keyOf(const Trial &trial, const Decided &decided) {
    const bool goesByCosts =
        !trial.order && (trial.worthNs > 0 || trial.schedule == kAuto ||
                         schedule::usesCosts(trial.schedule));
    return {trial.schedule,
            trial.searchedBytes,
            trial.worthNs,
            trial.order,
            decided.layers,
            goesByCosts ? decided.recompute : "",
            goesByCosts ? decided.offload : ""};
  }
};

} // namespace

struct Compiler::State {
  explicit State(const Inputs &inputs)
      : inputs(inputs), context(MLIRContext::Threading::DISABLED),
        diagnostics(&context) {
    context.printOpOnDiagnostic(false);
    context.loadDialect<MoEDialect, pipe::PipeDialect>();
  }

  /// The model as layers, with the layout.
  Status import() {
    const PlanRequest &request = inputs.request;
    module = importModel(context, inputs.config,
                         storageType(Builder(&context), request.dtype));
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
    counts = countParameters(*module->getOps<ModelOp>().begin());
    return {};
  }

  Status differentiate() {
    PassManager manager(&context);
    PlanPipelineOptions options;
    setOptions(options, inputs, {}, {});
    buildDifferentiation(manager, options);
    if (failed(manager.run(*module)))
      return diagnostics.error();
    remarks = diagnostics.remarks;
    return {};
  }

  /// The differentiated model, made into stages and steps: those of the draft
  /// before, where they are the same. Verified, so that what the user chose is
  /// right, whatever follows.
  Status stage(const Trial &trial, const Decided &decided,
               const PlanPipelineOptions &options) {
    Staged::Key key = Staged::keyOf(trial, decided);
    if (staged && staged->key == key)
      return {};
    diagnostics.clear();
    diagnostics.remarks = remarks;
    OwningOpRef<ModuleOp> clone = module->clone();
    if (failed(runPasses(*clone, options, buildStagesAndSteps)) ||
        failed(verify(*clone)))
      return diagnostics.error();
    staged = {std::move(key), std::move(clone), diagnostics.remarks};
    return {};
  }

  EmissionInputs emission(ModuleOp compiled, const Trial &trial,
                          const Decided &decided, int64_t budgetBytes) {
    const PlanRequest &request = inputs.request;
    std::vector<plan::Assumption> assumptions = trainingAssumptions(request);
    llvm::append_range(assumptions,
                       remarkAssumptions(diagnostics.remarks, trial));
    return {inputs.machine,
            budgetBytes,
            request.capacityFactor,
            request.imbalance,
            request.generator,
            compiled->getAttrOfType<StringAttr>(kScheduleAttr).str(),
            describe(inputs.config, counts),
            decided.recompute,
            decided.offload,
            request.overwrite,
            std::move(assumptions),
            jobsOrDefault(request.jobs)};
  }

  const Inputs &inputs;
  MLIRContext context;
  DiagnosticText diagnostics;
  OwningOpRef<ModuleOp> module; ///< differentiated blocks
  model::ParameterCounts counts;
  std::vector<std::string> remarks; ///< of the passes up to there
  std::mutex measuring;
  std::vector<std::pair<Techniques, ModelOptions>> known;
  std::optional<Staged> staged; ///< for the draft before
  PlacedRanks placed;           ///< by the draft before
  /// Of all drafts.
  std::shared_ptr<schedule::KnownInterleavings> interleavings =
      std::make_shared<schedule::KnownInterleavings>();
};

Compiler::Compiler(std::unique_ptr<State> state) : state(std::move(state)) {}
Compiler::Compiler(Compiler &&) noexcept = default;
Compiler::~Compiler() = default;

Result<Compiler> Compiler::make(const Inputs &inputs) {
  Compiler made(std::make_unique<State>(inputs));
  MOE_RETURN_IF_ERROR(made.state->import());
  MOE_RETURN_IF_ERROR(made.state->differentiate());
  return made;
}

Result<ModelOptions> Compiler::options(Techniques techniques) {
  const std::lock_guard<std::mutex> lock(state->measuring);
  for (const auto &[measured, found] : state->known)
    if (measured == techniques)
      return found;
  state->diagnostics.clear();
  const Inputs &inputs = state->inputs;
  FailureOr<ModelOptions> found = findModelOptions(
      *state->module,
      {inputs.machine, inputs.request.imbalance, inputs.request.layout.expert},
      techniques);
  if (failed(found))
    return state->diagnostics.error();
  found->endOfStep = {&inputs.machine, inputs.request.layout.expert,
                      inputs.request.layout.data, inputs.request.dtype};
  return state->known.emplace_back(techniques, std::move(*found)).second;
}

namespace {

/// A draft with the IR that it comes from.
struct Compiled {
  OwningOpRef<ModuleOp> module;
  PlanDraft plan;
  std::vector<std::string> remarks;
};

/// Of every pair of stages that overlap, the longest.
std::vector<schedule::OverlapCost> overlapCosts(const plan::Plan &plan) {
  std::map<std::pair<int64_t, int64_t>, int64_t> longest;
  for (const plan::Rank &rank : plan.ranks)
    for (const plan::Overlap &overlap : rank.overlaps) {
      const auto &[first, second] = overlap.members;
      int64_t &ns = longest[{first.stage, second.stage}];
      ns = std::max(ns, schedule::durationNs(
                            plan::programOf(plan, first.stage, first.phase),
                            plan::programOf(plan, second.stage, second.phase),
                            overlap.order));
    }
  std::vector<schedule::OverlapCost> costs;
  for (auto [stages, ns] : longest)
    costs.push_back({stages.first, stages.second, ns});
  return costs;
}

} // namespace

Result<Draft> Compiler::draft(const Trial &trial, const Decided &decided,
                              int64_t budgetBytes, bool writes) {
  State &made = *state;
  PlanPipelineOptions options;
  setOptions(options, made.inputs, trial, decided);
  options.interleavings = made.interleavings;
  MOE_RETURN_IF_ERROR(made.stage(trial, decided, options));
  made.diagnostics.clear();
  made.diagnostics.remarks = made.staged->remarks;
  auto compiled = std::make_shared<Compiled>();
  compiled->module = made.staged->module->clone();
  if (failed(runPasses(*compiled->module, options, buildLifetimes)))
    return made.diagnostics.error();
  FailureOr<PlanDraft> plan =
      draftPlan(*compiled->module,
                made.emission(*compiled->module, trial, decided, budgetBytes),
                &made.placed);
  if (failed(plan))
    return made.diagnostics.error();
  compiled->plan = std::move(*plan);
  compiled->remarks = made.diagnostics.remarks;

  Draft draft;
  for (const plan::Rank &rank : compiled->plan.plan.ranks) {
    draft.arenaBytes.push_back(rank.arenaBytes);
    draft.hostArenaBytes.push_back(rank.hostArenaBytes);
  }
  for (const RankArena &arena : compiled->plan.arenas)
    draft.bytesWithoutWaits.push_back(arena.bytesWithoutWaits);
  for (const plan::Stage &stage : compiled->plan.plan.stages)
    draft.stages.push_back(cost::stageCosts(stage));
  draft.overlaps = overlapCosts(compiled->plan.plan);
  draft.finish = [state = state.get(), compiled = std::move(compiled), decided,
                  writes]() -> Result<PlanAnswer> {
    const PlanRequest &request = state->inputs.request;
    ModuleOp module = *compiled->module;
    state->diagnostics.clear();
    if (failed(verify(module)) ||
        failed(runPasses(module, {}, buildVerification)))
      return state->diagnostics.error();
    if (writes && !request.irPath.empty())
      MOE_RETURN_IF_ERROR(writeIr(module, request.irPath));
    if (writes && !request.schedulePath.empty())
      MOE_RETURN_IF_ERROR(writeSchedule(module, request));
    FailureOr<plan::Plan> plan =
        finishPlan(module, state->inputs.machine, std::move(compiled->plan));
    if (failed(plan))
      return state->diagnostics.error();
    return PlanAnswer{std::move(*plan), compiled->remarks, decided.recompute,
                      decided.offload};
  };
  return draft;
}

} // namespace moe::driver

//===- BuildSchedule.cpp - order the steps of every rank ------------------===//

#include "compiler/Schedule/Generators.h"
#include "compiler/Schedule/IR/StepLists.h"
#include "compiler/Schedule/TorchCsv.h"
#include "passes/Passes.h"
#include "passes/Schedule/ScheduleCosts.h"
#include "passes/Schedule/SearchSchedule.h"
#include "support/Words.h"

namespace moe {
#define GEN_PASS_DEF_BUILDSCHEDULE
#include "passes/Passes.h.inc"
} // namespace moe

using namespace mlir;
using namespace moe;

namespace {

struct BuildSchedule : public moe::impl::BuildScheduleBase<BuildSchedule> {
  using Base::Base;

  explicit BuildSchedule(
      const BuildScheduleOptions &options,
      std::shared_ptr<const schedule::Schedule> given = nullptr)
      : Base(options), given(std::move(given)) {}

  void runOnOperation() override {
    ModuleOp module = getOperation();
    if (failed(build(module)))
      signalPassFailure();
  }

  LogicalResult build(ModuleOp module) {
    pipe::LayoutAttr layout = pipe::LayoutAttr::get(module);
    if (!layout)
      return failure();
    if (!module.getOps<pipe::RankOp>().empty())
      return module.emitError() << "the module holds a schedule already";
    SmallVector<pipe::StageOp> stages(module.getOps<pipe::StageOp>());
    FailureOr<schedule::ScheduleProblem> problem =
        readProblem(module, layout, stages);
    if (failed(problem))
      return failure();
    // What is not trained is left out of the order behind.
    problem->firstBackward = 0;
    FailureOr<schedule::Schedule> order = choose(module, *problem);
    if (failed(order))
      return failure();
    return emitSchedule(module, stages, *order);
  }

  /// The schedule of the file, which must be one of the stages as they lie.
  FailureOr<schedule::Schedule>
  readCsv(ModuleOp module, const schedule::ScheduleProblem &problem) {
    Result<schedule::Schedule> order =
        schedule::readTorchCsvFile(csv.getValue(), problem);
    if (!order)
      return module.emitError() << order.error().message;
    const schedule::ScheduleProblem &own = order->problem;
    if (own.stagesPerRank != problem.stagesPerRank ||
        own.placement != problem.placement)
      return module.emitError()
             << csv << " is for " << counted(own.stagesPerRank, "stage")
             << " a rank, placement "
             << StringRef(schedule::name(own.placement)) << ", not for "
             << problem.stagesPerRank << ", placement "
             << StringRef(schedule::name(problem.placement));
    return std::move(*order);
  }

  FailureOr<schedule::Schedule>
  choose(ModuleOp module, const schedule::ScheduleProblem &problem) {
    if (given) {
      schedule::Schedule order = *given;
      order.problem = problem;
      return order;
    }
    if (!csv.empty())
      return readCsv(module, problem);
    bool searches = kind == "auto";
    if (searches && machine.empty())
      return module.emitError()
             << "schedule auto goes by costs and needs a machine";
    schedule::GeneratorOptions options;
    options.groupSize = groupSize;
    options.mostPending = mostPending;
    MeasuredCosts measured;
    if (!machine.empty()) {
      FailureOr<cost::Machine> model = loadMachine(module, machine, profile);
      if (failed(model))
        return failure();
      // To measure takes longer than most orders.
      if (searches || worthNs > 0 || schedule::usesCosts(kind)) {
        FailureOr<MeasuredCosts> costs = measureCosts(
            module, problem, *model, imbalance,
            searches ? ArrayRef<int64_t>(budget) : ArrayRef<int64_t>(),
            {recompute, {keepHandles}}, {offload, {offloadLead}});
        if (failed(costs))
          return failure();
        measured = std::move(*costs);
        options.costs = measured.split;
      }
    }
    if (searches) {
      FailureOr<schedule::SearchResult> found =
          searchSchedules(module, measured.structures(problem));
      if (failed(found))
        return failure();
      return std::move(found->schedule);
    }
    Result<schedule::Schedule> order =
        schedule::generate(kind, problem, options);
    if (!order)
      return module.emitError() << order.error().message;
    if (worthNs > 0 && !machine.empty()) {
      Result<schedule::Evaluation> evaluation =
          schedule::evaluate(*order, measured.shortest());
      if (!evaluation)
        return module.emitError() << evaluation.error().message;
      if (evaluation->makespanNs >= worthNs)
        return module.emitError() << "schedule " << kind << " takes "
                                  << evaluation->makespanNs << " ns or more";
    }
    return std::move(*order);
  }

  std::shared_ptr<const schedule::Schedule> given;
};

} // namespace

std::unique_ptr<Pass>
moe::createBuildSchedule(const BuildScheduleOptions &options,
                         std::shared_ptr<const schedule::Schedule> order) {
  return std::make_unique<BuildSchedule>(options, std::move(order));
}

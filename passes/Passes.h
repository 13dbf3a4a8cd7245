//===- Passes.h - all passes of the project ---------------------*- C++ -*-===//
#pragma once

#include "dialects/MoE/IR/MoE.h"
#include "dialects/Pipe/IR/Pipe.h"
#include "mlir/Pass/Pass.h"

#include <memory>

namespace moe {

/// The module attribute that names what ordered the steps, e.g. "1f1b".
inline constexpr llvm::StringLiteral kScheduleAttr = "pipe.schedule";

#define GEN_PASS_DECL
#include "passes/Passes.h.inc"

#define GEN_PASS_REGISTRATION
#include "passes/Passes.h.inc"

namespace schedule {
class KnownInterleavings;
struct Schedule;
} // namespace schedule

/// The pass `pipe-build-schedule`; where there is an `order`, of stages as they
/// lie, with that one instead of what the options say.
std::unique_ptr<mlir::Pass>
createBuildSchedule(const BuildScheduleOptions &options,
                    std::shared_ptr<const schedule::Schedule> order);

/// The pass `pipe-interleave`, with what is known of pairs from modules before.
std::unique_ptr<mlir::Pass>
createInterleave(const InterleaveOptions &options,
                 std::shared_ptr<schedule::KnownInterleavings> known);

/// Options of the whole way from layers to a verified plan.
struct PlanPipelineOptions
    : public mlir::PassPipelineOptions<PlanPipelineOptions> {
  Option<double> capacityFactor{
      *this, "capacity-factor",
      llvm::cl::desc("Rows planned behind a dispatch, as a multiple of the "
                     "balanced rows; 0: the most that routing can produce"),
      llvm::cl::init(1.25)};
  Option<double> mtpWeight{
      *this, "mtp-weight",
      llvm::cl::desc("Weight of the losses of all multi-token prediction "
                     "modules together beside the main loss"),
      llvm::cl::init(0.3)};
  Option<std::string> frozen{
      *this, "freeze",
      llvm::cl::desc("Patterns of names of parameters or blocks that are not "
                     "trained, separated by commas; *: all"),
      llvm::cl::init("")};
  Option<std::string> schedule{
      *this, "schedule",
      llvm::cl::desc("Schedule: the name of a generator, or auto"),
      llvm::cl::init("1f1b")};
  Option<std::string> csv{
      *this, "csv", llvm::cl::desc("File to read the schedule from instead"),
      llvm::cl::init("")};
  Option<int64_t> groupSize{
      *this, "group-size",
      llvm::cl::desc("Interleaved schedules: microbatches that pass a stage "
                     "before the rank turns to its next; 0: as many as ranks"),
      llvm::cl::init(0)};
  Option<int64_t> mostPending{
      *this, "most-pending",
      llvm::cl::desc("Schedules that go by costs: weight gradients of a rank "
                     "that may wait while it begins another action"),
      llvm::cl::init(std::numeric_limits<int64_t>::max())};
  Option<int64_t> stagesPerRank{
      *this, "stages-per-rank",
      llvm::cl::desc("Stages on each pipeline rank; 0: the schedule's own"),
      llvm::cl::init(0)};
  Option<std::string> placement{
      *this, "placement",
      llvm::cl::desc("Which ranks stages lie on: loop, v or bidirectional; "
                     "empty: the schedule's own"),
      llvm::cl::init("")};
  ListOption<int64_t> layers{
      *this, "layers",
      llvm::cl::desc(
          "Decoder blocks of each stage of one copy of the model, in "
          "model order; none: even shares")};
  Option<std::string> offload{
      *this, "offload",
      llvm::cl::desc("Values kept on the host; see pipe-insert-offload"),
      llvm::cl::init("")};
  Option<int64_t> offloadLead{
      *this, "offload-lead",
      llvm::cl::desc("Layers before the one that uses it at which a value is "
                     "copied back from the host"),
      llvm::cl::init(1)};
  Option<bool> overwrite{
      *this, "overwrite",
      llvm::cl::desc("Ops may overwrite operands that nothing reads later"),
      llvm::cl::init(true)};
  Option<std::string> machine{
      *this, "machine",
      llvm::cl::desc("Machine that costs are estimated for: a name or a "
                     "description file"),
      llvm::cl::init("h100-sxm")};
  Option<std::string> profile{
      *this, "profile",
      llvm::cl::desc("File of measured op times that the machine is calibrated "
                     "from"),
      llvm::cl::init("")};
  Option<double> imbalance{
      *this, "imbalance",
      llvm::cl::desc("Rows behind a dispatch to estimate time for, as a "
                     "multiple of the balanced rows"),
      llvm::cl::init(1.1)};
  ListOption<int64_t> budget{
      *this, "budget",
      llvm::cl::desc("auto: device memory that may be used, in bytes: of each "
                     "rank, or one for all; none: no limit")};
  Option<std::string> recompute{
      *this, "recompute",
      llvm::cl::desc("Targets and values that are recomputed, as a comma list; "
                     "empty: none"),
      llvm::cl::init("")};
  Option<bool> keepHandles{
      *this, "recompute-keep-handles",
      llvm::cl::desc("Replayed dispatches follow the handles of forward"),
      llvm::cl::init(false)};
  Option<int64_t> worthNs{
      *this, "worth-ns",
      llvm::cl::desc("fail where the schedule alone is estimated to take this "
                     "long, in nanoseconds; 0: never"),
      llvm::cl::init(0)};
  // What no text can give.
  /// Runs this order instead of making one; null: none is given.
  std::shared_ptr<const schedule::Schedule> order = nullptr;
  /// Of modules before; null: nothing is known.
  std::shared_ptr<schedule::KnownInterleavings> interleavings = nullptr;
};

/// From a module with one moe.model and a pipe.layout to verified stages and
/// ranks, ready for emission.
void buildPlanPipeline(mlir::OpPassManager &manager,
                       const PlanPipelineOptions &options);

/// Its parts: to differentiated blocks; to stages and the steps of ranks; to
/// explicit lifetimes; to the certainty that they are right.
void buildDifferentiation(mlir::OpPassManager &manager,
                          const PlanPipelineOptions &options);
void buildStagesAndSteps(mlir::OpPassManager &manager,
                         const PlanPipelineOptions &options);
void buildLifetimes(mlir::OpPassManager &manager,
                    const PlanPipelineOptions &options);
void buildVerification(mlir::OpPassManager &manager,
                       const PlanPipelineOptions &options);

/// Registers every pass and the pipeline `moe-plan`.
void registerAllMoEPasses();

} // namespace moe

//===- Driver.h - from a configuration file to a plan -----------*- C++ -*-===//
//
// The whole way through the compiler in one call, in plain types: callers need
// neither MLIR's headers nor its flags.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/Plan/Plan.h"
#include "support/DType.h"
#include "support/Result.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

namespace moe::driver {

/// How many of how many things are done, and which is next; of 0: it is open of
/// how many.
using OnProgress = std::function<void(size_t, size_t, const std::string &)>;

struct PlanRequest {
  std::string modelPath;            ///< Hugging Face config.json
  std::string reductions;           ///< "layers=4,hidden=256,..."; empty: none
  std::string machine = "h100-sxm"; ///< name or path of a description
  plan::Layout layout;
  /// Path of measured op times to calibrate the machine from; empty:
  /// none.
  std::string profile;
  /// The name of a generator (compiler/Schedule/Generators.h), "auto", or the
  /// path of a CSV of torch.distributed.pipelining, which ends in ".csv".
  std::string schedule = "1f1b";
  int64_t stagesPerRank = 0; ///< 0: the schedule's own
  std::string placement;     ///< "loop", ...; empty: the schedule's own
  int64_t groupSize = 0;     ///< of interleaved schedules; 0: all ranks
  /// Of schedules that go by costs: how many weight gradients of a rank may
  /// wait while it begins another action, at most.
  int64_t pendingWeightGrads = std::numeric_limits<int64_t>::max();
  int64_t budgetBytes = 0; ///< 0: all memory of the device
  /// Targets and values that are recomputed instead of kept, as a comma list
  /// (compiler/Optimize/PolicyText.h); empty: none; "auto": what the planner
  /// finds best within the budget.
  std::string recompute;
  /// Layers of each stage, as in "4,4,3,4"; empty or "uniform": even shares;
  /// "auto": what the planner finds best within the budget.
  std::string partition;
  /// Layers that have to lie on a stage, as in "layers.0-2=stage0,...".
  std::string pins;
  /// What is left to the planner is certified where the size allows
  /// (docs/planner.md).
  bool isExact = false;
  /// Whether a plan that does not fit says what would help, each thing by
  /// another plan.
  bool reportsLevers = true;
  /// Told before each of several things that may take some seconds together:
  /// drafts of what the planner chooses, plans of levers or of schedule auto.
  OnProgress onProgress;
  /// Replayed dispatches follow the handles of forward, which stay kept.
  bool keepHandles = false;
  /// Targets and values that are kept on the host from forward to backward, as
  /// a comma list like that of `recompute`; empty: none.
  std::string offload;
  /// Layers before the one that needs it at which a value is copied back.
  int64_t offloadLead = 1;
  /// Gradients overwrite what they are gradients of, where nothing reads that
  /// later (pipe-place-releases). Off: they lie beside it, for comparison; not
  /// where the planner chooses, which counts on it.
  bool overwrite = true;
  DType dtype = DType::bf16;
  double capacityFactor = 1.25; ///< 0: the most that routing can produce
  double imbalance = 1.1;
  /// Train the configuration's multi-token prediction modules as well.
  bool mtp = false;
  double mtpWeight = 0.3; ///< of their mean loss, beside the main loss
  /// Patterns of names of parameters or blocks that are not trained, separated
  /// by commas (moe-freeze-parameters); "*": all, which leaves forwards only.
  std::string frozen;
  std::string generator; ///< goes into the plan
  /// What is worked out at the same time, of ranks or of plans; 0:
  /// defaultJobs().
  int64_t jobs = 0;
  /// Where to write the final IR; empty: nowhere.
  std::string irPath;
  /// Where to write the schedule as a CSV of torch.distributed.pipelining;
  /// empty: nowhere.
  std::string schedulePath;
  /// "compute_only" or "compute_comms".
  std::string scheduleFormat = "compute_only";
};

struct PlanAnswer {
  plan::Plan plan;
  /// Remarks for the user, e.g. ignored fields of the configuration.
  std::vector<std::string> notes;
  /// What is recomputed and offloaded, as users write it; the planner's choice
  /// where the request leaves it to it.
  std::string recompute = {}, offload = {};
  /// Tells how far what was chosen is from a bound, which takes a while: of
  /// plans that fit. Null: nothing was, or that is told.
  std::function<plan::Assumption()> findGap = nullptr;
};

/// An error if no plan could be made of the request whatever its layout: a file
/// that is not there, a schedule that nobody knows, a list that is none. Takes
/// no longer than reading the files.
Status checkRequest(const PlanRequest &request);

/// Makes the plan. Errors name the field, option or op and what was expected.
/// With the schedule "auto", plans are made of what the search finds and of
/// every published schedule that keeps one copy of the model; the best of those
/// that fit is the answer, judged by what the plans say. Where nothing fits,
/// the answer is the plan that needs least, with what it needs and what would
/// need less among its assumptions (driver/Levers.h).
Result<PlanAnswer> makePlan(const PlanRequest &request);

} // namespace moe::driver

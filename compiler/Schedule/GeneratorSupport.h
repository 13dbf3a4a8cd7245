//===- GeneratorSupport.h - what generators share ---------------*- C++ -*-===//
//
// Private to compiler/Schedule.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Schedule/Generators.h"
#include "compiler/Schedule/WeightGradients.h"

namespace moe::schedule {

/// Whether the problem is complete, has the placement and this many stages a
/// rank. The error names the schedule and what it needs.
Status checkShape(std::string_view schedule, const ScheduleProblem &problem,
                  Placement placement, int64_t stagesPerRank);

/// The costs of the options if they are given and fit, unit costs otherwise.
Result<Costs> costsOf(const ScheduleProblem &problem,
                      const GeneratorOptions &options);

/// An empty list of actions for every rank.
Schedule emptySchedule(std::string_view name, const ScheduleProblem &problem);

/// What decides among candidates, before the other: the makespan, or the
/// longest time that a rank takes from its first begin to its last end.
enum class Aim : uint8_t { makespan, span };

/// What a rank may hold at once: `holdings` by stage, `limits` by rank.
struct Room {
  std::vector<ActionHolding> holdings;
  std::vector<int64_t> limits;
};

/// Room in which every (stage, microbatch) counts as one.
Room countingRoom(const ScheduleProblem &problem, std::vector<int64_t> limits);

/// Makes candidates by WeightGradFiller: every order, the best with several
/// rules for idle ranks. Returns the best (then the first) of those whose
/// steps, with transfers, can be executed. An error when there is none.
Result<Schedule> fillWithWeightGrads(std::string_view name,
                                     const ScheduleProblem &problem,
                                     const std::vector<Sequence> &orders,
                                     const Costs &costs, Room room, Aim aim,
                                     int64_t mostPending,
                                     int64_t improvementEffort = 0);

// The families; Generators.h describes the schedules.
Result<Schedule> interleaved(const ScheduleProblem &problem,
                             const GeneratorOptions &options);
Result<Schedule> groupedInterleaved(const ScheduleProblem &problem,
                                    const GeneratorOptions &options);
Result<Schedule> zeroBubbleH1(const ScheduleProblem &problem,
                              const GeneratorOptions &options);
Result<Schedule> zeroBubbleH2(const ScheduleProblem &problem,
                              const GeneratorOptions &options);
Result<Schedule> zeroBubble1p(const ScheduleProblem &problem,
                              const GeneratorOptions &options);
Result<Schedule> zeroBubble2p(const ScheduleProblem &problem,
                              const GeneratorOptions &options);
Result<Schedule> zeroBubbleV(const ScheduleProblem &problem,
                             const GeneratorOptions &options);
Result<Schedule> oneForwardOneBackwardV(const ScheduleProblem &problem,
                                        const GeneratorOptions &options);
Result<Schedule> vHalf(const ScheduleProblem &problem,
                       const GeneratorOptions &options);
Result<Schedule> vMin(const ScheduleProblem &problem,
                      const GeneratorOptions &options);
Result<Schedule> dualPipe(const ScheduleProblem &problem,
                          const GeneratorOptions &options);
Result<Schedule> dualPipeV(const ScheduleProblem &problem,
                           const GeneratorOptions &options);

} // namespace moe::schedule
